import type { BalanceRules } from './balance-rules.ts'
import { type Measure, measures, type ShardTable, totalsOf } from './balance-totals.ts'

/**
 * The hysteresis of one measure: begins where a group has been far above its share for a while, goes on until none is much above it, or nothing is left
 * that would help, and rests otherwise. Pure.
 */
export interface Episode {
  /** Steps are being taken. */
  readonly active: boolean
  /** Since when it has been uneven enough to begin, without a break; undefined: it is not. By a monotonic clock. */
  readonly sinceMs: number | undefined
}

export const noEpisode: Episode = { active: false, sinceMs: undefined }

/** What there is of unevenness. */
export interface Unevenness {
  /** Who has most beside its share; '': there is nothing. */
  readonly group: string
  /** How many times its share. */
  readonly ratio: number
  /** It is more than would be worth a step, however it lies. */
  readonly isMuch: boolean
}

export function unevenness(table: ShardTable, rules: BalanceRules, measure: Measure): Unevenness {
  const totals = totalsOf(table, measure)
  const worst = totals.worst
  if (worst === undefined) return { group: '', ratio: 1, isMuch: false }
  const above = totals.of(worst) - totals.share(worst)
  return { group: table.groups[worst]?.name ?? '', ratio: totals.ratio(worst), isMuch: above >= measures[measure].leastGain(rules) }
}

/** The episode goes on with what is seen now. */
export function nextEpisode(before: Episode, { ratio, isMuch }: Unevenness, rules: BalanceRules, nowMs: number): Episode {
  if (!isMuch || ratio <= rules.until) return noEpisode
  if (before.active) return before
  if (ratio < rules.above) return noEpisode
  const sinceMs = before.sinceMs ?? nowMs
  return nowMs - sinceMs >= rules.sustainMs ? { active: true, sinceMs: undefined } : { active: false, sinceMs }
}
