import type { ConfState } from './core/types.ts'
import type { ProposalOutcome, ReadKind, ReadOutcome } from './state-machine.ts'

/** A replica as servers see it; `raft/replica.ts` drives it. Tests of servers use a fake. */
export interface ReplicaApi<Result> {
  /** Uid of the group: 'g1@12'. */
  readonly group: string
  /** This replica's number. */
  readonly replica: number
  readonly role: 'leader' | 'follower' | 'candidate' | 'learner'
  /** The leader's replica number in the present term; 0: unknown. */
  readonly leader: number
  readonly term: number
  readonly conf: ConfState
  /** Index of the last entry applied. */
  readonly applied: number
  /**
   * The group's time, milliseconds: runs by the leader's monotonic clock from the largest time heard of; with no leader it stands. Only a
   * leader's proposals carry it into the log.
   */
  groupTimeMs(): number
  /** Puts an entry into the log if this replica leads. `done` is called exactly once, never within this call; `data` must not change afterwards. */
  propose(data: Uint8Array, done: (outcome: ProposalOutcome<Result>) => void): void
  /**
   * Waits until all that was committed at some moment after this call is applied here; how that moment's index is had, `kind` says (default:
   * 'quorum'). `done` is called exactly once, never within this call. Refused as 'not-leader' also where the leader that was asked did not answer.
   */
  readIndex(done: (outcome: ReadOutcome) => void, kind?: ReadKind): void
  /** All that the group acknowledged before this time of this process's monotonic clock is applied here; -Infinity: nothing is known. */
  readonly freshAsOfMs: number
}
