import { deltaBytes, type StoredDelta } from './delta.ts'
import { countUpTo } from './delta-fit.ts'

/** What is held of one group's deltas at the most, bytes. */
const heldBytesMax = 16 * 1024 * 1024
/** About what a record takes in memory beside its writes. */
const recordBytes = 256

export interface KeptDelta extends StoredDelta {
  /** Of the source's log. */
  readonly index: number
}

interface Tail {
  /** All of the shard's records behind this index are in `records`. */
  behind: number
  /** Oldest first. */
  readonly records: KeptDelta[]
}

/**
 * The newest of what the exporting shards of one group keep in the store, in memory as well: a target that follows closely is answered in the turn in which it
 * asks. Read from tables, a piece of the delta takes half a dozen reads of files one after the other, 50 to 150 ms on a busy machine. Nothing rests on it: what
 * is not here is read from the store.
 */
export class DeltaTail {
  readonly #bytesMax: number
  readonly #tails = new Map<number, Tail>()
  /** The shards of the records, by age of these; some are gone already. */
  #order: number[] = []
  #bytes = 0

  constructor(bytesMax = heldBytesMax) {
    this.#bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  /** The newest record of `shard`, exported behind index `cut`, which keeps no other between the last one added and this. */
  add(shard: number, kept: KeptDelta, cut: number): void {
    let tail = this.#tails.get(shard)
    if (tail === undefined) {
      tail = { behind: kept.count === 1 ? cut : kept.index - 1, records: [] }
      this.#tails.set(shard, tail)
    }
    tail.records.push(kept)
    this.#order.push(shard)
    this.#bytes += bytesOf(kept)
    let gone = 0
    while (this.#bytes > this.#bytesMax && gone < this.#order.length) this.#forgetOldest(this.#order[gone++] as number)
    if (gone > 0) this.#order = this.#order.slice(gone)
  }

  /** All records of `shard` behind index `after`, oldest first; undefined: some may be in the store alone. */
  since(shard: number, after: number): readonly KeptDelta[] | undefined {
    const tail = this.#tails.get(shard)
    if (tail === undefined || after < tail.behind) return undefined
    return tail.records.slice(countUpTo(tail.records, after))
  }

  /** The newest record of `shard` up to index `upTo`; undefined: it may be in the store alone. */
  last(shard: number, upTo: number): KeptDelta | undefined {
    const records = this.#tails.get(shard)?.records ?? []
    return records[countUpTo(records, upTo) - 1]
  }

  /** The shard keeps none any more, or begins anew. */
  drop(shard: number): void {
    for (const kept of this.#tails.get(shard)?.records ?? []) this.#bytes -= bytesOf(kept)
    this.#tails.delete(shard)
    if (this.#tails.size === 0) this.#order = []
  }

  #forgetOldest(shard: number): void {
    const tail = this.#tails.get(shard)
    const oldest = tail?.records.shift()
    if (tail === undefined || oldest === undefined) return
    tail.behind = oldest.index
    this.#bytes -= bytesOf(oldest)
  }
}

function bytesOf({ record }: KeptDelta): number {
  return recordBytes + deltaBytes(record.writes?.length ?? 0)
}
