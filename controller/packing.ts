import { type Slices, Work } from './slices.ts'

/** Which shards move together. Pure. */

export interface ShardMove {
  readonly shard: number
  /** Uids. */
  readonly from: string
  readonly to: string
}

export interface ShardSet {
  readonly from: string
  readonly to: string
  /** Ascending. */
  readonly shards: readonly number[]
}

const setShardsMax = 64
/** Of shards that hold nothing: they cost no more than their entries. */
const emptyShardsMax = 256
const setBytesMax = 256 * 1024 * 1024
/** What a shard counts of which it is not known how big it is: a leader that is new is told within seconds, and a set must not be of any size until then. */
const unknownBytes = setBytesMax / 4

/**
 * Shards that go the same way, in sets of at most 64 shards and 256 MiB: what is small costs no rounds of its own. A shard as big as that goes alone; of those
 * whose size is not known at most four go together. Empty ones go apart from those that hold something, so that their sets need no files. `sizeOf`: bytes. Sets come in the
 * order of their first shards.
 */
export function* packMoves(moves: readonly ShardMove[], sizeOf: (shard: number) => number | undefined): Slices<ShardSet[]> {
  const work = new Work()
  const sets: { from: string; to: string; shards: number[] }[] = []
  const filling = new Map<string, { shards: number[]; bytes: number }>()
  for (const { shard, from, to } of [...moves].sort((a, b) => a.shard - b.shard)) {
    if (work.add(1)) yield work.take()
    const bytes = sizeOf(shard) ?? unknownBytes
    const isEmpty = bytes === 0
    const way = `${from} ${to} ${isEmpty}`
    const open = filling.get(way)
    if (open !== undefined && open.shards.length < (isEmpty ? emptyShardsMax : setShardsMax) && open.bytes + bytes <= setBytesMax) {
      open.shards.push(shard)
      open.bytes += bytes
      continue
    }
    const shards = [shard]
    sets.push({ from, to, shards })
    if (bytes < setBytesMax) filling.set(way, { shards, bytes })
  }
  return sets
}
