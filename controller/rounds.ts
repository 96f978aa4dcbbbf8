import type { Clock } from '../base/clock.ts'

/** How much of a round is done in one turn: so many visits, and no new one after so long. */
const visitsMax = 256
const sliceMs = 5

/** Visits all of a set, whose members may come and go meanwhile, a slice of it in each turn: thousands must not keep a leader from its heartbeats. */
export class Rounds<T> {
  readonly #all: ReadonlySet<T>
  readonly #visit: (one: T) => void
  readonly #clock: Pick<Clock, 'monotonicMs' | 'soon'>
  /** Who is still to be visited in this round. */
  #rest: Iterator<T> | undefined
  #isWanted = false
  #isScheduled = false

  constructor(all: ReadonlySet<T>, clock: Pick<Clock, 'monotonicMs' | 'soon'>, visit: (one: T) => void) {
    this.#all = all
    this.#clock = clock
    this.#visit = visit
  }

  /** A whole round begins behind the one that runs. */
  want(): void {
    this.#isWanted = true
    this.#goOn()
  }

  #goOn(): void {
    if (this.#isScheduled || (this.#rest === undefined && !this.#isWanted)) return
    this.#isScheduled = true
    this.#clock.soon(() => {
      this.#isScheduled = false
      this.#slice()
      this.#goOn()
    })
  }

  #slice(): void {
    if (this.#rest === undefined) {
      this.#isWanted = false
      this.#rest = this.#all.values()
    }
    const untilMs = this.#clock.monotonicMs() + sliceMs
    for (let visits = 0; visits < visitsMax && (visits === 0 || this.#clock.monotonicMs() < untilMs); visits++) {
      const next = this.#rest.next()
      if (next.done) {
        this.#rest = undefined
        return
      }
      this.#visit(next.value)
    }
  }
}
