import type { pb } from '../proto/messages.ts'

/** When the controllers' leader moves shards by itself (docs/decisions/0037). Part of the replicated state. */
export interface BalanceRules {
  /** False: never. The rest is kept for the next time. */
  readonly on: boolean
  /** It evens out operations per second. */
  readonly byLoad: boolean
  /** It evens out bytes. */
  readonly bySize: boolean
  /** It begins where a group has so many times its share; above 1. */
  readonly above: number
  /** It ends where none has more than so many times its share; from 1 to below `above`. */
  readonly until: number
  /** How long a group must have been above before it begins. */
  readonly sustainMs: number
  /** How long a shard that has moved stays where it is. */
  readonly restMs: number
}

export const firstRules: BalanceRules = {
  on: false,
  byLoad: true,
  bySize: true,
  above: 1.3,
  until: 1.1,
  sustainMs: 120_000,
  restMs: 600_000,
}

const ratioMax = 100
const msMax = 7 * 24 * 3600 * 1000

/** What is zero of `wanted`, and its measures where it has none, stays as it is. */
export function rulesAfter(before: BalanceRules, wanted: BalanceRules): BalanceRules {
  const { byLoad, bySize } = wanted.byLoad || wanted.bySize ? wanted : before
  return {
    on: wanted.on,
    byLoad,
    bySize,
    above: wanted.above || before.above,
    until: wanted.until || before.until,
    sustainMs: wanted.sustainMs || before.sustainMs,
    restMs: wanted.restMs || before.restMs,
  }
}

/** Why nobody could keep these: they would never begin, or never end. undefined: they are fine. */
export function wrongRules({ byLoad, bySize, above, until, sustainMs, restMs }: BalanceRules): string | undefined {
  if (!byLoad && !bySize) return 'neither by load nor by size'
  if (!(above > 1 && above <= ratioMax)) return `above ${above}: more than 1 and at most ${ratioMax}`
  if (!(until >= 1 && until < above)) return `until ${until}: at least 1 and below the ${above} at which it begins`
  if (sustainMs > msMax || restMs > msMax) return `${Math.max(sustainMs, restMs) / 1000} s: at most a week`
  return undefined
}

export function encodeRules({ on, byLoad, bySize, above, until, sustainMs, restMs }: BalanceRules): pb.v1.AutoRebalanceRules.$Properties {
  return { on, byLoad, bySize, above, until, sustainMs, restMs }
}

/** Throws RangeError on what are no rules. */
export function decodeRules(message: pb.v1.AutoRebalanceRules.$Properties): BalanceRules {
  const rules = plainRules(message)
  const wrong = wrongRules(rules)
  if (wrong !== undefined) throw new RangeError(wrong)
  return rules
}

export function isSameRules(a: BalanceRules, b: BalanceRules): boolean {
  const { on, byLoad, bySize, above, until, sustainMs, restMs } = a
  const isSameBy = on === b.on && byLoad === b.byLoad && bySize === b.bySize
  return isSameBy && above === b.above && until === b.until && sustainMs === b.sustainMs && restMs === b.restMs
}

/** 'by load and size, above 1.3 for 120 s until 1.1, shards rest 600 s' */
export function rulesText({ byLoad, bySize, above, until, sustainMs, restMs }: BalanceRules): string {
  const by = [...(byLoad ? ['load'] : []), ...(bySize ? ['size'] : [])].join(' and ')
  return `by ${by}, above ${above} for ${sustainMs / 1000} s until ${until}, shards rest ${restMs / 1000} s`
}

/** As they were sent, whatever they say. */
export function plainRules(message: pb.v1.AutoRebalanceRules.$Properties): BalanceRules {
  return {
    on: message.on ?? false,
    byLoad: message.byLoad ?? false,
    bySize: message.bySize ?? false,
    above: message.above ?? 0,
    until: message.until ?? 0,
    sustainMs: message.sustainMs ?? 0,
    restMs: message.restMs ?? 0,
  }
}
