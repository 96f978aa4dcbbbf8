import type { Clock, Timer } from './clock.ts'

/** The longest delay that `setTimeout` takes; longer ones are waited for in pieces. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1

/** A timer of Node that never fires early: `setTimeout` rounds and may be up to a millisecond ahead of the monotonic clock. */
class NodeTimer implements Timer {
  readonly #dueMs: number
  #callback: (() => void) | undefined
  #timeout: NodeJS.Timeout

  constructor(delayMs: number, callback: () => void) {
    this.#dueMs = performance.now() + delayMs
    this.#callback = callback
    this.#timeout = this.#arm(delayMs)
  }

  cancel(): void {
    this.#callback = undefined
    clearTimeout(this.#timeout)
  }

  #arm(delayMs: number): NodeJS.Timeout {
    return setTimeout(() => this.#fire(), Math.min(Math.max(Math.ceil(delayMs), 0), LONGEST_TIMEOUT_MS))
  }

  #fire(): void {
    const callback = this.#callback
    if (callback === undefined) return
    const restMs = this.#dueMs - performance.now()
    if (restMs > 0) {
      this.#timeout = this.#arm(restMs)
      return
    }
    this.#callback = undefined
    callback()
  }
}

/** The machine's time. */
export class NodeClock implements Clock {
  monotonicMs(): number {
    return performance.now()
  }

  wallMs(): number {
    return Date.now()
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    return new NodeTimer(delayMs, callback)
  }

  soon(callback: () => void): void {
    setImmediate(callback)
  }
}
