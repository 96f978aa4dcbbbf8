import type { Clock } from '../base/clock.ts'

/**
 * Long computations, a slice at a time: between two slices the controllers' leader sends its heartbeats and answers calls. A computation is a
 * generator that may be interrupted wherever it yields; it yields how many steps of work it has done since it did so last, seldom more than
 * `quantum`. A step is about a shard looked at, or a tenth of a microsecond to a whole one.
 */
export type Slices<T> = Generator<number, T, undefined>

/** Steps between two yields: less than a millisecond. */
export const quantum = 1024

/** How long the computation may keep the event loop. */
const sliceMs = 5

/** Counts the steps of a computation: `if (work.add(1)) yield work.take()`. */
export class Work {
  #steps = 0

  /** Whether it is time to yield. */
  add(steps: number): boolean {
    this.#steps += steps
    return this.#steps >= quantum
  }

  /** The steps since the last `take`. */
  take(): number {
    const steps = this.#steps
    this.#steps = 0
    return steps
  }
}

/** Runs the computation in one go. */
export function toEnd<T>(slices: Slices<T>): T {
  for (;;) {
    const next = slices.next()
    if (next.done) return next.value
  }
}

/** Runs the computation in slices of 5 ms. Resolves with undefined if `mayGoOn` was false before one of them: what it builds on has changed. */
export async function inSlices<T>(
  slices: Slices<T>,
  clock: Pick<Clock, 'monotonicMs' | 'soon'>,
  mayGoOn: () => boolean,
): Promise<T | undefined> {
  for (;;) {
    const untilMs = clock.monotonicMs() + sliceMs
    do {
      const next = slices.next()
      if (next.done) return next.value
    } while (clock.monotonicMs() < untilMs)
    await new Promise<void>((resolve) => clock.soon(resolve))
    if (!mayGoOn()) return undefined
  }
}
