import type { Clock } from '../base/clock.ts'

/**
 * A group's time, milliseconds from the group's birth: on a leader it runs by the monotonic clock from what it knew when it came into office, on others it
 * stands at the newest that a leader has told, except while the group is quiet and nothing can be heard. So a pause or an outage stretches a time to live and
 * never shortens it, and no wall clock is asked.
 *
 * Only what is logged never goes back. What a follower's own clock made of a quiet time is a guess, which the word of a leader that knows less replaces: what
 * that leader dates would else be over at once when this replica leads next.
 */
export class GroupTime {
  readonly #clock: Clock
  #heardMs: number
  /** The largest time in what is applied here. */
  #loggedMs: number
  /** Of the newest word of a leader. */
  #term = 0
  /** It ran here since that word. */
  #isGuess = false
  /** Monotonic time from which it runs, at `#heardMs`; undefined: it stands. */
  #runsSinceMs: number | undefined

  constructor(clock: Clock, loggedMs: number) {
    this.#clock = clock
    this.#heardMs = loggedMs
    this.#loggedMs = loggedMs
  }

  now(): number {
    if (this.#runsSinceMs === undefined) return this.#heardMs
    return this.#heardMs + Math.floor(this.#clock.monotonicMs() - this.#runsSinceMs)
  }

  /** What is applied here carried this time. */
  logged(timeMs: number): void {
    this.#loggedMs = Math.max(this.#loggedMs, timeMs)
    if (timeMs > this.now()) this.#set(timeMs)
  }

  /** The leader of `term`, the present one, carries this time. Its words may come in another order than it said them. */
  hear(term: number, timeMs: number): void {
    const isFirst = this.#isGuess || term !== this.#term
    this.#term = term
    this.#isGuess = false
    if (isFirst) this.#set(Math.max(this.#loggedMs, timeMs))
    else if (timeMs > this.now()) this.#set(timeMs)
  }

  run(): void {
    this.#isGuess = true
    this.#runsSinceMs ??= this.#clock.monotonicMs()
  }

  stand(): void {
    this.#heardMs = this.now()
    this.#runsSinceMs = undefined
  }

  #set(timeMs: number): void {
    this.#heardMs = timeMs
    if (this.#runsSinceMs !== undefined) this.#runsSinceMs = this.#clock.monotonicMs()
  }
}
