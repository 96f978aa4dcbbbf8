import { ApplyPump } from './apply-pump.ts'
import type { ClientCalls } from './client-calls.ts'
import type { Raft } from './core/raft.ts'
import { type Entry, NONE, type Ready } from './core/types.ts'
import type { Fitness } from './fitness.ts'
import type { GroupTime } from './group-time.ts'
import { LogTruncation } from './log-truncation.ts'
import type { MemberChanges } from './member-changes.ts'
import type { ReplicaOptions } from './replica-options.ts'
import { SnapshotInstall } from './snapshot-install.ts'
import type { Standing } from './standing.ts'

interface AppliedStateParts<Result> {
  readonly options: ReplicaOptions<Result>
  readonly core: Raft
  readonly time: GroupTime
  readonly calls: ClientCalls<Result>
  readonly fitness: Fitness
  readonly members: MemberChanges<Result>
  /** Runs `action`; the replica stops where it throws. */
  guard(action: () => void): void
  /** The core may have a Ready. */
  wake(): void
  /** The state machine, or what feeds it, cannot go on. */
  onFailed(error: Error): void
}

/**
 * The state machine of a replica, and what follows from where it stands (raft/README.md, duties 6 and 13 to 15): what is committed is applied to
 * it, a snapshot takes its place where it lags too far or lacks something, and the log is truncated behind it. Whoever has to know that it stands
 * further on is told in the same turn: the members first, then the core, then clients.
 */
export class AppliedState<Result> {
  readonly #parts: AppliedStateParts<Result>
  readonly #pump: ApplyPump<Result>
  readonly #truncation: LogTruncation
  readonly #install: SnapshotInstall

  constructor(parts: AppliedStateParts<Result>) {
    const { core, onFailed } = parts
    const { replica, clock, log, logger, stateMachine, peers, hardState, snapshotLogBytes, onTruncated } = parts.options
    this.#parts = parts
    const pump = new ApplyPump<Result>({
      clock,
      log,
      stateMachine,
      commit: hardState.commit,
      onApplied: (entries, results) => this.#applied(entries, results),
      onSlow: (entries, tookMs) =>
        logger.warn({ from: entries[0]?.index, count: entries.length, tookMs: Math.round(tookMs) }, 'entries took long to be applied'),
      onSnapshotNeeded: (index) => this.#needSnapshot(index),
      onFailed,
    })
    this.#pump = pump
    this.#truncation = new LogTruncation({
      log,
      stateMachine,
      replica,
      snapshotLogBytes,
      applied: () => pump.applied,
      stable: () => core.stableIndex,
      fetchedSnapshot: () => core.lowestPendingSnapshot(),
      onTruncated,
      onFailed,
    })
    this.#install = new SnapshotInstall({
      clock,
      logger,
      peers,
      stateMachine,
      pump,
      candidates: () => this.#candidates(),
      onInstalled: (standing) => this.#installed(standing),
      onDeclined: () => this.#declined(),
      onFailed,
    })
    stateMachine.onDurable = () => parts.guard(() => this.#truncation.maybeTruncate())
  }

  get applied(): number {
    return this.#pump.applied
  }

  get commit(): number {
    return this.#pump.commit
  }

  /** Begins to apply what was committed before the start. */
  start(): void {
    this.#pump.run()
  }

  /** What a Ready says of it. */
  handle({ commit, snapshot }: Pick<Ready, 'commit' | 'snapshot'>): void {
    this.#pump.commitTo(commit)
    if (snapshot !== undefined) this.#install.offered(snapshot.index)
  }

  /** The leader says that every replica durably holds the log up to `index`. */
  matchedTo(index: number): void {
    this.#truncation.matchedTo(index)
  }

  /** Up to where every replica durably holds the log, as a leader knows it; 0 unless this replica leads. */
  allMatched(): number {
    const { core } = this.#parts
    if (core.role !== 'leader') return 0
    this.#truncation.matchedTo(core.matchedByAll())
    return this.#truncation.allMatched
  }

  /** The log has to be shorter: makes durable what is applied, and truncates. */
  freeLog(): void {
    this.#truncation.free()
  }

  stop(): void {
    this.#parts.options.stateMachine.onDurable = undefined
    this.#install.stop()
    this.#pump.stop()
    this.#truncation.stop()
  }

  #applied(entries: readonly Entry[], results: readonly Result[]): void {
    const { options, core, time, calls, members, wake } = this.#parts
    const { applied } = this.#pump
    time.logged(options.stateMachine.timeMs ?? 0)
    const membersChanged = members.applied(entries)
    core.applied(applied)
    if (membersChanged) options.onMembers()
    calls.applied(entries, results, applied)
    // Where a leader is alone no message asks for it.
    this.allMatched()
    this.#truncation.maybeTruncate()
    this.#truncation.maybeFlush()
    wake()
  }

  /** The replica must not lead until it has one: it could not apply what it commits. */
  #needSnapshot(index: number): void {
    const { options, calls, fitness, guard, wake } = this.#parts
    options.logger.warn({ index }, 'an entry cannot be applied without a snapshot from a peer')
    guard(() => fitness.needSnapshot(true))
    // What is committed will not be applied here: it comes with the snapshot.
    calls.loseBehind(0)
    this.#install.needed(index)
    wake()
  }

  /** Whom to ask for a snapshot. */
  #candidates(): readonly number[] {
    const { options, core } = this.#parts
    const { leader, membership } = core
    return [leader, ...membership.replicas.filter((peer) => peer !== leader)].filter((peer) => peer !== NONE && peer !== options.replica)
  }

  /** The state machine's edit was the commit point; the log's mark comes next, and the answer to the leader leaves behind it. */
  #installed(standing: Standing): void {
    const { options, core, time, calls, fitness, members, wake } = this.#parts
    const { index } = standing
    if (core.snapshotInstalled(standing)) options.log.reset(index, standing.term)
    members.installed(standing)
    options.onMembers()
    fitness.needSnapshot(false)
    calls.loseBehind(0)
    this.#pump.installed(index)
    time.logged(options.stateMachine.timeMs ?? 0)
    calls.caughtUp(index)
    this.#truncation.maybeTruncate()
    wake()
  }

  #declined(): void {
    const { core, guard, wake } = this.#parts
    guard(() => core.snapshotFailed())
    wake()
  }
}
