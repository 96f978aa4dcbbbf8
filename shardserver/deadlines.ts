import type { Clock } from '../base/clock.ts'

export interface Expiring {
  /** Monotonic, ms. */
  readonly deadlineMs: number
  expire(): void
}

/** How late an expiry may come, ms. */
const everyMs = 50

/** Deadlines of many short calls with one timer: it runs only while some call is under way, and looks at them all now and then. */
export class Deadlines {
  readonly #clock: Clock
  readonly #calls = new Set<Expiring>()
  #running = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  add(call: Expiring): void {
    this.#calls.add(call)
    if (!this.#running) this.#wait()
  }

  remove(call: Expiring): void {
    this.#calls.delete(call)
  }

  #wait(): void {
    this.#running = true
    this.#clock.setTimer(everyMs, () => {
      this.#running = false
      const nowMs = this.#clock.monotonicMs()
      for (const call of this.#calls) {
        if (call.deadlineMs > nowMs) continue
        this.#calls.delete(call)
        call.expire()
      }
      if (this.#calls.size > 0 && !this.#running) this.#wait()
    })
  }
}
