import type { Clock } from '../base/clock.ts'

/**
 * A group's time, milliseconds from the group's birth: on a leader it runs by the monotonic clock from the largest time heard of, on others it
 * stands at that time, except while the group is quiet and nothing can be heard. It never goes back. So a pause or an outage stretches a time to live and never shortens it, and no wall clock
 * is asked.
 */
export class GroupTime {
  readonly #clock: Clock
  #heardMs: number
  /** Monotonic time from which it runs, at `#heardMs`; undefined: it stands. */
  #runsSinceMs: number | undefined

  constructor(clock: Clock, heardMs: number) {
    this.#clock = clock
    this.#heardMs = heardMs
  }

  now(): number {
    if (this.#runsSinceMs === undefined) return this.#heardMs
    return this.#heardMs + Math.floor(this.#clock.monotonicMs() - this.#runsSinceMs)
  }

  /** A message or an entry carried this time. */
  hear(timeMs: number): void {
    if (timeMs <= this.now()) return
    this.#heardMs = timeMs
    if (this.#runsSinceMs !== undefined) this.#runsSinceMs = this.#clock.monotonicMs()
  }

  run(): void {
    this.#runsSinceMs ??= this.#clock.monotonicMs()
  }

  stand(): void {
    this.#heardMs = this.now()
    this.#runsSinceMs = undefined
  }
}
