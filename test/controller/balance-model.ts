/** A cluster on paper whose shards serve and hold something, and are moved as the controllers' leader would move them. */
import { must } from '../../base/assert.ts'
import { type Episode, nextEpisode, noEpisode, unevenness } from '../../controller/balance-episode.ts'
import { type BalanceRules, firstRules } from '../../controller/balance-rules.ts'
import { type BalanceStep, findStep } from '../../controller/balance-step.ts'
import type { Measure, ShardTable } from '../../controller/balance-totals.ts'
import { toEnd } from '../../controller/slices.ts'

const everyMs = 5000
const pauseMs = 30_000
/** Of what nodes tell: the weight halves every 30 s. */
const kept = 2 ** (-everyMs / 30_000)

export interface ModelMove {
  readonly shard: number
  readonly atMs: number
  readonly from: number
  readonly to: number
}

export interface ModelOptions {
  readonly weights: readonly number[]
  /** Position of the group by shard. */
  readonly owners: readonly number[]
  /** Operations per second by shard. */
  readonly load: readonly number[]
  readonly size?: readonly number[]
  readonly pinned?: readonly number[]
  readonly rules?: Partial<BalanceRules>
  /** What a shard serves in 5 s is its load times 1 plus or minus this. */
  readonly noise?: () => number
}

export class BalanceModel {
  readonly rules: BalanceRules
  readonly owners: Int32Array
  /** As they are; may be changed. */
  readonly load: number[]
  readonly size: number[]
  readonly moves: ModelMove[] = []
  readonly steps: BalanceStep[] = []
  nowMs = 0
  readonly #groups: ShardTable['groups']
  readonly #told: Float64Array
  readonly #pinned: ReadonlySet<number>
  readonly #noise: () => number
  readonly #movedAt = new Map<number, number>()
  readonly #episodes: Record<Measure, Episode> = { load: noEpisode, size: noEpisode }
  #endedMs = Number.NEGATIVE_INFINITY

  constructor({ weights, owners, load, size, pinned = [], rules = {}, noise = () => 0 }: ModelOptions) {
    this.rules = { ...firstRules, on: true, ...rules }
    this.#groups = weights.map((weight, at) => ({ name: `g${at + 1}`, weight }))
    this.owners = Int32Array.from(owners)
    this.load = [...load]
    this.size = [...(size ?? owners.map(() => 0))]
    this.#pinned = new Set(pinned)
    this.#noise = noise
    this.#told = Float64Array.from(load)
  }

  /** As it is, with nobody resting. */
  get table(): ShardTable {
    return this.#tableOf(Float64Array.from(this.load), () => false)
  }

  /** How many times its share the group has that has most; 1 where it is too little to be evened out. */
  worst(measure: Measure): number {
    const { ratio, isMuch } = unevenness(this.table, this.rules, measure)
    return isMuch ? ratio : 1
  }

  counts(): number[] {
    const counts = this.#groups.map(() => 0)
    for (const owner of this.owners) counts[owner] = (counts[owner] ?? 0) + 1
    return counts
  }

  run(forMs: number): void {
    for (const end = this.nowMs + forMs; this.nowMs < end; this.nowMs += everyMs) this.#look()
  }

  #look(): void {
    for (let shard = 0; shard < this.load.length; shard++) {
      const load = this.load[shard] ?? 0
      this.#told[shard] = (this.#told[shard] ?? 0) * kept + load * Math.max(0, 1 + this.#noise()) * (1 - kept)
    }
    const { restMs } = this.rules
    const table = this.#tableOf(this.#told, (shard) => this.nowMs - (this.#movedAt.get(shard) ?? Number.NEGATIVE_INFINITY) < restMs)
    for (const measure of ['load', 'size'] as const) {
      this.#episodes[measure] = nextEpisode(this.#episodes[measure], unevenness(table, this.rules, measure), this.rules, this.nowMs)
    }
    if (this.nowMs - this.#endedMs < pauseMs) return
    for (const measure of ['load', 'size'] as const) {
      if (!this.#episodes[measure].active) continue
      const step = toEnd(findStep(table, this.rules, measure))
      if (step !== undefined) {
        this.#take(step)
        return
      }
      this.#episodes[measure] = noEpisode
    }
  }

  #take(step: BalanceStep): void {
    this.steps.push(step)
    const move = (shard: number, from: number, to: number) => {
      if (this.owners[shard] !== from) throw new Error(`shard ${shard} is not at ${from}`)
      this.owners[shard] = to
      this.#movedAt.set(shard, this.nowMs)
      this.moves.push({ shard, atMs: this.nowMs, from, to })
    }
    for (const shard of step.out) move(shard, step.source, step.target)
    for (const shard of step.back) move(shard, step.target, step.source)
    this.#endedMs = this.nowMs
  }

  #tableOf(load: Float64Array, isResting: (shard: number) => boolean): ShardTable {
    const counts = this.counts()
    const pins = this.#groups.map(() => 0)
    for (const shard of this.#pinned) {
      const owner = must(this.owners[shard], 'an owner')
      pins[owner] = (pins[owner] ?? 0) + 1
    }
    // Hours of looks are played: no iterator or closure a shard.
    const held = new Uint8Array(this.owners.length)
    for (let shard = 0; shard < held.length; shard++) if (this.#pinned.has(shard) || isResting(shard)) held[shard] = 1
    return { groups: this.#groups, owners: this.owners, load, size: new Float64Array(this.size), held, counts, pins }
  }
}
