import { emptyBytes } from '../base/bytes.ts'
import type { pb } from '../proto/messages.ts'
import { decodeDelta, deltaBytes, deltaKey, deltaRange, indexOfDelta, operationCost, operationsOf, type StoredDelta } from './delta.ts'
import { countUpTo, type DeltaRoom, lastThatFits, type SummedRecord } from './delta-fit.ts'
import type { DeltaTail, KeptDelta } from './delta-tail.ts'
import type { GroupStore, StoreIterator, StoreSnapshot } from './group-store.ts'
import type { Pause } from './reads.ts'
import type { DeltaOutcome, DeltaWanted } from './shard-migrations.ts'
import type { ShardRecord } from './shard-state.ts'
import type { GroupSmallState, ShardSmallState } from './small-state.ts'

/**
 * What the records of one answer may cost those who replay them, bytes: that of each (`StoredDelta`), and of each of its operations `operationCost`. They are
 * replayed by one entry, so in one turn, which may have applied others for 3 ms before: 512 small writes take 1.7 ms (`npm run bench:turns`).
 */
const costMax = 16 * 1024 * 1024

type Found = KeptDelta & SummedRecord

/** Of all records since the cut. */
type DeltaEnd = Pick<StoredDelta, 'count' | 'checksum'>

/** Of one shard, as of the moment of the call. */
interface ShardTail {
  readonly shard: ShardSmallState
  readonly record: ShardRecord
  readonly revision: number
  readonly timeMs: number
  readonly found: Found[]
}

/** Where deltas are kept: `tail` holds the newest of what is in `store`. */
export interface DeltaWorld {
  readonly state: GroupSmallState
  readonly store: GroupStore
  readonly tail: DeltaTail
  /** That of the state. */
  readonly applied: number
  readonly pause: Pause
}

/** The commands of some exporting or released shards behind a position, all of one moment. */
export async function readDelta(world: DeltaWorld, wanted: DeltaWanted): Promise<DeltaOutcome> {
  const { state, store, applied } = world
  const tails: ShardTail[] = []
  for (const number of wanted.shards) {
    const shard = state.shards.get(number)
    const refusal = whyNot(shard, applied, wanted)
    if (shard === undefined || refusal !== undefined) return { kind: 'refused', reason: `shard ${number}: ${refusal}` }
    tails.push({ shard, record: shard.record, revision: shard.revision, timeMs: state.timeOf(shard), found: [] })
  }
  // They move together: the release is one entry.
  const releasedAt = tails[0]?.record.releasedAt ?? 0
  const end = releasedAt > 0 ? releasedAt : applied
  const snapshot = store.snapshot()
  try {
    const upTo = await readTails(world, snapshot, tails, wanted, end)
    const isLast = releasedAt > 0 && upTo === releasedAt
    const shards: pb.v1.ShardDelta.$Properties[] = []
    for (const tail of tails) shards.push(deltaOf(tail, tail.found.at(-1) ?? (await lastUpTo(world, snapshot, tail, upTo, end)), isLast))
    return { kind: 'delta', upTo, shards, lag: end - upTo, releasedAt: isLast ? releasedAt : 0 }
  } finally {
    snapshot.release()
  }
}

function whyNot(shard: ShardSmallState | undefined, applied: number, { id, after }: DeltaWanted): string | undefined {
  if (shard === undefined) return 'unborn'
  const { state, newestId, cut, releasedAt } = shard.record
  if (state !== 'exporting' && state !== 'released') return state
  if (newestId !== id) return `the newest migration is ${newestId}, not ${id}`
  if (after < cut) return `the delta begins behind ${cut}, not ${after}`
  const end = releasedAt > 0 ? releasedAt : applied
  return after > end ? `only ${end} is applied` : undefined
}

/** Reads what fits; returns the index up to which every tail is whole. */
async function readTails(
  { store, tail: memory, pause }: DeltaWorld,
  snapshot: StoreSnapshot,
  tails: readonly ShardTail[],
  { after, maxBytes }: DeltaWanted,
  end: number,
): Promise<number> {
  const room = { bytes: maxBytes, cost: costMax }
  const read: Found[][] = []
  let upTo = end
  for (const tail of tails) {
    if (tail.record.count === 0) continue
    const { shard } = tail.shard
    const kept = memory.since(shard, after)
    if (kept !== undefined) upTo = Math.min(upTo, takeKept(kept, tail, upTo, room))
    else {
      const iterator = store.iterate({ lower: deltaKey(shard, after + 1), upper: deltaRange(shard).upper, snapshot })
      upTo = Math.min(upTo, await readTail(iterator, tail, upTo, room, pause))
    }
    read.push(tail.found)
    upTo = lastThatFits(read, upTo, room)
  }
  for (const found of read) found.length = countUpTo(found, upTo)
  return upTo
}

/** As `readTail`, of what is in memory: no more than fits is looked at. */
function takeKept(kept: readonly KeptDelta[], tail: ShardTail, upTo: number, room: DeltaRoom): number {
  for (const each of kept) {
    if (each.index > upTo) return upTo
    if (!admit(tail, each, room)) return each.index - 1
  }
  return upTo
}

/** The index up to which the tail is whole: `upTo`, or less where it alone has more than fits. */
async function readTail(iterator: StoreIterator, tail: ShardTail, upTo: number, room: DeltaRoom, pause: Pause): Promise<number> {
  try {
    for (;;) {
      const step = iterator.next()
      if (!(step instanceof Promise ? await step : step)) return upTo
      const index = indexOfDelta(iterator.key)
      if (index > upTo) return upTo
      if (!admit(tail, { ...decodeDelta(iterator.value), index }, room)) return index - 1
      const paused = pause()
      if (paused !== undefined) await paused
    }
  } finally {
    iterator.close()
  }
}

/** False where it does not fit; the first one always does. */
function admit({ found }: ShardTail, kept: KeptDelta, room: DeltaRoom): boolean {
  const before = found.at(-1)
  const writes = kept.record.writes ?? emptyBytes
  const bytesUpTo = (before?.bytesUpTo ?? 0) + deltaBytes(writes.length)
  const costUpTo = (before?.costUpTo ?? 0) + kept.cost + operationsOf(writes) * operationCost
  if (before !== undefined && (bytesUpTo > room.bytes || costUpTo > room.cost)) return false
  found.push({ ...kept, bytesUpTo, costUpTo })
  return true
}

/** `last`: the newest record up to where it goes; `isLast`: with all of the release. */
function deltaOf({ shard, revision, timeMs, found }: ShardTail, last: DeltaEnd, isLast: boolean): pb.v1.ShardDelta.$Properties {
  const { count, checksum } = last
  const delta = { shard: shard.shard, records: found.map((each) => each.record), count, checksum }
  return isLast ? { ...delta, revision, timeMs } : delta
}

/** Count and checksum where nothing was read: those of the last record up to `upTo`, none before the cut. `end`: that of the shard as it is. */
async function lastUpTo(
  { store, tail: memory }: DeltaWorld,
  snapshot: StoreSnapshot,
  { shard: { shard }, record }: ShardTail,
  upTo: number,
  end: number,
): Promise<DeltaEnd> {
  if (record.count === 0 || upTo === end) return record
  const kept = memory.last(shard, upTo)
  if (kept !== undefined) return kept
  const iterator = store.iterate({ lower: deltaKey(shard, record.cut + 1), upper: deltaKey(shard, upTo + 1), reverse: true, snapshot })
  try {
    const step = iterator.next()
    if (!(step instanceof Promise ? await step : step)) return { count: 0, checksum: 0 }
    return decodeDelta(iterator.value)
  } finally {
    iterator.close()
  }
}
