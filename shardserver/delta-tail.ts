import { deltaBytes, type StoredDelta } from './delta.ts'
import { countUpTo } from './delta-fit.ts'

/** What is held of one group's deltas at the most, bytes. */
const heldBytesMax = 16 * 1024 * 1024
/** What goes at a time where that is full, of the part of the log that is held: else each record that comes would move all others. */
const evictedShare = 1 / 8
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
  records: KeptDelta[]
}

/**
 * The newest of what the exporting shards of one group keep in the store, in memory as well: a target that follows closely is answered in the turn in which it
 * asks. Read from tables, a piece of the delta takes half a dozen reads of files one after the other, 50 to 150 ms on a busy machine. Nothing rests on it: what
 * is not here is read from the store.
 */
export class DeltaTail {
  readonly #bytesMax: number
  readonly #tails = new Map<number, Tail>()
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
    tail.records.push(ofItsOwn(kept))
    this.#bytes += bytesOf(kept)
    while (this.#bytes > this.#bytesMax) this.#evict(kept.index)
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
  }

  /** The oldest of all shards, by the log's order: the first part of what reaches to `newest`. */
  #evict(newest: number): void {
    let oldest = newest
    for (const { records } of this.#tails.values()) oldest = Math.min(oldest, records[0]?.index ?? newest)
    const upTo = oldest + Math.floor((newest - oldest) * evictedShare)
    for (const tail of this.#tails.values()) {
      const gone = countUpTo(tail.records, upTo)
      if (gone === 0) continue
      for (let i = 0; i < gone; i++) this.#bytes -= bytesOf(tail.records[i] as KeptDelta)
      tail.behind = (tail.records[gone - 1] as KeptDelta).index
      tail.records = tail.records.slice(gone)
    }
  }
}

/** What was encoded just now lies in a slab with what else was, which it would hold. */
function ofItsOwn(kept: KeptDelta): KeptDelta {
  const { writes } = kept.record
  if (!writes || writes.buffer.byteLength === writes.length) return kept
  return { ...kept, record: { ...kept.record, writes: new Uint8Array(writes) } }
}

function bytesOf({ record }: KeptDelta): number {
  return recordBytes + deltaBytes(record.writes?.length ?? 0)
}
