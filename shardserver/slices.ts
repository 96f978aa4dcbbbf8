import type { Clock } from '../base/clock.ts'
import type { Pause } from './reads.ts'

/** How long one turn applies, scans, digests, loads or writes down, ms. */
export const sliceMs = 2

export function nextTurn(clock: Pick<Clock, 'soon'>): Promise<void> {
  return new Promise((resolve) => clock.soon(resolve))
}

/** To be asked between two pieces of work: the next turn, where this one's slice is over. */
export function pauserOf(clock: Pick<Clock, 'soon' | 'monotonicMs'>): Pause {
  let untilMs = clock.monotonicMs() + sliceMs
  return () => {
    if (clock.monotonicMs() < untilMs) return undefined
    return nextTurn(clock).then(() => {
      untilMs = clock.monotonicMs() + sliceMs
    })
  }
}
