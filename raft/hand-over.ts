import type { Clock } from '../base/clock.ts'
import type { Replica } from './replica.ts'

/**
 * A process that was started less than so long ago has hardly run what a leader runs, and compiles it while writes wait (docs/decisions/0023).
 * Processes that have run for longer are alike.
 */
const warmMs = 60_000
/** A follower that has less than this on its way to it has the log a moment later. */
const nearBytes = 64 * 1024

/**
 * Hands the office of a replica that leads to another voter, before its process ends: to one of the `heirs`, in their order. Resolves when this
 * replica leads no more or nobody takes the office. `connectedMs`: for how long a replica's node has been connected; undefined: it is not.
 */
export async function handOverReplica(replica: Replica<unknown>, connectedMs: (replica: number) => number | undefined): Promise<void> {
  for (const target of heirs(replica, connectedMs)) {
    if (replica.role !== 'leader') return
    await new Promise<void>((resolve) => replica.transferLeadership(target, () => resolve()))
  }
}

/** The voters that can be reached: those near the log's end whose processes have run for long first, of the others the one with the most of the log. */
export function heirs(
  replica: Pick<Replica<unknown>, 'successors' | 'progress'>,
  connectedMs: (replica: number) => number | undefined,
): readonly number[] {
  const warmth = new Map<number, number>()
  for (const { replica: peer, active, state, inflightBytes } of replica.progress()) {
    const isNear = active && state === 'replicate' && inflightBytes < nearBytes
    warmth.set(peer, isNear ? Math.min(connectedMs(peer) ?? 0, warmMs) : 0)
  }
  return replica
    .successors()
    .filter((peer) => connectedMs(peer) !== undefined)
    .sort((a, b) => (warmth.get(b) ?? 0) - (warmth.get(a) ?? 0))
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
