import { must } from '../base/assert.ts'
import type { BalanceRules } from './balance-rules.ts'
import { type Measure, measures, type ShardTable, type Totals, totalsOf } from './balance-totals.ts'
import { quotas } from './quotas.ts'
import { type Slices, Work } from './slices.ts'

/**
 * Which shards to move next so that no group has much more than its share of the load, or of the bytes. Pure.
 *
 * A step takes shards from a group that has too much to one that has too little, the furthest from their shares first, and as many lighter ones back:
 * how many shards a group has is for placement to say, and a rebalance, a join or a leave after the step moves no more shards than before it. Only
 * where that is so anyway one shard goes without another in return.
 *
 * What a step gains is its relief: by how much it lowers what the two groups have above their shares. That falls with each step by a least amount, so there
 * can be only so many while loads stay as they are.
 */
export interface BalanceStep {
  readonly measure: Measure
  /** Positions in the table's groups: who has too much, and who takes of it. */
  readonly source: number
  readonly target: number
  /** From the source to the target. */
  readonly out: readonly number[]
  /** In return. */
  readonly back: readonly number[]
  /** How many times its share the source has. */
  readonly ratioBefore: number
  readonly ratioAfter: number
}

/** As many as move together. */
const shardsMax = 64
const bytesMax = 256 * 1024 * 1024
/** Of the groups that have most, and of those that have least, so many are looked at. */
const groupsMax = 16
/** Of a group's share: less is noise. */
const reliefMin = 0.05
/** Of what goes: what carries much to and fro for a little is not worth it. */
const reliefOfGain = 0.5

/** The next step by this measure; undefined: there is none that is worth its cost. */
export function* findStep(table: ShardTable, rules: BalanceRules, measure: Measure): Slices<BalanceStep | undefined> {
  const totals = totalsOf(table, measure)
  const work = new Work()
  work.add(table.owners.length)
  yield work.take()
  const ranked = totals.ranked
  const [worst] = ranked
  // Where the worst cannot be helped the others are no reason to begin.
  const sources = ranked.filter((at) => totals.ratio(at) > (at === worst ? rules.until : rules.above)).slice(0, groupsMax)
  const targets = ranked
    .filter((at) => totals.ratio(at) < 1)
    .reverse()
    .slice(0, groupsMax)
  if (sources.length === 0 || targets.length === 0) return undefined
  const search = new Search(table, rules, measure, totals)
  for (const source of sources) {
    for (const target of targets) {
      const mayShift = yield* search.mayShift(source, target)
      const step = search.between(source, target, mayShift)
      if (step !== undefined) return step
      yield search.looked
    }
  }
  return undefined
}

/** A shard that goes, and the one that comes for it; undefined: none. */
interface Exchange {
  readonly out: number
  readonly back: number | undefined
  /** What the source is rid of. */
  readonly gain: number
}

class Search {
  readonly #table: ShardTable
  readonly #rules: BalanceRules
  readonly #measure: Measure
  readonly #totals: Totals
  /** Of the other measure, where it is to be even, too. */
  readonly #other: Totals | undefined
  readonly #movable = new Map<number, readonly number[]>()
  #surplusNow: number | undefined
  /** Shards looked at by the last `between`. */
  looked = 0

  constructor(table: ShardTable, rules: BalanceRules, measure: Measure, totals: Totals) {
    this.#table = table
    this.#rules = rules
    this.#measure = measure
    this.#totals = totals
    const other = measure === 'load' ? 'size' : 'load'
    const counts = other === 'size' ? rules.bySize : rules.byLoad
    this.#other = counts ? totalsOf(table, other) : undefined
  }

  /** Whether one shard more at the target and one less at the source leaves no more for a rebalance to do. */
  *mayShift(source: number, target: number): Slices<boolean> {
    this.#surplusNow ??= yield* this.#surplus([])
    return (yield* this.#surplus([source, target])) <= this.#surplusNow
  }

  /** How many shards a rebalance would move, one shard having gone from the first group of `shift` to the second. */
  *#surplus([from, to]: readonly number[]): Slices<number> {
    const { groups, counts, pins, owners } = this.#table
    const loads = groups.map(({ name, weight }, at) => {
      const owned = (counts[at] ?? 0) + (at === to ? 1 : 0) - (at === from ? 1 : 0)
      return { name, weight, owned, pinned: pins[at] ?? 0 }
    })
    const wanted = yield* quotas(owners.length, loads)
    return loads.reduce((sum, { owned }, at) => sum + Math.max(0, owned - (wanted[at] ?? 0)), 0)
  }

  between(source: number, target: number, mayShift: boolean): BalanceStep | undefined {
    const out = this.#shardsOf(source)
    const back = [...this.#shardsOf(target)].sort((a, b) => this.#valueOf(a) - this.#valueOf(b) || this.#bytes(a) - this.#bytes(b) || a - b)
    this.looked = out.length + back.length
    const many = this.#many(source, target, out, back, mayShift)
    const one = this.#one(source, target, out, back, mayShift)
    const best = this.#relief(source, target, one) > this.#relief(source, target, many) ? one : many
    return this.#isWorth(source, target, best) ? this.#step(source, target, best) : undefined
  }

  /** Those that may move, the heaviest first, of alike ones the smallest. */
  #shardsOf(group: number): readonly number[] {
    let shards = this.#movable.get(group)
    if (shards === undefined) {
      const { owners, held } = this.#table
      const found: number[] = []
      for (const [shard, owner] of owners.entries()) if (owner === group && held[shard] === 0) found.push(shard)
      shards = found.sort((a, b) => this.#valueOf(b) - this.#valueOf(a) || this.#bytes(a) - this.#bytes(b) || a - b)
      this.#movable.set(group, shards)
    }
    return shards
  }

  #valueOf(shard: number | undefined): number {
    return shard === undefined ? 0 : (this.#table[this.#measure][shard] ?? 0)
  }

  #bytes(shard: number): number {
    return this.#table.size[shard] ?? 0
  }

  /** Greedily the heaviest that still fit into what is to go, each for the lightest that is left. `back`: the lightest first. */
  #many(source: number, target: number, out: readonly number[], back: readonly number[], mayShift: boolean): Exchange[] {
    const chosen: Exchange[] = []
    let left = Math.min(this.#above(source), -this.#above(target))
    let isShifted = !mayShift
    let next = 0
    for (const shard of out) {
      if (chosen.length >= shardsMax || (isShifted && next >= back.length)) break
      const partner = isShifted ? back[next] : undefined
      const gain = this.#valueOf(shard) - this.#valueOf(partner)
      // The rest is lighter still.
      if (gain <= 0) break
      const exchange = { out: shard, back: partner, gain }
      if (gain > left || !this.#pays([exchange]) || !this.#fits(source, target, [...chosen, exchange])) continue
      chosen.push(exchange)
      left -= gain
      if (isShifted) next++
      else isShifted = true
    }
    return chosen
  }

  /** The one exchange with the largest relief, though it be of two heavy shards. */
  #one(source: number, target: number, out: readonly number[], back: readonly number[], mayShift: boolean): Exchange[] {
    const wanted = Math.min(this.#above(source), -this.#above(target))
    let best: Exchange[] = []
    let most = 0
    for (const shard of out) {
      // The partner with which just no more goes than should, and the one before it.
      const at = firstAtLeast(back, (other) => this.#valueOf(other), this.#valueOf(shard) - wanted)
      for (const partner of [back[at], back[at - 1], ...(mayShift ? [undefined] : [])]) {
        if (partner === undefined && !mayShift) continue
        const exchange = { out: shard, back: partner, gain: this.#valueOf(shard) - this.#valueOf(partner) }
        const relief = this.#relief(source, target, [exchange])
        if (relief <= most || !this.#pays([exchange]) || !this.#fits(source, target, [exchange])) continue
        best = [exchange]
        most = relief
      }
    }
    return best
  }

  /** What the group has above its share; negative: below. */
  #above(group: number): number {
    return this.#totals.of(group) - this.#totals.share(group)
  }

  #relief(source: number, target: number, exchanges: readonly Exchange[]): number {
    const gain = gainOf(exchanges)
    return Math.min(gain, this.#above(source)) - Math.max(0, gain + this.#above(target))
  }

  /** What moves is worth what it relieves, before what a step costs however small. */
  #pays(exchanges: readonly Exchange[]): boolean {
    return exchanges.every((exchange) => {
      const shards = exchange.back === undefined ? 1 : 2
      return exchange.gain >= measures[this.#measure].costOf(shards, this.#bytesOf([exchange]), this.#rules)
    })
  }

  #isWorth(source: number, target: number, exchanges: readonly Exchange[]): boolean {
    const { leastGain, costOf } = measures[this.#measure]
    const shards = exchanges.reduce((sum, { back }) => sum + (back === undefined ? 1 : 2), 0)
    const relief = this.#relief(source, target, exchanges)
    if (relief < reliefOfGain * gainOf(exchanges)) return false
    const least = reliefMin * Math.min(this.#totals.share(source), this.#totals.share(target))
    return relief >= least && relief >= leastGain(this.#rules) + costOf(shards, this.#bytesOf(exchanges), this.#rules)
  }

  #bytesOf(exchanges: readonly Exchange[]): number {
    const bytes = (shard: number) => this.#bytes(shard)
    return sumOf(exchanges, bytes, 'out') + sumOf(exchanges, bytes, 'back')
  }

  /** They may move together, and the other measure does not become so uneven by it that it would be evened out in its turn. */
  #fits(source: number, target: number, exchanges: readonly Exchange[]): boolean {
    const size = (shard: number) => this.#bytes(shard)
    const isAlone = exchanges.length === 1
    if (!isAlone && Math.max(sumOf(exchanges, size, 'out'), sumOf(exchanges, size, 'back')) > bytesMax) return false
    const other = this.#other
    if (other === undefined) return true
    const measure = this.#measure === 'load' ? 'size' : 'load'
    const value = (shard: number) => this.#table[measure][shard] ?? 0
    const gone = sumOf(exchanges, value, 'out') - sumOf(exchanges, value, 'back')
    const mayHave = (group: number, added: number) => {
      const after = other.of(group) + added
      const isLittle = after - other.share(group) < measures[measure].leastGain(this.#rules)
      return isLittle || after / other.share(group) <= Math.max(this.#rules.until, other.ratio(group))
    }
    return mayHave(target, gone) && mayHave(source, -gone)
  }

  #step(source: number, target: number, exchanges: readonly Exchange[]): BalanceStep {
    const gain = gainOf(exchanges)
    return {
      measure: this.#measure,
      source,
      target,
      out: exchanges.map(({ out }) => out),
      back: exchanges.flatMap(({ back }) => (back === undefined ? [] : [back])),
      ratioBefore: this.#totals.ratio(source),
      ratioAfter: (this.#totals.of(source) - gain) / this.#totals.share(source),
    }
  }
}

function gainOf(exchanges: readonly Exchange[]): number {
  return exchanges.reduce((sum, { gain }) => sum + gain, 0)
}

function sumOf(exchanges: readonly Exchange[], value: (shard: number) => number, way: 'out' | 'back'): number {
  return exchanges.reduce((sum, exchange) => {
    const shard = exchange[way]
    return shard === undefined ? sum : sum + value(shard)
  }, 0)
}

/** Position of the first whose value is at least `least`; the length: none. `values` ascending. */
function firstAtLeast(items: readonly number[], value: (item: number) => number, least: number): number {
  let low = 0
  let high = items.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (value(must(items[middle], 'between the ends')) < least) low = middle + 1
    else high = middle
  }
  return low
}
