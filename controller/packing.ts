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
const setBytes = 256 * 1024 * 1024
/** What a shard counts of which it is not known how big it is: a leader that is new is told within seconds, and a set must not be of any size until then. */
const unknownBytes = setBytes / 4
/**
 * Where sets of `setBytes` would be more than about this many they are larger: all that one command plans is one entry, one difference to every
 * node and one turn of every controller, and a join that moves a tebibyte to one group is hours of copying either way.
 */
const setsWanted = 512

/**
 * Shards that go the same way, in sets of at most 64 shards and 256 MiB: what is small costs no rounds of its own. A shard as big as that goes alone; of those
 * whose size is not known at most four go together. Where that makes more than some 512 sets, they may be of as many bytes as bring it down to so many. Empty
 * shards go apart from those that hold something, so that their sets need no files. `sizeOf`: bytes. Sets come in the order of their first shards.
 */
export function* packMoves(moves: readonly ShardMove[], sizeOf: (shard: number) => number | undefined): Slices<ShardSet[]> {
  const work = new Work()
  const bytesOf = (shard: number) => sizeOf(shard) ?? unknownBytes
  let total = 0
  for (const { shard } of moves) {
    if (work.add(1)) yield work.take()
    total += bytesOf(shard)
  }
  const setBytesMax = Math.max(setBytes, Math.ceil(total / setsWanted))
  const sets: { from: string; to: string; shards: number[] }[] = []
  const filling = new Map<string, { shards: number[]; bytes: number }>()
  for (const { shard, from, to } of [...moves].sort((a, b) => a.shard - b.shard)) {
    if (work.add(1)) yield work.take()
    const bytes = bytesOf(shard)
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
