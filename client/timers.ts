import type { Clock, Timer } from '../base/clock.ts'

/** Timers that end together: none keeps a process alive behind its client. After `close` none starts. */
export class Timers {
  readonly #clock: Clock
  readonly #running = new Set<Timer>()
  #closed = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  after(delayMs: number, callback: () => void): void {
    if (this.#closed) return
    const timer = this.#clock.setTimer(delayMs, () => {
      this.#running.delete(timer)
      callback()
    })
    this.#running.add(timer)
  }

  close(): void {
    this.#closed = true
    for (const timer of this.#running) timer.cancel()
    this.#running.clear()
  }
}
