import type { Random } from '../../base/random.ts'

/** A replica's number within its group, handed out once: 1 and up. 0 means none. */
export type ReplicaNumber = number
export const NONE: ReplicaNumber = 0

export const EntryKind = { Normal: 0, ConfChange: 1 } as const
/** One of `EntryKind`; a number, since an entry of a newer version may carry a kind that this one does not know. */
export type EntryKind = number

/** One entry of the replicated log. A new leader's own entry is Normal with no bytes. */
export interface Entry {
  readonly term: number
  readonly index: number
  readonly kind: EntryKind
  readonly data: Uint8Array
}

/** What must survive a crash beside the entries. `commit` may lag behind after one. */
export interface HardState {
  readonly term: number
  readonly vote: ReplicaNumber
  readonly commit: number
}

/**
 * Who belongs to the group. Invariant: voters and votersOutgoing together, learners, and nobody else; learnersNext are of votersOutgoing, and of no other list.
 */
export interface ConfState {
  /** Joint: the incoming half. */
  readonly voters: readonly ReplicaNumber[]
  /** Joint: those that voted before and must still agree. Empty outside a joint configuration. */
  readonly votersOutgoing: readonly ReplicaNumber[]
  readonly learners: readonly ReplicaNumber[]
  /** Joint: voters of the outgoing half that become learners when it is left. */
  readonly learnersNext: readonly ReplicaNumber[]
  /** Joint: the leader leaves it by itself. */
  readonly autoLeave: boolean
}

/** Adding a voter promotes a learner; adding a learner demotes a voter. */
export interface ConfStep {
  readonly type: 'add-voter' | 'add-learner' | 'remove'
  readonly replica: ReplicaNumber
}

/**
 * A change of the membership, what an entry of kind ConfChange says. No steps: leave the joint configuration.
 * - auto: at once where at most one voter comes or goes, else as joint-implicit.
 * - joint-implicit: by a joint configuration, which the leader leaves by itself. joint-explicit: which is left by a change without steps.
 */
export interface ConfChange {
  readonly transition: 'auto' | 'joint-implicit' | 'joint-explicit'
  readonly steps: readonly ConfStep[]
}

/** A state machine's state after applying `index`, with the membership as of there. */
export interface SnapshotMeta {
  readonly index: number
  readonly term: number
  readonly conf: ConfState
}

export const MessageType = {
  /** Would you vote for me in `term` (mine + 1)? index, logTerm: my last entry; context: 1 if forced. */
  PreVote: 1,
  /** Granted: `term` is the asked one. Rejected: the answerer's own. index, logTerm: as in a VoteResponse. */
  PreVoteResponse: 2,
  /** index, logTerm: the candidate's last entry; context: 1 if forced (no lease holds it off). */
  Vote: 3,
  /** index, logTerm: an entry, not behind the candidate's last, that the answerer knows to be committed; 0: it knows of none. */
  VoteResponse: 4,
  /** `entries` follow the entry (index, logTerm); commit: the leader's commit index. */
  Append: 5,
  /** Accepted: my log agrees with yours up to `index`, durably. Rejected: it has no (index, logTerm); hintIndex, hintTerm: the last entry of mine that may agree; context: 1 if no entry helps, only a snapshot. */
  AppendResponse: 6,
  /** commit: at most what the receiver is known to hold; context: the newest read round. */
  Heartbeat: 7,
  /** context: as it came; hintIndex: 1 if the sender's `VotePromise` goes with it, so that a lease may rest on it. */
  HeartbeatResponse: 8,
  /** The leader no longer has the entries that the receiver needs: fetch `snapshot`. Carries no state itself. */
  Snapshot: 9,
  /** reject: the receiver of a Snapshot could not get or install it. */
  SnapshotStatus: 10,
  /** Campaign at once: the leader hands its office to the receiver. reject: the answer of one that will not. */
  TimeoutNow: 11,
  /** From a leader with nothing to do: go quiet if your log ends and is committed at (index, logTerm). context: the number of its attempt. */
  Quiesce: 12,
  /** The receiver of a Quiesce is quiet; context: as it came. reject: it is not, or no longer, and wants to hear heartbeats. */
  QuiesceResponse: 13,
  /** From a follower: at which index may I read? context: a number of its own. */
  ReadIndex: 14,
  /** index: where the read of that context may be served; it was confirmed by a round begun after it came. */
  ReadIndexResponse: 15,
} as const
export type MessageType = (typeof MessageType)[keyof typeof MessageType]

/** One shape for all, always with all fields, so that hot code stays monomorphic. What a field means depends on `type`; unused: 0, false, none. */
export interface Message {
  readonly type: MessageType
  readonly from: ReplicaNumber
  readonly to: ReplicaNumber
  readonly term: number
  readonly index: number
  readonly logTerm: number
  readonly commit: number
  readonly entries: readonly Entry[]
  readonly reject: boolean
  readonly hintIndex: number
  readonly hintTerm: number
  readonly context: number
  readonly snapshot: SnapshotMeta | undefined
  /** An Append without entries, to a follower that takes all that comes: the next one with entries tells the same, and more. Not on the wire. */
  readonly mayWait: boolean
}

/**
 * What the core may ask of the durable-or-on-its-way log. Synchronous. An empty log has lastIndex = firstIndex - 1. After a Ready's
 * entries were given to the log, the view shows them (and no longer what they replaced).
 */
export interface LogView {
  readonly firstIndex: number
  readonly lastIndex: number
  /** Known for firstIndex - 1 to lastIndex, else undefined. */
  term(index: number): number | undefined
  /** From `from` to before `to`, at least one, up to `maxBytes` as windows count them (`entryBytes`). Undefined: not in memory; loading has begun and `Raft.entriesLoaded()` will be called. */
  entries(from: number, to: number, maxBytes: number): readonly Entry[] | undefined
}

export interface CoreOptions {
  readonly self: ReplicaNumber
  /** Membership as of `applied`. */
  readonly conf: ConfState
  readonly hardState: HardState
  /** What the state machine holds durably: entries behind it come out again to be applied. */
  readonly applied: number
  readonly log: LogView
  readonly random: Random
  /** T: a follower campaigns after [T, 1.5 T) ticks without a leader; a leader steps down after T without a quorum. */
  readonly electionTicks: number
  readonly heartbeatTicks: number
  /** A candidate asks first whether it would be elected, and raises no term before (thesis, 9.6). False only in tests. */
  readonly preVote: boolean
  /** A leader that has not heard a quorum for T steps down; who has heard a leader within T grants no vote (thesis, 4.2.3, 6.2). False only in tests. */
  readonly checkQuorum: boolean
  /** A leader that is no voter after a change steps down. False: it goes on leading, without counting itself, until another is elected. */
  readonly stepDownOnRemoval: boolean
  /** Whether the group goes quiet where it has nothing to do: its driver then watches over the leader's node in its place (`raft/README.md`). */
  readonly quiesce?: boolean
  /** Keeps the `VotePromise`, and as a leader begins a round with each heartbeat, on whose confirmation its driver may rest a lease. Default: off. */
  readonly leases?: boolean
  /** Bytes of entries sent to one follower and not yet acknowledged. One entry is always admitted. */
  readonly maxInflightBytes: number
  /** Bytes of entries in one Append. One entry is always admitted. */
  readonly maxAppendBytes: number
  /** Bytes of a leader's proposals that are not yet committed; beyond it `propose` answers 'overloaded'. One proposal is always admitted. */
  readonly maxUncommittedBytes: number
  /** The same of those that the leader's own state machine has not applied: a slow one is not left ever farther behind. By default without bound. */
  readonly maxUnappliedBytes?: number
  /** Deliberate breaks, for proving that the tests catch them. Never set otherwise. */
  readonly unsafe?: {
    /** Commits an entry of an older term by counting replicas (Raft, Figure 8). */
    readonly countOldTermEntries?: boolean
    /** Answers reads without asking whether this is still the leader. */
    readonly readWithoutQuorum?: boolean
    /** Proposes membership changes whatever may still be unapplied. */
    readonly skipConfChangeChecks?: boolean
    /** Votes at once after a start and after hearing a leader, though it said that a lease may rest on it. */
    readonly breakPromise?: boolean
  }
}

export type Role = 'follower' | 'preCandidate' | 'candidate' | 'leader'

export interface SoftState {
  readonly role: Role
  readonly leader: ReplicaNumber
  readonly term: number
}

/** `context` may be read at once `index` is applied. */
export interface ReadState {
  readonly context: number
  readonly index: number
}

/** What a leader knows that a lease may rest on. */
export interface LeaseBasis {
  /** The newest heartbeat round sent, by a Ready taken or by the next one; 0: none. */
  readonly lastRound: number
  /** All rounds up to this were answered by a quorum whose members help nobody into office for an election timeout after it. */
  readonly promisedRound: number
  /** Where a read may be served as long as no other can lead; undefined: nowhere before an entry of this term is committed. */
  readonly safeIndex: number | undefined
}

/** What the driver has to do; `raft/README.md` has the order. */
export interface Ready {
  /** May leave at once. */
  readonly messages: readonly Message[]
  /** May leave only when this Ready and all before it are durable. One to this replica itself goes back into `step`. */
  readonly messagesAfterAppend: readonly Message[]
  readonly hardState: HardState | undefined
  /** False when nothing but the commit index of the hard state moved. */
  readonly mustSync: boolean
  /** To append. The log drops what it has from entries[0].index on. */
  readonly entries: readonly Entry[]
  /** Offered by the leader: fetch and install it, then call `snapshotInstalled` or `snapshotFailed`. */
  readonly snapshot: SnapshotMeta | undefined
  /** Apply up to here. Never goes back. */
  readonly commit: number
  readonly readStates: readonly ReadState[]
  /** Contexts of reads that will never be answered: leadership was lost, or the leader that was asked did not answer. */
  readonly lostReads: readonly number[]
  /** When changed. */
  readonly softState: SoftState | undefined
}

export type ProposeResult =
  | { readonly ok: true; readonly term: number; readonly firstIndex: number }
  | { readonly ok: false; readonly reason: 'not-leader' | 'overloaded' | 'transferring'; readonly leader: ReplicaNumber }

/**
 * Further refusals of a membership change.
 * - conf-change-pending: one before it may not be applied yet; try again when it is.
 * - joint: only leaving is possible. not-joint: there is nothing to leave.
 * - invalid: it would leave no voters.
 */
export type ConfChangeResult =
  | ProposeResult
  | {
      readonly ok: false
      readonly reason: 'conf-change-pending' | 'joint' | 'not-joint' | 'invalid'
      readonly leader: ReplicaNumber
    }

/** begun: under way, also by an earlier call. leading: the target leads already, and what was under way is given up. */
export type TransferResult = 'begun' | 'leading' | 'not-leader' | 'not-a-voter'

/** Probe: next is a guess, one Append at a time. Replicate: entries are streamed. Snapshot: waits until the follower has installed one. */
export type ProgressState = 'probe' | 'replicate' | 'snapshot'

export interface ProgressStatus {
  readonly replica: ReplicaNumber
  readonly learner: boolean
  readonly state: ProgressState
  readonly match: number
  readonly next: number
  readonly inflightBytes: number
  /** The index of the snapshot that was offered, 0 for none: keep the log from there. */
  readonly pendingSnapshot: number
  /** Heard from since the last check of the quorum. */
  readonly active: boolean
}
