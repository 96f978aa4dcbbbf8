import { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import { migrationMethods } from '../../proto/methods.ts'
import type { Migration } from '../../proto/migration.ts'
import type { GroupLink } from './group-link.ts'
import type { MigrationNode, MovingReplica } from './node.ts'
import { proposeStep } from './propose.ts'

const deltaTimeoutMs = 5000
/** What may be left when the commit is asked for: a fraction of a second of work for the target. */
const closeEntries = 64
const closeBytes = 1024 * 1024
/** Rounds without a smaller lag after which the source is to slow the writes down. */
const patienceRounds = 5
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
  readonly #id: number
  #isClose = false
  #moved = false
  /** Of a round, at the least so far: entries that lag plus what the round brought. */
  #leastLag = Number.POSITIVE_INFINITY
  #roundsWithoutLess = 0
  #refusals = 0
  #refusedAt = -1

  constructor(node: MigrationNode, hosted: MovingReplica, link: GroupLink, id: number) {
    this.#node = node
    this.#hosted = hosted
    this.#link = link
    this.#id = id
  }

  /** What is left after the last round is little. */
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
    this.#isClose = false
    this.#moved = false
    const slow = this.#roundsWithoutLess >= patienceRounds
    const { from, shards } = migration
    const naming = { clusterId: this.#node.clusterId(), group: from, migration: this.#id }
    const request = new pb.v1.DeltaRequest({ ...naming, after, shards: [...shards], slow })
    const reply = await this.#link.call(migrationMethods.delta, request, deltaTimeoutMs, () => false)
    await this.replay(migration, after, reply)
    const bytes = deltaBytes(reply.shards)
    const records = reply.shards.reduce((sum, shard) => sum + (shard.records?.length ?? 0), 0)
    this.#moved = records > 0 || reply.lag === 0
    this.#isClose = reply.lag <= closeEntries && bytes <= closeBytes
    this.#watchLag(reply.lag + records)
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

  #watchLag(lag: number): void {
    if (lag < this.#leastLag || lag <= closeEntries) {
      this.#leastLag = lag
      this.#roundsWithoutLess = 0
    } else this.#roundsWithoutLess++
  }
}

function deltaBytes(shards: readonly pb.v1.ShardDelta.$Properties[]): number {
  let bytes = 0
  for (const { records } of shards) for (const { writes } of records ?? []) bytes += 32 + (writes?.length ?? 0)
  return bytes
}
