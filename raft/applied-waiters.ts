import type { Clock } from '../base/clock.ts'
import { OstrakaError } from '../proto/errors.ts'

interface Waiter {
  readonly index: number
  end(error?: OstrakaError): void
}

/** Those who wait until an index is applied at one replica. */
export class AppliedWaiters {
  readonly #group: string
  readonly #waiters = new Set<Waiter>()
  #applied: number
  #stopped = false

  constructor(group: string, applied: number) {
    this.#group = group
    this.#applied = applied
  }

  /** Resolves once `index` is applied. Rejects with OstrakaError: DEADLINE after `timeoutMs`, UNAVAILABLE when the replica stops. */
  wait(index: number, clock: Clock, timeoutMs: number): Promise<void> {
    if (this.#applied >= index) return Promise.resolve()
    if (this.#stopped) return Promise.reject(stopped(this.#group))
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        index,
        end: (error) => {
          timer.cancel()
          this.#waiters.delete(waiter)
          if (error === undefined) resolve()
          else reject(error)
        },
      }
      const timer = clock.setTimer(timeoutMs, () => {
        const text = `index ${index} of ${this.#group} was not applied within ${timeoutMs} ms, only ${this.#applied}`
        waiter.end(new OstrakaError('DEADLINE', text, true))
      })
      this.#waiters.add(waiter)
    })
  }

  appliedTo(index: number): void {
    this.#applied = index
    for (const waiter of this.#waiters) if (waiter.index <= index) waiter.end()
  }

  stop(): void {
    this.#stopped = true
    for (const waiter of this.#waiters) waiter.end(stopped(this.#group))
  }
}

function stopped(group: string): OstrakaError {
  return new OstrakaError('UNAVAILABLE', `the replica of ${group} has stopped`, true)
}
