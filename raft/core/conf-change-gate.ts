import { changeConf } from './conf-changer.ts'
import type { ProgressTracker } from './progress-tracker.ts'
import type { RaftLog } from './raft-log.ts'
import type { ConfChange, CoreOptions } from './types.ts'

export type ConfChangeRefusal = 'conf-change-pending' | 'joint' | 'not-joint' | 'invalid'

/**
 * When a leader may append a change of the membership: one at a time, the one before it applied here, and only one that the configuration of
 * then admits. So at most one change is committed that some have applied and some have not, and the quorums of both sides overlap.
 */
export class ConfChangeGate {
  readonly #unchecked: boolean
  readonly #log: RaftLog
  readonly #tracker: ProgressTracker
  /** Behind the log's last change there is none up to the end. No other is appended before this index is applied. Only rises. */
  #lastChange: number

  /**
   * `firstOwnIndex`: of the first entry of the leader's term. Also what earlier leaders appended may hold a change, and before an entry of this
   * term is committed none is known to be.
   */
  constructor(options: Pick<CoreOptions, 'unsafe'>, log: RaftLog, tracker: ProgressTracker, firstOwnIndex: number) {
    this.#unchecked = options.unsafe?.skipConfChangeChecks === true
    this.#log = log
    this.#tracker = tracker
    this.#lastChange = firstOwnIndex
  }

  /** No change is on its way. */
  get isClear(): boolean {
    return this.#log.applied >= this.#lastChange
  }

  /** The membership applied here is the newest that is committed: no other leader can have been elected by another. */
  get isNewestApplied(): boolean {
    return this.isClear || this.#log.commit < this.#lastChange
  }

  /** Why `change` may not be appended now; undefined: it may. */
  refusalOf(change: ConfChange): ConfChangeRefusal | undefined {
    if (this.#unchecked) return undefined
    if (!this.isClear) return 'conf-change-pending'
    const outcome = changeConf(this.#tracker.membership.conf, change)
    if (outcome.ok) return undefined
    return outcome.reason === 'joint' || outcome.reason === 'not-joint' ? outcome.reason : 'invalid'
  }

  /** A change was appended at `index`. */
  appended(index: number): void {
    this.#lastChange = index
  }
}
