import { sleep } from '../../base/clock.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import { migrationMethods } from '../../proto/methods.ts'
import type { Migration } from '../../proto/migration.ts'
import { bytesOfDeltas } from '../delta.ts'
import { DeltaAhead } from './delta-ahead.ts'
import { GroupLink } from './group-link.ts'
import type { MigrationNode, MovingReplica } from './node.ts'
import { proposeStep } from './propose.ts'
import { ReplayRests } from './replay-rests.ts'

const deltaTimeoutMs = 5000
/**
 * When the commit may be asked for: with no more than this left behind the last round, and that round short. A round leaves what clients write while it
 * runs: the bound in time is a bound of that. Where the disks alone take longer, one that brought little is short enough once the next one would take as long:
 * when it took about what the one before it took.
 */
const closeEntries = 64
const closeMs = 20
const closeBytes = 128 * 1024
const settledShare = 0.75
/** What a round may bring where another one would bring no less. */
const closeBytesMost = 1024 * 1024
/** Rounds without a smaller lag after which it is taken to fall no further: the source is to slow the writes down if it is large. */
const patienceRounds = 5
/** How much a round weighs in the rate beside the one after it. */
const remembered = 0.8
/** Replays refused at an unmoved cursor after which the copy is given up. */
const refusalsMax = 5

interface Delta {
  readonly upTo: number
  readonly shards: readonly pb.v1.ShardDelta.$Properties[]
  readonly lag: number
}

/** Brings the commands over that the source executed since the cut: one round is one piece of the delta and one entry that replays it. */
export class CatchUp {
  readonly #node: MigrationNode
  readonly #hosted: MovingReplica
  readonly #link: GroupLink
  #isClose = false
  #moved = false
  /** Of a round, at the least so far: entries that lag plus what the round brought. */
  #leastLag = Number.POSITIVE_INFINITY
  /** Of the last round. */
  #lag = 0
  #roundsWithoutLess = 0
  /** The source is to slow the writes down until what is left is little. */
  #slows = false
  /** Of rounds behind which there was more to bring: what was brought, and how long it took. */
  #brought = { bytes: 0, ms: 0 }
  readonly #rests = new ReplayRests()
  /** How long the last round took, if it asked for what it brought. */
  #lastMs = Number.POSITIVE_INFINITY
  #refusals = 0
  #refusedAt = -1
  /** The piece behind the one that is being replayed, asked for meanwhile. */
  #next: { readonly after: number; readonly reply: Promise<pb.v1.DeltaReply> } | undefined
  /** What was asked for before the files were ingested. */
  #early: DeltaAhead | undefined

  constructor(node: MigrationNode, hosted: MovingReplica, link: GroupLink) {
    this.#node = node
    this.#hosted = hosted
    this.#link = link
  }

  /** While the files of a cut are on their way: what the source has done since comes too. */
  fetchEarly(migration: Migration, cut: number): void {
    if (this.#early?.cut !== cut) {
      this.dropEarly()
      // What becomes of these calls says nothing of the driver's.
      const link = new GroupLink(this.#node, migration.from)
      this.#early = new DeltaAhead(this.#node.clock, cut, (after) => this.#ask(migration, after, link))
    }
    this.#early.maybeFetch()
  }

  dropEarly(): void {
    this.#early?.close()
    this.#early = undefined
  }

  /** What is left after the last round is little, and what was before it is over. */
  get isClose(): boolean {
    return this.#isClose
  }

  /** The last round brought something, or there was nothing to bring. */
  get moved(): boolean {
    return this.#moved
  }

  /** The same replay was refused again and again: what came in is not what the source had. */
  get isHopeless(): boolean {
    return this.#refusals >= refusalsMax
  }

  async round(migration: Migration, after: number): Promise<void> {
    const { clock } = this.#node
    const settles = this.#rests.settlesForMs(clock.monotonicMs()) > 0
    const { hasRested } = this.#rests
    const restMs = this.#rests.nextMs(clock.monotonicMs(), this.#next?.after === after)
    if (restMs > 0) await sleep(clock, restMs)
    const startedMs = clock.monotonicMs()
    this.#isClose = false
    this.#moved = false
    const isStuck = this.#roundsWithoutLess >= patienceRounds
    if (isStuck && !settles && this.#lag > closeEntries) this.#slows = true
    const early = this.#early?.take(after)
    const ahead = early ?? (this.#next?.after === after ? this.#next.reply : undefined)
    this.#next = undefined
    const reply = await (ahead ?? this.#ask(migration, after))
    const isHeld = this.#early?.has(reply.upTo) === true
    if (reply.lag > 0 && !isHeld) this.#askAhead(migration, reply.upTo)
    const replayedMs = clock.monotonicMs()
    await this.replay(migration, after, reply)
    const bytes = bytesOfDeltas(reply.shards)
    const tookMs = clock.monotonicMs() - startedMs
    if (reply.lag > 0) this.#watchRate(bytes, tookMs)
    const records = reply.shards.reduce((sum, shard) => sum + (shard.records?.length ?? 0), 0)
    this.#moved = records > 0 || reply.lag === 0
    const isSettled = records === 0 || tookMs >= settledShare * this.#lastMs
    const isShort = tookMs <= closeMs || (isStuck ? bytes <= closeBytesMost : bytes <= closeBytes && isSettled)
    // What was read ahead says how it stood a round ago, or before the ingest.
    const isNear = ahead === undefined && reply.lag <= closeEntries
    const nowMs = clock.monotonicMs()
    const { lag } = reply
    this.#rests.ended(nowMs, {
      bytes,
      replayMs: nowMs - replayedMs,
      records,
      lag,
      isFar: lag > closeEntries,
      isHeld,
      slows: this.#slows,
      isNear,
    })
    this.#isClose = isNear && isShort && this.#rests.settlesForMs(nowMs) === 0
    this.#lastMs = ahead === undefined ? tookMs : Number.POSITIVE_INFINITY
    // A round after a rest brings what was written in that, too.
    if (early === undefined && !settles && !hasRested) this.#watchLag(lag + records)
    if (this.#isClose) this.#slows = false
  }

  #ask({ id, from, shards }: Migration, after: number, link = this.#link): Promise<pb.v1.DeltaReply> {
    const request = new pb.v1.DeltaRequest({
      clusterId: this.#node.clusterId(),
      group: from,
      migration: id,
      after,
      shards: [...shards],
      replayRate: this.#slows ? this.#rate : 0,
    })
    return link.call(migrationMethods.delta, request, deltaTimeoutMs, () => false)
  }

  /** A failure is the next round's, if that comes. */
  #askAhead(migration: Migration, after: number): void {
    const reply = this.#ask(migration, after)
    this.#next = { after, reply }
    reply.catch(() => undefined)
  }

  /** Commands that come twice, late or out of order are refused where the entry is applied. */
  async replay(migration: Migration, after: number, { upTo, shards }: Delta): Promise<void> {
    if (shards.every(({ records }) => (records?.length ?? 0) === 0)) return
    const { id } = migration
    await this.#propose(migration, after, () =>
      proposeStep(this.#node, this.#hosted, { kind: 'replay', id, shards: migration.shards, after, upTo, deltas: shards }),
    )
  }

  activate(migration: Migration, after: number, { upTo, shards }: Delta): Promise<void> {
    const { id, epochs } = migration
    return this.#propose(migration, after, () =>
      proposeStep(this.#node, this.#hosted, { kind: 'activate', id, shards: migration.shards, after, upTo, deltas: shards, epochs }),
    )
  }

  /** Deliberate break: the target takes its own revisions for the source's, and serves. */
  activateUnreleased(migration: Migration): Promise<void> {
    const { stateMachine } = this.#hosted
    const status = stateMachine.status()
    const after = this.cursorOf(migration)
    const deltas = migration.shards.map((shard) => {
      const { count, checksum } = stateMachine.shardRecord(shard)
      const revision = status.shards.find((known) => known.shard === shard)?.revision ?? 0
      return { shard, records: [], count, checksum, revision, timeMs: stateMachine.timeMs }
    })
    const epochs = migration.shards.map((shard) => (this.#node.config()?.epochOf(shard) ?? 0) + 1)
    const { id, shards } = migration
    return proposeStep(this.#node, this.#hosted, { kind: 'activate', id, shards, after, upTo: after, deltas, epochs })
  }

  cursorOf({ shards }: Migration): number {
    return this.#hosted.stateMachine.shardRecord(shards[0] ?? 0).cursor
  }

  async #propose(migration: Migration, after: number, propose: () => Promise<void>): Promise<void> {
    try {
      await propose()
      this.#refusals = 0
    } catch (error) {
      const isRefused = error instanceof OstrakaError && error.code === 'FAILED_PRECONDITION'
      if (isRefused && this.cursorOf(migration) === after) {
        this.#refusals = this.#refusedAt === after ? this.#refusals + 1 : 1
        this.#refusedAt = after
      }
      throw error
    }
  }

  /** Bytes a second. */
  get #rate(): number {
    const { bytes, ms } = this.#brought
    return ms > 0 ? Math.ceil((bytes * 1000) / ms) : 0
  }

  #watchRate(bytes: number, tookMs: number): void {
    const before = this.#brought
    this.#brought = { bytes: remembered * before.bytes + bytes, ms: remembered * before.ms + tookMs }
  }

  #watchLag(lag: number): void {
    this.#lag = lag
    if (lag < this.#leastLag || this.#isClose) {
      this.#leastLag = lag
      this.#roundsWithoutLess = 0
    } else this.#roundsWithoutLess++
  }
}
