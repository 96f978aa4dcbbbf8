import type { MigrationRecord } from './migration-record.ts'

/** How long moves will take, about: for people who look at a plan. Pure. */

export interface PlannedCopy {
  /** Uids. */
  readonly from: string
  readonly to: string
  readonly bytes: number
}

/** What a migration takes whatever its size: its rounds through both logs, shared by the two that may run at once. */
const roundsMs = 500
/** Bytes per second into one group, where nothing has moved yet. */
const usualRate = 50_000_000
/** Smaller batches say more of the rounds than of the rate. */
const telling = { batches: 8, bytes: 4 * 1024 * 1024 }

/**
 * Milliseconds, by the group that has most to do: each sends and takes its share beside the others. `rate`: `copyRate`.
 */
export function estimatedMs(copies: readonly PlannedCopy[], rate: number): number {
  const loads = new Map<string, number>()
  for (const { from, to, bytes } of copies) {
    const ms = roundsMs + (bytes * 1000) / rate
    for (const end of [`from ${from}`, `to ${to}`]) loads.set(end, (loads.get(end) ?? 0) + ms)
  }
  return Math.round(Math.max(0, ...loads.values()))
}

/**
 * Bytes per second that the last moves brought into one group: the median over batches of what was planned together for one target. So what they waited for each other,
 * and the limits of the nodes, are in it.
 */
export function copyRate(records: Iterable<MigrationRecord>): number {
  const batches = new Map<string, { bytes: number; endMs: number; readonly startMs: number }>()
  for (const { phase, to, startedAtMs, endedAtMs, bytesTotal } of records) {
    if (phase !== 'done') continue
    const batch = batches.get(`${startedAtMs} ${to}`) ?? { bytes: 0, endMs: 0, startMs: startedAtMs }
    batch.bytes += bytesTotal
    batch.endMs = Math.max(batch.endMs, endedAtMs)
    batches.set(`${startedAtMs} ${to}`, batch)
  }
  const rates = [...batches.values()]
    .filter(({ bytes, startMs, endMs }) => bytes >= telling.bytes && endMs > startMs)
    .slice(-telling.batches)
    .map(({ bytes, startMs, endMs }) => (bytes * 1000) / (endMs - startMs))
    .sort((a, b) => a - b)
  return rates[Math.floor(rates.length / 2)] ?? usualRate
}
