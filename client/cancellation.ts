import type { Operation } from './operation.ts'

interface Watched {
  readonly operations: Set<Operation>
  readonly stop: () => void
}

/** AbortSignals of calls under way: one listener for each signal, however many calls share it. */
export class Cancellation {
  readonly #watched = new Map<AbortSignal, Watched>()
  readonly #onAbort: (operation: Operation) => void

  constructor(onAbort: (operation: Operation) => void) {
    this.#onAbort = onAbort
  }

  /** Signals listened to. */
  get size(): number {
    return this.#watched.size
  }

  watch(operation: Operation, signal: AbortSignal): void {
    operation.signal = signal
    const known = this.#watched.get(signal)
    if (known !== undefined) {
      known.operations.add(operation)
      return
    }
    const operations = new Set([operation])
    const listener = () => {
      for (const aborted of [...operations]) this.#onAbort(aborted)
    }
    signal.addEventListener('abort', listener, { once: true })
    this.#watched.set(signal, { operations, stop: () => signal.removeEventListener('abort', listener) })
  }

  unwatch(operation: Operation): void {
    const signal = operation.signal
    if (signal === undefined) return
    operation.signal = undefined
    const watched = this.#watched.get(signal)
    if (watched === undefined) return
    watched.operations.delete(operation)
    if (watched.operations.size > 0) return
    watched.stop()
    this.#watched.delete(signal)
  }
}
