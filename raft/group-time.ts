import type { Clock } from '../base/clock.ts'

/**
 * A group's time, milliseconds from the group's birth: runs by the leader's monotonic clock from the largest time heard of, stands while
 * there is no leader here, and never goes back. So a pause or an outage stretches a time to live and never shortens it, and no wall clock
 * is asked.
 */
export class GroupTime {
  readonly #clock: Clock
  #heardMs: number
  /** Monotonic time at which this replica began to lead with `#heardMs`; undefined: it does not lead. */
  #leadsSinceMs: number | undefined

  constructor(clock: Clock, heardMs: number) {
    this.#clock = clock
    this.#heardMs = heardMs
  }

  now(): number {
    if (this.#leadsSinceMs === undefined) return this.#heardMs
    return this.#heardMs + Math.floor(this.#clock.monotonicMs() - this.#leadsSinceMs)
  }

  /** A message or an entry carried this time. */
  hear(timeMs: number): void {
    if (timeMs <= this.now()) return
    this.#heardMs = timeMs
    if (this.#leadsSinceMs !== undefined) this.#leadsSinceMs = this.#clock.monotonicMs()
  }

  lead(): void {
    this.#leadsSinceMs ??= this.#clock.monotonicMs()
  }

  follow(): void {
    this.#heardMs = this.now()
    this.#leadsSinceMs = undefined
  }
}
