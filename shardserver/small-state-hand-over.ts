import type { Clock } from '../base/clock.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import { nextTurn, sliceMs } from './slices.ts'

export interface HandOverOptions {
  readonly clock: Clock
  /** Writes some of the small state into the store, until `isOver`, which is asked behind each piece. True: nothing is left. */
  writeSome(isOver: () => boolean): boolean
  onFailure(error: unknown): void
}

/**
 * Hands the small state to the memtable before that is sealed. That of thousands of clients takes many turns to be written down, so it goes in slices, and while
 * they run (`running`) the owner applies nothing: in the turn of the seal nothing is left but what the entry that asked for it has changed. Until then what was
 * handed over is of the memtable alone, which a crash takes as a whole: what becomes durable under a mark is the state at the mark's entry, however many
 * slices it came in, and replay goes on behind that.
 */
export class SmallStateHandOver {
  readonly #options: HandOverOptions
  #running: Promise<void> | undefined

  constructor(options: HandOverOptions) {
    this.#options = options
  }

  /** Ends when `act` was called; never rejects. */
  get running(): Promise<void> | undefined {
    return this.#running
  }

  /** Calls `act` in a turn in which nothing is left: in this one, where one slice is enough. */
  before<Result>(act: () => Result): MaybePromise<Result> {
    if (this.#running !== undefined) return this.#running.then(() => this.before(act))
    if (this.writeSlice()) return act()
    const acted = this.#writeRest().then(act)
    const end = () => {
      this.#running = undefined
    }
    this.#running = acted.then(end, (error: unknown) => {
      end()
      this.#options.onFailure(error)
    })
    return acted
  }

  /** False: more is to come. */
  writeSlice(): boolean {
    const { clock } = this.#options
    const untilMs = clock.monotonicMs() + sliceMs
    return this.#options.writeSome(() => clock.monotonicMs() >= untilMs)
  }

  async #writeRest(): Promise<void> {
    do await nextTurn(this.#options.clock)
    while (!this.writeSlice())
  }
}
