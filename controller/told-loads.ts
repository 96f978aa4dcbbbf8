import type { CheckedLoads } from './request-checks.ts'

/** Nodes tell every 5 s. What was told longer ago counts no more: the node may be dead, and others serve. */
const freshMs = 15_000

/** Operations per second of each shard, over all nodes that have told of late. */
export interface ShardRates {
  /** By shard. */
  readonly reads: Float64Array
  readonly writes: Float64Array
}

/** What nodes tell of what they serve, as the controllers' leader hears it; in memory only. */
export class ToldLoads {
  readonly #told = new Map<string, CheckedLoads & { readonly atMs: number }>()

  /** This controller leads from now on. */
  begin(): void {
    this.#told.clear()
  }

  /** All that `node` serves. */
  note(node: string, loads: CheckedLoads, nowMs: number): void {
    this.#told.set(node, { ...loads, atMs: nowMs })
  }

  /** Whether what is known of `node` may be built upon. */
  isFresh(node: string, nowMs: number): boolean {
    return nowMs - (this.#told.get(node)?.atMs ?? Number.NEGATIVE_INFINITY) < freshMs
  }

  rates(shardCount: number, nowMs: number): ShardRates {
    const reads = new Float64Array(shardCount)
    const writes = new Float64Array(shardCount)
    for (const [node, told] of this.#told) {
      if (!this.isFresh(node, nowMs)) {
        this.#told.delete(node)
        continue
      }
      for (const [at, shard] of told.shards.entries()) {
        if (shard >= shardCount) continue
        reads[shard] = (reads[shard] ?? 0) + (told.reads[at] ?? 0)
        writes[shard] = (writes[shard] ?? 0) + (told.writes[at] ?? 0)
      }
    }
    return { reads, writes }
  }
}
