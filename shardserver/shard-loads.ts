import type { Clock } from '../base/clock.ts'
import { limits } from '../proto/limits.ts'

/** The weight of an operation in the mean halves in so long: short enough to show a change within a minute, long enough to hide single bursts. */
export const loadHalfLifeMs = 30_000
/** What was counted is put into the means at most so often: shorter spans say little. */
const foldEveryMs = 1000
/** Per second; below it a shard counts as idle. */
const idleRate = 0.01

export interface ShardLoad {
  readonly shard: number
  /** Per second. */
  readonly reads: number
  readonly writes: number
}

/**
 * How many operations per second this node serves of each shard, whichever group has it: exponentially weighted means. Where a shard goes to another
 * node, or its group gets another leader, the mean here falls as the one there rises, so that over all nodes the sum stays true.
 *
 * Counting is one addition to a typed array for each operation.
 */
export class ShardLoads {
  readonly #clock: Pick<Clock, 'monotonicMs'>
  /** By shard: counted since the last fold. */
  readonly #reads = new Uint32Array(limits.shardCountMax)
  readonly #writes = new Uint32Array(limits.shardCountMax)
  /** By shard: per second, as of the last fold. */
  readonly #readRates = new Float64Array(limits.shardCountMax)
  readonly #writeRates = new Float64Array(limits.shardCountMax)
  #foldedMs: number

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock
    this.#foldedMs = clock.monotonicMs()
  }

  /** A shard that no cluster can have counts nowhere. */
  countRead(shard: number): void {
    ;(this.#reads[shard] as number)++
  }

  countWrite(shard: number): void {
    ;(this.#writes[shard] as number)++
  }

  /** Per second. */
  readsOf(shard: number): number {
    this.#fold()
    return shown(this.#readRates[shard])
  }

  writesOf(shard: number): number {
    this.#fold()
    return shown(this.#writeRates[shard])
  }

  /** The shards that have some, ascending. */
  busy(): ShardLoad[] {
    this.#fold()
    const busy: ShardLoad[] = []
    for (let shard = 0; shard < limits.shardCountMax; shard++) {
      const reads = this.#readRates[shard] as number
      const writes = this.#writeRates[shard] as number
      if (reads + writes >= idleRate) busy.push({ shard, reads, writes })
    }
    return busy
  }

  /** The operations since the last fold came evenly, as far as the mean is concerned. */
  #fold(): void {
    const nowMs = this.#clock.monotonicMs()
    const spanMs = nowMs - this.#foldedMs
    if (spanMs < foldEveryMs) return
    this.#foldedMs = nowMs
    const kept = 2 ** (-spanMs / loadHalfLifeMs)
    fold(this.#readRates, this.#reads, kept, spanMs)
    fold(this.#writeRates, this.#writes, kept, spanMs)
  }
}

/** A mean never comes down to nothing by itself. */
function shown(rate = 0): number {
  return rate >= idleRate ? rate : 0
}

function fold(rates: Float64Array, counts: Uint32Array, kept: number, spanMs: number): void {
  const taken = ((1 - kept) * 1000) / spanMs
  for (let shard = 0; shard < rates.length; shard++) rates[shard] = (rates[shard] as number) * kept + (counts[shard] as number) * taken
  counts.fill(0)
}
