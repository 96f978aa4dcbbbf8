import type { Clock } from '../base/clock.ts'
import type { Replica } from './replica.ts'

/**
 * Hands the office of a replica that leads to another voter, before its process ends: to one of those that `isReachable`, the one that has the
 * most of the log first. Resolves when this replica leads no more or nobody takes the office.
 */
export async function handOverReplica(replica: Replica<unknown>, isReachable: (replica: number) => boolean): Promise<void> {
  for (const target of replica.successors().filter(isReachable)) {
    if (replica.role !== 'leader') return
    await new Promise<void>((resolve) => replica.transferLeadership(target, () => resolve()))
  }
}

/** Resolves with all of `work`, at the latest after `timeoutMs`. */
export async function atMost(clock: Clock, timeoutMs: number, work: readonly Promise<unknown>[]): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const timer = clock.setTimer(timeoutMs, resolve)
    Promise.all(work).then(() => {
      timer.cancel()
      resolve()
    }, reject)
  })
}
