import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'
import type { Random } from '../base/random.ts'
import { Raft } from './core/raft.ts'
import type { CoreOptions, HardState, Message } from './core/types.ts'
import type { GroupLog } from './log/group-log.ts'
import type { Envelope } from './message-codec.ts'
import type { SnapshotPeers } from './snapshot-install.ts'
import type { StateMachine } from './state-machine.ts'
import type { Turn } from './turn.ts'

/** Bytes of entries in one append, sent and not yet acknowledged by one follower, proposed and not yet committed, and proposed and not yet applied. */
const maxAppendBytes = 1024 * 1024
const maxInflightBytes = 16 * 1024 * 1024
const maxUncommittedBytes = 64 * 1024 * 1024
const maxUnappliedBytes = 128 * 1024 * 1024

export interface ReplicaOptions<Result> {
  /** Uid of the group. */
  readonly group: string
  /** This replica's number. */
  readonly replica: number
  readonly clock: Clock
  readonly turn: Turn
  readonly random: Random
  readonly logger: Logger
  /** Aligned with the state machine: `alignLog`. */
  readonly log: GroupLog
  readonly hardState: HardState
  readonly stateMachine: StateMachine<Result>
  readonly electionTicks: number
  readonly heartbeatTicks: number
  /** How long a lease lasts, for reads that rely on one; undefined: there are none. All replicas of the group should be told the same. */
  readonly leaseMs?: number
  /** The log grows to about this before the state machine is flushed to free it. */
  readonly snapshotLogBytes: number
  /** Where snapshots come from. */
  readonly peers: SnapshotPeers
  /** Hands a message to the messenger. */
  send(message: Message, envelope: Envelope): void
  /** For how many ticks the node of replica `peer` was not heard. */
  silentTicks(peer: number): number
  /** This replica is not quiet, or not any more. */
  wantTicks(): void
  /** The role, the leader or the term changed. */
  onSoftState(): void
  /** The group's members, as of what is applied here, are others. */
  onMembers(): void
  /** The log's mark moved: space may be reclaimed. */
  onTruncated(): void
  /** This replica stopped for good: its state machine or its log failed. The node goes on. */
  onStopped(error: Error): void
  /** Bytes of entries in one append; one entry is always admitted. */
  readonly maxAppendBytes?: number
  readonly unsafe?: UnsafeReplica
}

/** Deliberate breaks, for proving that the simulator catches them. Never set otherwise. */
export type UnsafeReplica = NonNullable<CoreOptions['unsafe']> & {
  /** Leaves the vote out of what is persisted. */
  readonly forgetVote?: boolean
}

/** The pure core of a replica that starts from what is durable. */
export function makeCore<Result>(options: ReplicaOptions<Result>): Raft {
  const { log, random, stateMachine, hardState, unsafe } = options
  const applied = stateMachine.durable.index
  return new Raft({
    self: options.replica,
    conf: stateMachine.durable.conf,
    // What is applied was committed, whatever the last hard state knew.
    hardState: { ...hardState, commit: Math.max(applied, hardState.commit) },
    applied,
    log,
    random,
    electionTicks: options.electionTicks,
    heartbeatTicks: options.heartbeatTicks,
    preVote: true,
    checkQuorum: true,
    quiesce: true,
    stepDownOnRemoval: true,
    leases: options.leaseMs !== undefined,
    maxInflightBytes,
    maxAppendBytes: options.maxAppendBytes ?? maxAppendBytes,
    maxUncommittedBytes,
    maxUnappliedBytes,
    ...(unsafe === undefined ? {} : { unsafe }),
  })
}
