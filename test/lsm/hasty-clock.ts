import type { Timer } from '../../base/clock.ts'
import { NodeClock } from '../../base/node-clock.ts'

/** Waits for nothing: a timer only lets others run. Time moves by being looked at, so that what runs in memory runs the same way each time. */
export class HastyClock extends NodeClock {
  #nowMs = 0

  override monotonicMs(): number {
    this.#nowMs += 0.05
    return this.#nowMs
  }

  override setTimer(_delayMs: number, callback: () => void): Timer {
    let cancelled = false
    this.soon(() => {
      if (!cancelled) callback()
    })
    return {
      cancel: () => {
        cancelled = true
      },
    }
  }
}
