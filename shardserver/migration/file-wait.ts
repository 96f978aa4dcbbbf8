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

/** With nothing new here for so long the source's replicas are asked whether they still make the files, which takes minutes for large shards. */
const quietMs = 1000
/** Of later attempts no work counts as progress: the same may be made and lost again and again. */
const attemptsThatWork = 3

/** Waits until the files of an attempt are on a majority of the target's voters, and a little for the others: who has none when they are ingested needs a snapshot. */
export class FileWait {
  readonly #node: MigrationNode
  readonly #hosted: MovingReplica
  readonly #id: number
  /** Uid of the source. */
  readonly #from: string
  #attempt = 0
  #startedMs = 0
  #majorityMs: number | undefined
  #bytes = { copied: 0, total: 0, sum: 0 }
  #moved = false
  #movedMs = 0
  /** Group and node → its work, as it told last. */
  readonly #work = new Map<string, number>()
  #isSourceAway = false
  #looks = 0

  constructor(node: MigrationNode, hosted: MovingReplica, id: number, from: string) {
    this.#node = node
    this.#hosted = hosted
    this.#id = id
    this.#from = from
  }

  get bytes(): { readonly copied: number; readonly total: number } {
    return this.#bytes
  }

  /** Since the look before: files came, or are being made or verified, or wait behind others' that are; also while enough is there and the others are given time, which has an end of its own. */
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
      this.#movedMs = nowMs
      this.#looks = 0
      this.#work.clear()
    }
    this.#looks++
    const { replica } = this.#hosted
    const { voters } = replica.conf
    const nodes = voters.map((voter) => this.#node.nodeOf(replica.group, voter))
    const holdings = await this.#askAll(replica.group, nodes, attempt)
    const before = this.#bytes
    this.#bytes = bytesHeld(holdings)
    this.#moved = this.#bytes.sum > before.sum || this.#works(replica.group, nodes, holdings)
    if (!this.#moved && nowMs - this.#movedMs >= quietMs) this.#moved = await this.#isBeingMade(attempt)
    if (this.#moved) this.#movedMs = nowMs
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

  async #isBeingMade(attempt: number): Promise<boolean> {
    const nodes =
      this.#node
        .config()
        ?.groupByUid(this.#from)
        ?.members.map(({ node }) => node) ?? []
    return this.#works(this.#from, nodes, await this.#askAll(this.#from, nodes, attempt))
  }

  /** Whether the work of some node has risen since it told of it before. */
  #works(group: string, nodes: readonly string[], holdings: readonly (Holding | undefined)[]): boolean {
    let rose = false
    for (const [at, node] of nodes.entries()) {
      const work = holdings[at]?.work
      if (work === undefined) continue
      const key = `${group} ${node}`
      rose ||= work > (this.#work.get(key) ?? work)
      this.#work.set(key, work)
    }
    return rose && this.#attempt <= attemptsThatWork
  }

  #askAll(group: string, nodes: readonly string[], attempt: number): Promise<(Holding | undefined)[]> {
    return Promise.all(nodes.map((node) => this.#ask(group, node, attempt)))
  }

  async #ask(group: string, node: string, attempt: number): Promise<Holding | undefined> {
    const request = new pb.v1.HoldsRequest({ clusterId: this.#node.clusterId(), group, migration: this.#id, attempt })
    try {
      return await this.#node.peers.call(node, migrationMethods.holds, request, holdsTimeoutMs)
    } catch (error) {
      if (error instanceof OstrakaError) return undefined
      throw error
    }
  }
}
