import type { Slices } from './slices.ts'

/**
 * How many shards each group is to own. Pure.
 *
 * A group's share is shardCount × weight / sum of weights; its quota is the share rounded down or up, so that quotas add up to the shard
 * count. Which groups are rounded up: first those that would otherwise have to give up a shard that they own, then those that must receive
 * anyway, then the rest; within each by largest remainder, then by name. With no shard owned yet that is largest remainder plainly. Plain
 * largest remainder throughout would move shards between two old groups when a third joins (Balinski and Young: a rule without memory that
 * stays within floor and ceiling cannot be monotone); this one moves as few shards as floors and ceilings allow.
 *
 * Pins come first: a group with more pins than its quota keeps them, and the rest is shared among the others.
 */

export interface Load {
  readonly name: string
  /** Above 0. */
  readonly weight: number
  /** How many shards it owns. */
  readonly owned: number
  /** How many shards are pinned to it. */
  readonly pinned: number
}

/** Remainders closer than this are equal: shares are sums of rounded numbers. */
const remainderGrain = 1e-9

/** For each group its quota, in the order given. */
export function* quotas(shardCount: number, loads: readonly Load[]): Slices<number[]> {
  const result = loads.map(() => 0)
  let open = loads.map((_, at) => at)
  let left = shardCount
  for (;;) {
    deal(left, open, loads, result)
    const isCrowded = (at: number) => (loads[at]?.pinned ?? 0) > (result[at] ?? 0)
    const crowded = open.filter(isCrowded)
    if (crowded.length === 0) return result
    open = open.filter((at) => !isCrowded(at))
    for (const at of crowded) {
      result[at] = loads[at]?.pinned ?? 0
      left -= result[at] ?? 0
    }
    yield loads.length
  }
}

/** The exact share of each group, not rounded. */
export function shares(shardCount: number, weights: readonly number[]): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  return weights.map((weight) => (shardCount * weight) / total)
}

/** The largest relative distance of a group from its share; 0 without groups. */
export function imbalance(shardCount: number, loads: readonly { readonly weight: number; readonly owned: number }[]): number {
  const exact = shares(
    shardCount,
    loads.map((load) => load.weight),
  )
  return loads.reduce((worst, load, at) => Math.max(worst, Math.abs(load.owned - (exact[at] ?? 0)) / (exact[at] ?? 1)), 0)
}

interface Rounding {
  readonly at: number
  readonly name: string
  readonly remainder: number
  /** 0: owns more than its floor; 1: owns less; 2: owns its floor. */
  readonly rank: number
}

function deal(shardCount: number, open: readonly number[], loads: readonly Load[], result: number[]): void {
  const exact = shares(
    shardCount,
    open.map((at) => loads[at]?.weight ?? 0),
  )
  let left = shardCount
  const roundings: Rounding[] = open.map((at, i) => {
    const share = exact[i] ?? 0
    const floor = Math.floor(share + remainderGrain)
    const owned = loads[at]?.owned ?? 0
    result[at] = floor
    left -= floor
    const remainder = Math.max(0, Math.round((share - floor) / remainderGrain))
    return { at, name: loads[at]?.name ?? '', remainder, rank: owned > floor ? 0 : owned < floor || owned === 0 ? 1 : 2 }
  })
  // A whole share is its own floor and ceiling.
  const rounded = roundings.filter((one) => one.remainder > 0).sort(byClaim)
  for (const { at } of rounded.slice(0, left)) result[at] = (result[at] ?? 0) + 1
}

function byClaim(a: Rounding, b: Rounding): number {
  return a.rank - b.rank || b.remainder - a.remainder || (a.name < b.name ? -1 : 1)
}
