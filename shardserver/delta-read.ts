import { emptyBytes } from '../base/bytes.ts'
import type { pb } from '../proto/messages.ts'
import { decodeDelta, deltaBytes, deltaKey, deltaRange, indexOfDelta, operationCost, operationsOf, type StoredDelta } from './delta.ts'
import { countUpTo, type DeltaRoom, lastThatFits, type SummedRecord } from './delta-fit.ts'
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

type Found = StoredDelta & SummedRecord

/** Of one shard, as of the moment of the call. */
interface ShardTail {
  readonly shard: ShardSmallState
  readonly record: ShardRecord
  readonly revision: number
  readonly timeMs: number
  readonly found: Found[]
}

/** The commands of some exporting or released shards behind a position, all of one moment. `applied`: that of the state. */
export async function readDelta(
  state: GroupSmallState,
  store: GroupStore,
  applied: number,
  wanted: DeltaWanted,
  pause: Pause,
): Promise<DeltaOutcome> {
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
    const upTo = await readTails(store, snapshot, tails, wanted, end, pause)
    const isLast = releasedAt > 0 && upTo === releasedAt
    const shards: pb.v1.ShardDelta.$Properties[] = []
    for (const tail of tails) shards.push(await deltaOf(store, snapshot, tail, upTo, isLast))
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
  store: GroupStore,
  snapshot: StoreSnapshot,
  tails: readonly ShardTail[],
  { after, maxBytes }: DeltaWanted,
  end: number,
  pause: Pause,
): Promise<number> {
  const room = { bytes: maxBytes, cost: costMax }
  const read: Found[][] = []
  let upTo = end
  for (const tail of tails) {
    if (tail.record.count === 0) continue
    const { upper } = deltaRange(tail.shard.shard)
    const iterator = store.iterate({ lower: deltaKey(tail.shard.shard, after + 1), upper, snapshot })
    upTo = Math.min(upTo, await readTail(iterator, tail, upTo, room, pause))
    read.push(tail.found)
    upTo = lastThatFits(read, upTo, room)
  }
  for (const found of read) found.length = countUpTo(found, upTo)
  return upTo
}

/** The index up to which the tail is whole: `upTo`, or less where it alone has more than fits. */
async function readTail(iterator: StoreIterator, { found }: ShardTail, upTo: number, room: DeltaRoom, pause: Pause): Promise<number> {
  let bytesUpTo = 0
  let costUpTo = 0
  try {
    for (;;) {
      const step = iterator.next()
      if (!(step instanceof Promise ? await step : step)) return upTo
      const index = indexOfDelta(iterator.key)
      if (index > upTo) return upTo
      const stored = decodeDelta(iterator.value)
      const writes = stored.record.writes ?? emptyBytes
      bytesUpTo += deltaBytes(writes.length)
      costUpTo += stored.cost + operationsOf(writes) * operationCost
      if (found.length > 0 && (bytesUpTo > room.bytes || costUpTo > room.cost)) return index - 1
      found.push({ ...stored, index, bytesUpTo, costUpTo })
      const paused = pause()
      if (paused !== undefined) await paused
    }
  } finally {
    iterator.close()
  }
}

/** `isLast`: with all of the release. */
async function deltaOf(
  store: GroupStore,
  snapshot: StoreSnapshot,
  tail: ShardTail,
  upTo: number,
  isLast: boolean,
): Promise<pb.v1.ShardDelta.$Properties> {
  const { shard, record, revision, timeMs, found } = tail
  const { count, checksum } = found.at(-1) ?? (await lastUpTo(store, snapshot, shard.shard, record, upTo))
  const delta = { shard: shard.shard, records: found.map((each) => each.record), count, checksum }
  return isLast ? { ...delta, revision, timeMs } : delta
}

/** Count and checksum where nothing was read: those of the last record up to `upTo`, none before the cut. */
async function lastUpTo(
  store: GroupStore,
  snapshot: StoreSnapshot,
  shard: number,
  { cut, count }: ShardRecord,
  upTo: number,
): Promise<{ readonly count: number; readonly checksum: number }> {
  if (count === 0) return { count: 0, checksum: 0 }
  const iterator = store.iterate({ lower: deltaKey(shard, cut + 1), upper: deltaKey(shard, upTo + 1), reverse: true, snapshot })
  try {
    const step = iterator.next()
    if (!(step instanceof Promise ? await step : step)) return { count: 0, checksum: 0 }
    return decodeDelta(iterator.value)
  } finally {
    iterator.close()
  }
}
