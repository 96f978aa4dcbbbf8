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
/** What a shard takes up of a set if it is not known how big it is: a leader that is new is told within seconds, and a set must not be of any size until then. */
const unknownShare = 1 / 4
/**
 * Where sets of `setBytes` would be more than this many they are larger: all that one command plans is one entry, one difference to every
 * node and one turn of every controller, and a join that moves a tebibyte to one group is hours of copying either way.
 */
const setsWanted = 512

type SizeOf = (shard: number) => number | undefined

/**
 * Shards that go the same way, in sets of at most 64 shards and 256 MiB: what is small costs no rounds of its own. A shard as big as that goes alone; of those
 * whose size is not known at most four go together. Where that makes more than 512 sets, they may be of a 512th of all the bytes, so that there are hardly more than
 * twice as many (a shard that fills most of one goes alone). Empty shards go apart from those that hold something, so that their sets need no files. `sizeOf`: bytes.
 * Sets come in the order of their first shards.
 */
export function* packMoves(moves: readonly ShardMove[], sizeOf: SizeOf): Slices<ShardSet[]> {
  const ascending = [...moves].sort((a, b) => a.shard - b.shard)
  const sets = yield* packInto(setBytes, ascending, sizeOf)
  if (sets.length <= setsWanted) return sets
  const total = ascending.reduce((sum, { shard }) => sum + (sizeOf(shard) ?? 0), 0)
  yield ascending.length
  const largerBytes = Math.ceil(total / setsWanted)
  return largerBytes > setBytes ? yield* packInto(largerBytes, ascending, sizeOf) : sets
}

function* packInto(setBytesMax: number, ascending: readonly ShardMove[], sizeOf: SizeOf): Slices<ShardSet[]> {
  const work = new Work()
  const sets: { from: string; to: string; shards: number[] }[] = []
  const filling = new Map<string, { shards: number[]; bytes: number }>()
  for (const { shard, from, to } of ascending) {
    if (work.add(1)) yield work.take()
    const bytes = sizeOf(shard) ?? setBytesMax * unknownShare
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
