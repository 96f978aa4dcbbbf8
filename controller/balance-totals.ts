import type { BalanceRules } from './balance-rules.ts'

/** Who has how much of what is to be even. Pure. */

/** Operations per second, or bytes. */
export type Measure = 'load' | 'size'

/** What is known of all shards. Groups are positions in `groups`. */
export interface ShardTable {
  /** Those that take shards. */
  readonly groups: readonly { readonly name: string; readonly weight: number }[]
  /** By shard: its owner. */
  readonly owners: Int32Array
  /** By shard: operations per second. */
  readonly load: Float64Array
  /** By shard: bytes. */
  readonly size: Float64Array
  /** By shard: 1 where it is to stay where it is. */
  readonly held: Uint8Array
  /** By group: how many shards it has, and how many of them are pinned. */
  readonly counts: readonly number[]
  readonly pins: readonly number[]
}

interface MeasureRules {
  /** What a step has to gain at least, however little it moves. */
  leastGain(rules: BalanceRules): number
  /** What moving costs, in what it has to gain. */
  costOf(shards: number, bytes: number, rules: BalanceRules): number
}

/** Of a migration, whatever it moves: entries in three logs, config numbers for every client, a pause. In operations. */
const operationsOfStep = 10_000
/** Of each shard: a config number. */
const operationsOfShard = 200
/** What is copied takes of processor, disk and network as much as one operation for each so many bytes. */
const bytesOfOperation = 4096
const leastBytes = 64 * 1024 * 1024
/** Half of the bytes that move must go for good. */
const bytesGone = 0.5

/**
 * A shard stays for its time of rest at least, so what it takes off its group in that time is what the move is worth. Copying bytes to even out bytes
 * is worth it where at least half as many are evened out.
 */
export const measures: Readonly<Record<Measure, MeasureRules>> = {
  load: {
    leastGain: ({ restMs }) => (operationsOfStep * 1000) / restMs,
    costOf: (shards, bytes, { restMs }) => ((operationsOfShard * shards + bytes / bytesOfOperation) * 1000) / restMs,
  },
  size: {
    leastGain: () => leastBytes,
    costOf: (_, bytes) => bytesGone * bytes,
  },
}

/** Who has how much by one measure. */
export class Totals {
  /** Of all. */
  readonly sum: number
  readonly #ofGroups: Float64Array
  readonly #shares: readonly number[]
  readonly #names: readonly string[]

  constructor({ groups }: ShardTable, ofGroups: Float64Array) {
    this.#ofGroups = ofGroups
    this.sum = ofGroups.reduce((sum, value) => sum + value, 0)
    const weights = groups.reduce((sum, { weight }) => sum + weight, 0)
    this.#shares = groups.map(({ weight }) => (this.sum * weight) / weights)
    this.#names = groups.map(({ name }) => name)
  }

  of(group: number): number {
    return this.#ofGroups[group] ?? 0
  }

  /** By weight. */
  share(group: number): number {
    return this.#shares[group] ?? 0
  }

  /** How many times its share the group has; 1 where there is nothing at all. */
  ratio(group: number): number {
    return this.sum > 0 ? this.of(group) / this.share(group) : 1
  }

  /** The groups, who has most beside its share first. */
  get ranked(): number[] {
    const name = (group: number) => this.#names[group] ?? ''
    return [...this.#shares.keys()].sort((a, b) => this.ratio(b) - this.ratio(a) || (name(a) < name(b) ? -1 : 1))
  }

  /** Who has most beside its share; undefined: there are no groups, or there is nothing. */
  get worst(): number | undefined {
    return this.sum > 0 ? this.ranked[0] : undefined
  }
}

export function totalsOf(table: ShardTable, measure: Measure): Totals {
  const ofGroups = new Float64Array(table.groups.length)
  const values = table[measure]
  for (const [shard, owner] of table.owners.entries()) ofGroups[owner] = (ofGroups[owner] ?? 0) + (values[shard] ?? 0)
  return new Totals(table, ofGroups)
}
