import type { ProgressTracker } from './progress-tracker.ts'
import type { CoreOptions } from './types.ts'

/**
 * Whether a leader still hears a quorum (thesis, 6.2). Looked at once in an election timeout, over all that was heard since the last look: so a
 * leader that was cut off leads for less than two of them.
 */
export class QuorumCheck {
  readonly #periodTicks: number
  readonly #enforced: boolean
  readonly #tracker: ProgressTracker
  #elapsed = 0

  constructor(options: Pick<CoreOptions, 'electionTicks' | 'checkQuorum'>, tracker: ProgressTracker) {
    this.#periodTicks = options.electionTicks
    this.#enforced = options.checkQuorum
    this.#tracker = tracker
  }

  /** False: step down. */
  tick(): boolean {
    this.#elapsed++
    if (this.#elapsed < this.#periodTicks) return true
    if (this.#enforced && !this.#tracker.quorumActive) return false
    this.restart()
    return true
  }

  /** A new period begins now. */
  restart(): void {
    this.#elapsed = 0
    this.#tracker.forgetActivity()
  }
}
