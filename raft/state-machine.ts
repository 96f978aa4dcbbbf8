import type { MaybePromise } from '../base/maybe-promise.ts'
import type { Entry } from './core/types.ts'
import type { FileEntry } from './file-set.ts'
import type { Standing } from './standing.ts'

/**
 * What a replica replicates. The driver (`raft/replica.ts`) keeps these promises:
 * 1. `apply` is called with consecutive entries, each exactly once per life of the object, beginning behind `durable.index`; the next call
 *    comes only after the result of the last has settled. Entries with no data (a new leader's own) are passed on too.
 * 2. After a crash entries behind `durable.index` are applied again to an object opened from the same files.
 * 3. `apply` must depend on nothing but the entries and the state: no clock, no random number. It is total: a bad entry yields a result that
 *    says so. If it throws, the replica stops (not the node).
 * 4. Entries that change the membership come too. They mean nothing to the state but where it stands: `standBehind`. One that is not known throws.
 */
export interface StateMachine<Result> {
  /** The newest (index, term, membership) whose effects, and those of all before, are durable. Only moves forward. */
  readonly durable: Standing
  /** Largest group time that an applied entry carried, milliseconds; left out by machines that know no time. */
  readonly timeMs?: number
  /** About what a snapshot takes; left out by machines that are small. */
  readonly bytes?: number
  /** Set by the driver: called each time `durable` has moved. */
  onDurable: (() => void) | undefined
  /** Applies; answers with one result for each entry, for the proposer if it is here. */
  apply(entries: readonly Entry[]): MaybePromise<readonly Result[]>
  /** Begins to make all that is applied durable; resolves when it is. */
  flush(): Promise<void>
  /**
   * Makes, in `folder` (absent), files of all state at `meta`, which is what is applied now or later. They do not change afterwards. All is
   * durable when it resolves. May run beside everything else.
   */
  exportSnapshot(folder: string): Promise<ExportedSnapshot>
  /**
   * Replaces all state by what a replica of the group exported as `snapshot`, whose files lie in `folder`, verified. Called while nothing is
   * being applied. One durable step: after a crash before it resolves either nothing or all has happened. When it resolves, `durable` and all
   * that is in memory stand at `snapshot.meta`; the files in `folder` are no longer needed.
   */
  installSnapshot(snapshot: ExportedSnapshot, folder: string): Promise<void>
  close(): Promise<void>
}

/** The whole state of a group at one entry of its log, as files. */
export interface ExportedSnapshot {
  readonly meta: Standing
  /** What the files are, as the state machine defines it. */
  readonly description: Uint8Array
  readonly files: readonly FileEntry[]
}

/**
 * `apply` rejects with it where an entry needs files that this replica does not have: nothing of that entry happened. The driver stops
 * applying, does not campaign, and installs a snapshot of `index` or later that it pulls from a peer.
 */
export class SnapshotNeeded extends Error {
  override readonly name = 'SnapshotNeeded'
  /** Of the entry. */
  readonly index: number

  constructor(index: number, why: string) {
    super(`entry ${index} needs a snapshot: ${why}`)
    this.index = index
  }
}

/** This replica does not take it. */
export interface Refused {
  readonly kind: 'refused'
  readonly reason: 'not-leader' | 'overloaded' | 'stopped'
  /** To whom to turn: replica number, 0 unknown. */
  readonly leader: number
  /** `leader` does not lead yet, as far as is known here: it is being elected. */
  readonly isHeir?: true
}

/** Why a proposal was not put into the log, or what became of it. */
export type ProposalOutcome<Result> =
  | { readonly kind: 'applied'; readonly index: number; readonly result: Result }
  /** Definite: it is in no log. */
  | Refused
  /** Indefinite: it was in this replica's log when leadership was lost, or the replica stopped. */
  | { readonly kind: 'lost' }

/**
 * How a read learns where it may be served. quorum: this replica leads and confirms it by a round; lease: or by its lease, where it holds one;
 * follower: this replica leads, or asks its leader.
 */
export type ReadKind = 'quorum' | 'lease' | 'follower'

export type ReadOutcome =
  /** Everything acknowledged before the call is applied here: read now, in this turn. */
  { readonly kind: 'ready' } | Refused
