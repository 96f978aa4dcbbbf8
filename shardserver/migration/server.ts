import { type Route, unaryRoute } from '../../base/transport.ts'
import { encodeError } from '../../proto/error-codec.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { limits } from '../../proto/limits.ts'
import { pb } from '../../proto/messages.ts'
import { migrationMethods } from '../../proto/methods.ts'
import { decodeMigration, isEnded } from '../../proto/migration.ts'
import { sameCluster } from '../../raft/cluster-id.ts'
import type { LocalMigration } from '../shard-migrations.ts'
import type { SlowWish } from '../slow-writes.ts'
import type { FetchStatus } from './import-fetcher.ts'
import type { MigrationNode, MovingReplica } from './node.ts'
import { notLeader, proposeStep } from './propose.ts'

/** Of one answer, which becomes one entry of the target's log: whatever else its clients want waits behind it. */
const deltaBytesMax = 1024 * 1024
/** Deltas being read on this node. */
const deltasMax = 16
const busyWaitMs = 500
/** How long the watch may take to bring a commit that the caller has seen, before the controllers are asked. */
const watchMs = 20
/** How long one is waited for that is only being decided. */
const decisionMs = 2000
const askTimeoutMs = 2000

export interface MigrationServerParts {
  readonly node: MigrationNode
  /** How far a replica of this node is with the files of an attempt. */
  fetchStatus(group: string, id: number, attempt: number): FetchStatus | undefined
  /** The target of some shards does not keep up with their writes, or does again. */
  slow(group: string, wish: SlowWish): void
}

/** What a node answers to those who drive a migration elsewhere. Nothing is decided here: the group's log does, and the controllers'. */
export class MigrationServer {
  readonly #parts: MigrationServerParts
  readonly #node: MigrationNode
  /** Releases that are proposed, by migration, and since when: who asks meanwhile waits for the same. */
  readonly #releasing = new Map<number, { readonly sinceMs: number; readonly done: Promise<void> }>()
  #deltas = 0

  constructor(parts: MigrationServerParts) {
    this.#parts = parts
    this.#node = parts.node
  }

  routes(): Route[] {
    return [
      unaryRoute(migrationMethods.export, (request) =>
        answer(
          () => this.#export(request),
          (error) => new pb.v1.ExportReply({ error }),
        ),
      ),
      unaryRoute(migrationMethods.delta, (request) =>
        answer(
          () => this.#delta(request),
          (error) => new pb.v1.DeltaReply({ error }),
        ),
      ),
      unaryRoute(migrationMethods.release, (request) =>
        answer(
          () => this.#release(request),
          (error) => new pb.v1.DeltaReply({ error }),
        ),
      ),
      unaryRoute(migrationMethods.holds, (request) =>
        answer(
          () => this.#holds(request),
          (error) => new pb.v1.HoldsReply({ error }),
        ),
      ),
    ]
  }

  async #export(request: pb.v1.ExportRequest): Promise<pb.v1.ExportReply> {
    const hosted = this.#hosted(request)
    const { migration: id, attempt } = request
    const shards = checkedShards(request.shards)
    const before = localOf(hosted, id)
    if (before === undefined || before.attempt < attempt) {
      mustLead(this.#node, hosted)
      const known = this.#node.book.get(id)
      if (known !== undefined && isEnded(known.phase)) throw refused(`migration ${id} has ended`)
      if (before === undefined) this.#mustHaveRoom()
      try {
        await proposeStep(this.#node, hosted, { kind: 'export', id, shards, attempt })
        this.#node.logger.info({ group: request.group, migration: id, attempt, shards }, 'shards are exported')
      } catch (error) {
        // The same request may have come twice: what counts is what the log has made of it.
        if ((localOf(hosted, id)?.attempt ?? 0) < attempt) throw error
      }
    }
    const local = localOf(hosted, id)
    if (local === undefined || local.state !== 'exporting') throw refused(`migration ${id} exports nothing here`)
    return new pb.v1.ExportReply({ attempt: local.attempt, cut: local.cut, digest: local.digest })
  }

  /** Copies out of groups that this node leads, at once. */
  #mustHaveRoom(): void {
    let exporting = 0
    for (const { replica, stateMachine } of this.#node.hosts.all()) {
      if (replica.role === 'leader') exporting += stateMachine.migrations().filter((local) => this.#isCopied(local)).length
    }
    if (exporting < this.#node.maxMigrations) return
    throw new OstrakaError('OVERLOADED', `${exporting} migrations leave this node already`, true, { waitMs: busyWaitMs })
  }

  #isCopied({ id, state }: LocalMigration): boolean {
    return state === 'exporting' && this.#node.book.get(id)?.paused !== true
  }

  async #delta(request: pb.v1.DeltaRequest): Promise<pb.v1.DeltaReply> {
    const hosted = this.#hosted(request)
    const shards = checkedShards(request.shards)
    // Who does not lead may lag without end: the commit would be asked for with much left to replay. And only the leader can slow writes down.
    mustLead(this.#node, hosted)
    this.#parts.slow(request.group, { migration: request.migration, shards, replayRate: request.replayRate })
    return await this.#read(hosted, request.migration, request.after, shards)
  }

  async #read(hosted: MovingReplica, id: number, after: number, shards: readonly number[]): Promise<pb.v1.DeltaReply> {
    if (this.#deltas >= deltasMax) throw new OstrakaError('OVERLOADED', 'too many deltas are being read', true, { waitMs: busyWaitMs })
    this.#deltas++
    try {
      const outcome = await hosted.stateMachine.delta({ id, shards, after, maxBytes: deltaBytesMax })
      if (outcome.kind === 'refused') throw refused(outcome.reason)
      const { upTo, lag, releasedAt } = outcome
      return new pb.v1.DeltaReply({ upTo, lag, releasedAt, shards: outcome.shards.map((shard) => new pb.v1.ShardDelta(shard)) })
    } finally {
      this.#deltas--
    }
  }

  async #release(request: pb.v1.ReleaseRequest): Promise<pb.v1.DeltaReply> {
    const hosted = this.#hosted(request)
    const { migration: id, after } = request
    const shards = checkedShards(request.shards)
    let sinceMs: number | undefined
    if (localOf(hosted, id)?.state !== 'released') {
      mustLead(this.#node, hosted)
      if (!this.#node.breaks.has('release-before-commit')) await this.#mustBeCommitted(request)
      const releasing = this.#releaseOnce(hosted, id, shards)
      sinceMs = releasing.sinceMs
      await releasing.done
    }
    const reply = await this.#read(hosted, id, after, shards)
    if (sinceMs !== undefined) reply.releasedForUs = Math.max(1, Math.round((this.#node.clock.monotonicMs() - sinceMs) * 1000))
    return reply
  }

  #releaseOnce(hosted: MovingReplica, id: number, shards: readonly number[]) {
    const known = this.#releasing.get(id)
    if (known !== undefined) return known
    const done = this.#propose(hosted, id, shards).finally(() => this.#releasing.delete(id))
    const releasing = { sinceMs: this.#node.clock.monotonicMs(), done }
    this.#releasing.set(id, releasing)
    return releasing
  }

  async #propose(hosted: MovingReplica, id: number, shards: readonly number[]): Promise<void> {
    if (localOf(hosted, id)?.state === 'released') return
    try {
      await proposeStep(this.#node, hosted, { kind: 'release', id, shards })
      this.#node.logger.info({ group: hosted.replica.group, migration: id, shards }, 'shards are released')
    } catch (error) {
      if (localOf(hosted, id)?.state !== 'released') throw error
    }
  }

  /**
   * The caller's word is not enough: this node's own watch has to say so, or the controllers' leader. That one is asked only where the caller has
   * seen the commit: he who asks while it is being decided wants to be no later than the watch.
   */
  async #mustBeCommitted({ migration: id, group, configNumber }: pb.v1.ReleaseRequest): Promise<void> {
    const isSeen = configNumber > 0
    let migration = await this.#node.book.whenDecided(id, isSeen ? watchMs : decisionMs)
    if (migration === undefined && isSeen) {
      const all = await this.#node.controllers.migrations({ timeoutMs: askTimeoutMs, ids: [id] })
      const found = all.find((known) => known.id === id)
      if (found !== undefined) this.#node.book.hear(decodeMigration(found))
      migration = this.#node.book.get(id)
    }
    if (migration?.phase === 'committed' && migration.from === group) return
    throw refused(`migration ${id} is ${migration?.phase ?? (isSeen ? 'not known' : 'not decided')}, not committed`)
  }

  async #holds(request: pb.v1.HoldsRequest): Promise<pb.v1.HoldsReply> {
    const hosted = this.#hosted(request)
    const { group, migration: id, attempt } = request
    const held = hosted.stateMachine.holdsImport(id, attempt)
    if (held !== undefined) {
      const { digest, cut, bytes } = held
      return new pb.v1.HoldsReply({ holds: true, digest, cut, bytesCopied: bytes, bytesTotal: bytes })
    }
    return new pb.v1.HoldsReply({ ...this.#parts.fetchStatus(group, id, attempt), work: hosted.stateMachine.workOn(id, attempt) })
  }

  #hosted({ clusterId, group }: { readonly clusterId: Uint8Array; readonly group: string }): MovingReplica {
    if (!sameCluster(clusterId, this.#node.clusterId())) throw refused('this node belongs to another cluster')
    const hosted = this.#node.hosts.get(group)
    if (hosted === undefined) throw new OstrakaError('NOT_FOUND', `no replica of ${group} runs on this node`, true)
    return hosted
  }
}

function localOf({ stateMachine }: MovingReplica, id: number): LocalMigration | undefined {
  return stateMachine.migrations().find((local) => local.id === id)
}

function mustLead(node: MigrationNode, { replica }: MovingReplica): void {
  if (replica.role !== 'leader') throw notLeader(node, replica.group, replica.leader)
}

function checkedShards(shards: readonly number[]): readonly number[] {
  const ascends = shards.every((shard, i) => shard < limits.shardCountMax && (i === 0 || shard > (shards[i - 1] ?? 0)))
  if (shards.length === 0 || !ascends) throw new OstrakaError('INVALID_ARGUMENT', 'shards must be named, ascending', true)
  return shards
}

function refused(what: string): OstrakaError {
  return new OstrakaError('FAILED_PRECONDITION', what, true)
}

async function answer<Reply>(handle: () => Promise<Reply>, refuse: (error: pb.v1.Error) => Reply): Promise<Reply> {
  try {
    return await handle()
  } catch (error) {
    if (!(error instanceof OstrakaError)) throw error
    return refuse(encodeError(error))
  }
}
