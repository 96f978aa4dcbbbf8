/** Time as a seam. Production: `base/node-clock.ts`; simulator: virtual time. All times are milliseconds. */

export interface Timer {
  /** Stops the timer; a no-op when it has fired or was stopped. */
  cancel(): void
}

export interface Clock {
  /** Never goes back; its zero means nothing. All timeouts and leases count on it. May be fractional. */
  monotonicMs(): number
  /** Milliseconds since 1970, for people and histories only: no decision may rest on it. */
  wallMs(): number
  /** Runs `callback` once after at least `delayMs`. Keeps the process alive until then: who waits only for it must not be ended as idle. */
  setTimer(delayMs: number, callback: () => void): Timer
  /**
   * Runs `callback` once after what is already waiting in this turn, sockets included: whatever a turn issues is collected and leaves as
   * one batch. Callbacks run in the order in which they were given.
   */
  soon(callback: () => void): void
}

/** Resolves after `delayMs`, or once `signal` is aborted. */
export function sleepUnless(clock: Clock, delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted) return Promise.resolve()
  return new Promise((resolve) => {
    const end = () => {
      timer.cancel()
      signal?.removeEventListener('abort', end)
      resolve()
    }
    const timer = clock.setTimer(delayMs, end)
    signal?.addEventListener('abort', end)
  })
}

/** Resolves after `delayMs`. */
export function sleep(clock: Pick<Clock, 'setTimer'>, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.setTimer(delayMs, resolve)
  })
}
