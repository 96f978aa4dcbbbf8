import { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import { migrationMethods } from '../../proto/methods.ts'
import { bytesHeld, type Holding, type HoldingsVerdict, isSourceAway, judgeHoldings } from './holdings.ts'
import type { MigrationNode, MovingReplica } from './node.ts'

const holdsTimeoutMs = 1000
const pauseMsMin = 10
const pauseMsMax = 250
/**
 * The voters beyond the majority get time too, since who has no files when they are ingested needs a snapshot of the whole group, and cannot
 * lead until then. Those that copy get twice as long as the majority took, and a little; those that do not answer, half of that time.
 */
const copyingGraceMs = { least: 2000, most: 60_000 } as const
const silentGraceMs = { least: 100, most: 5000 } as const

/** Waits until the files of an attempt are on a majority of the target's voters, and a little for the others: who has none when they are ingested needs a snapshot. */
export class FileWait {
  readonly #node: MigrationNode
  readonly #hosted: MovingReplica
  readonly #id: number
  #attempt = 0
  #startedMs = 0
  #majorityMs: number | undefined
  #bytes = { copied: 0, total: 0, sum: 0 }
  #moved = false
  #isSourceAway = false
  #looks = 0

  constructor(node: MigrationNode, hosted: MovingReplica, id: number) {
    this.#node = node
    this.#hosted = hosted
    this.#id = id
  }

  get bytes(): { readonly copied: number; readonly total: number } {
    return this.#bytes
  }

  /** Since the look before; also while enough is there and the others are given time, which has an end of its own. */
  get moved(): boolean {
    return this.#moved
  }

  /** As those say who have to fetch from it. */
  get isSourceAway(): boolean {
    return this.#isSourceAway
  }

  /** Until the next look. */
  get pauseMs(): number {
    return Math.min(pauseMsMax, pauseMsMin * 2 ** Math.min(this.#looks, 10))
  }

  async look(attempt: number): Promise<HoldingsVerdict> {
    const nowMs = this.#node.clock.monotonicMs()
    if (this.#attempt !== attempt) {
      this.#attempt = attempt
      this.#startedMs = nowMs
      this.#majorityMs = undefined
      this.#looks = 0
    }
    this.#looks++
    const { voters } = this.#hosted.replica.conf
    const holdings = await Promise.all(voters.map((voter) => this.#ask(voter, attempt)))
    const before = this.#bytes
    this.#bytes = bytesHeld(holdings)
    this.#moved = this.#bytes.sum > before.sum
    this.#isSourceAway = isSourceAway(holdings)
    const needed = this.#node.breaks.has('ingest-before-majority') ? 1 : Math.floor(voters.length / 2) + 1
    const verdict = judgeHoldings(holdings, needed)
    const isCopying = holdings.some((holding) => holding !== undefined && !holding.holds && !holding.lost)
    if (verdict.kind !== 'majority' || verdict.all || needed === 1 || !this.#inGrace(nowMs, isCopying)) return verdict
    this.#moved = true
    return { kind: 'wait' }
  }

  #inGrace(nowMs: number, isCopying: boolean): boolean {
    this.#majorityMs ??= nowMs
    const tookMs = this.#majorityMs - this.#startedMs
    const { least, most } = isCopying ? copyingGraceMs : silentGraceMs
    return nowMs - this.#majorityMs < Math.min(most, Math.max(least, isCopying ? 2 * tookMs : tookMs / 2))
  }

  async #ask(voter: number, attempt: number): Promise<Holding | undefined> {
    const { group } = this.#hosted.replica
    const request = new pb.v1.HoldsRequest({ clusterId: this.#node.clusterId(), group, migration: this.#id, attempt })
    try {
      return await this.#node.peers.call(this.#node.nodeOf(group, voter), migrationMethods.holds, request, holdsTimeoutMs)
    } catch (error) {
      if (error instanceof OstrakaError) return undefined
      throw error
    }
  }
}
