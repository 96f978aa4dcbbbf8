import type { ConfState } from './core/types.ts'
import type { ProposalOutcome, ReadOutcome } from './state-machine.ts'

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
  /** Confirms leadership by a round begun after this call and waits until what was committed then is applied. `done` is called exactly once, never within this call. */
  readIndex(done: (outcome: ReadOutcome) => void): void
}
