import { OstrakaError } from '../proto/errors.ts'

/** So many of a process's replicas fetch snapshots at one time; the others wait for their turn, in the order in which they came. */
export class FetchSlots {
  readonly #most: number
  #taken = 0
  readonly #waiting: (() => void)[] = []

  constructor(most: number) {
    this.#most = most
  }

  /** Fetches that run. */
  get taken(): number {
    return this.#taken
  }

  /** Does `fetch` in its turn. Rejects with CANCELLED where `signal` is aborted before it. */
  async run<T>(signal: AbortSignal, fetch: () => Promise<T>): Promise<T> {
    if (signal.aborted) throw cancelled()
    if (this.#taken < this.#most) this.#taken++
    else await this.#turn(signal)
    try {
      return await fetch()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#taken--
      else next()
    }
  }

  /** Resolves with the slot of one that has ended. Rejects once `signal` is aborted. */
  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const mine = () => {
        signal.removeEventListener('abort', leave)
        resolve()
      }
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(mine), 1)
        reject(cancelled())
      }
      this.#waiting.push(mine)
      signal.addEventListener('abort', leave, { once: true })
    })
  }
}

function cancelled(): OstrakaError {
  return new OstrakaError('CANCELLED', 'the fetch was cancelled', true)
}
