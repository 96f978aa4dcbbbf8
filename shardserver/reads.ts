import { compareBytes } from '../base/bytes.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import type { GroupStore, StoreIterator, StoreSnapshot } from './group-store.ts'
import { decodeRecord, encodeKey, endOfKind, isExpired, KeyKind, type RecordView, recordKey, restOfKey } from './record.ts'
import type { ShardStateName } from './shard-state.ts'
import type { GroupSmallState } from './small-state.ts'

/** Reads of what is applied. The caller has made sure that this is new enough, in the same turn. */
export type ReadOutcome =
  | { readonly kind: 'found'; readonly value: Uint8Array; readonly revision: number; readonly expiresInMs: number }
  | { readonly kind: 'absent' }
  /** The leader's time has passed the record, the shard's has not: log a time mark, then read again with the same time. */
  | { readonly kind: 'needs-time-mark' }
  | { readonly kind: 'refused'; readonly shard: number; readonly state: ShardStateName }

export interface ScanOptions {
  readonly shards: readonly number[]
  /** Inclusive; empty: from the beginning. */
  readonly start: Uint8Array
  /** Exclusive; empty: to the end. */
  readonly end: Uint8Array
  readonly reverse: boolean
  /** Entries, at least 1. */
  readonly limit: number
  /** A page ends after so many bytes of keys and values, but holds at least one entry. */
  readonly pageBytes: number
  /** The leader's time, ms, as far as it is known here. */
  readonly leaderTimeMs: number
}

export interface ScannedEntry {
  readonly key: Uint8Array
  readonly value: Uint8Array
  readonly revision: number
  readonly expiresInMs: number
}

export type ScanOutcome =
  | { readonly kind: 'page'; readonly entries: readonly ScannedEntry[]; readonly more: boolean }
  | { readonly kind: 'needs-time-mark' }
  | { readonly kind: 'refused'; readonly shard: number; readonly state: ShardStateName }

/** Lets other work of this thread run when the slice is over. */
export type Pause = () => Promise<void> | undefined

const absent: ReadOutcome = { kind: 'absent' }
const needsTimeMark = { kind: 'needs-time-mark' } as const

/** `leaderTimeMs`: the group's time as its leader has it, as far as that is known here. The value is a copy. */
export function readRecord(
  state: GroupSmallState,
  store: GroupStore,
  shardNumber: number,
  key: Uint8Array,
  leaderTimeMs: number,
): MaybePromise<ReadOutcome> {
  const shard = state.shards.get(shardNumber)
  if (shard === undefined || !state.isReadable(shard))
    return { kind: 'refused', shard: shardNumber, state: shard?.record.state ?? 'unborn' }
  const timeMs = state.timeOf(shard)
  const nowMs = Math.max(timeMs, leaderTimeMs + shard.timeOffsetMs)
  const bytes = store.get(recordKey(shardNumber, key))
  if (bytes instanceof Promise) return bytes.then((found) => outcomeOf(found, timeMs, nowMs))
  return outcomeOf(bytes, timeMs, nowMs)
}

function outcomeOf(bytes: Uint8Array | undefined, timeMs: number, nowMs: number): ReadOutcome {
  if (bytes === undefined) return absent
  const record = decodeRecord(bytes)
  if (isExpired(record.expiry, timeMs)) return absent
  if (isExpired(record.expiry, nowMs)) return needsTimeMark
  return { kind: 'found', value: record.value, revision: record.revision, expiresInMs: expiresIn(record, nowMs) }
}

/** At least 1 where the record has an end: 0 means none. */
function expiresIn(record: RecordView, nowMs: number): number {
  return record.expiry === 0 ? 0 : Math.max(1, Math.ceil(record.expiry - nowMs))
}

/** One shard's records of a scan, at its present one. */
class Cursor {
  readonly timeMs: number
  readonly nowMs: number
  readonly iterator: StoreIterator
  key: Uint8Array = new Uint8Array(0)

  constructor(iterator: StoreIterator, timeMs: number, nowMs: number) {
    this.iterator = iterator
    this.timeMs = timeMs
    this.nowMs = nowMs
  }

  /** To the next record that lives by the shard's time. */
  async next(pause: Pause): Promise<boolean> {
    for (;;) {
      const step = this.iterator.next()
      if (!(step instanceof Promise ? await step : step)) return false
      if (!isExpired(decodeRecord(this.iterator.value).expiry, this.timeMs)) {
        this.key = restOfKey(this.iterator.key)
        return true
      }
      const paused = pause()
      if (paused !== undefined) await paused
    }
  }
}

/** A merged page of some shards, as of the turn of the call. Keys and values are copies. */
export function scanRecords(state: GroupSmallState, store: GroupStore, options: ScanOptions, pause: Pause): Promise<ScanOutcome> {
  const times: { timeMs: number; nowMs: number }[] = []
  for (const number of options.shards) {
    const shard = state.shards.get(number)
    if (shard === undefined || !state.isReadable(shard)) {
      return Promise.resolve({ kind: 'refused', shard: number, state: shard?.record.state ?? 'unborn' })
    }
    const timeMs = state.timeOf(shard)
    times.push({ timeMs, nowMs: Math.max(timeMs, options.leaderTimeMs + shard.timeOffsetMs) })
  }
  const isEmpty = options.end.length > 0 && compareBytes(options.start, options.end) >= 0
  if (isEmpty) return Promise.resolve({ kind: 'page', entries: [], more: false })
  return scanSnapshot(store, store.snapshot(), times, options, pause)
}

async function scanSnapshot(
  store: GroupStore,
  snapshot: StoreSnapshot,
  times: readonly { timeMs: number; nowMs: number }[],
  options: ScanOptions,
  pause: Pause,
): Promise<ScanOutcome> {
  const merge = new Merge(options.reverse)
  const opened: Cursor[] = []
  try {
    for (let i = 0; i < options.shards.length; i++) {
      const { timeMs, nowMs } = times[i] as { timeMs: number; nowMs: number }
      const cursor = new Cursor(openIterator(store, snapshot, options.shards[i] as number, options), timeMs, nowMs)
      opened.push(cursor)
      if (await cursor.next(pause)) merge.push(cursor)
      const paused = pause()
      if (paused !== undefined) await paused
    }
    return await readPage(merge, options, pause)
  } finally {
    for (const cursor of opened) cursor.iterator.close()
    snapshot.release()
  }
}

function openIterator(store: GroupStore, snapshot: StoreSnapshot, shard: number, options: ScanOptions): StoreIterator {
  return store.iterate({
    lower: encodeKey(shard, KeyKind.Record, options.start),
    upper: options.end.length > 0 ? recordKey(shard, options.end) : endOfKind(shard, KeyKind.Record),
    reverse: options.reverse,
    snapshot,
  })
}

async function readPage(merge: Merge, options: ScanOptions, pause: Pause): Promise<ScanOutcome> {
  const entries: ScannedEntry[] = []
  let bytes = 0
  for (let cursor = merge.first; cursor !== undefined; cursor = merge.first) {
    if (entries.length >= options.limit || bytes >= options.pageBytes) return { kind: 'page', entries, more: true }
    const record = decodeRecord(cursor.iterator.value)
    if (entries.length > 0 && bytes + cursor.key.length + record.value.length > options.pageBytes)
      return { kind: 'page', entries, more: true }
    if (isExpired(record.expiry, cursor.nowMs)) return needsTimeMark
    bytes += cursor.key.length + record.value.length
    entries.push({
      key: Uint8Array.from(cursor.key),
      value: Uint8Array.from(record.value),
      revision: record.revision,
      expiresInMs: expiresIn(record, cursor.nowMs),
    })
    merge.advanced(await cursor.next(pause))
    const paused = pause()
    if (paused !== undefined) await paused
  }
  return { kind: 'page', entries, more: false }
}

/** A binary heap of cursors by their keys, least first (greatest with `reverse`). */
class Merge {
  readonly #heap: Cursor[] = []
  readonly #sign: number

  constructor(reverse: boolean) {
    this.#sign = reverse ? -1 : 1
  }

  get first(): Cursor | undefined {
    return this.#heap[0]
  }

  push(cursor: Cursor): void {
    let at = this.#heap.push(cursor) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!this.#before(at, parent)) break
      this.#swap(at, parent)
      at = parent
    }
  }

  /** `first` moved on, or has nothing more. */
  advanced(hasMore: boolean): void {
    if (!hasMore) {
      const last = this.#heap.pop()
      if (this.#heap.length === 0 || last === undefined) return
      this.#heap[0] = last
    }
    for (let at = 0; ; ) {
      let least = at
      for (const child of [2 * at + 1, 2 * at + 2]) if (child < this.#heap.length && this.#before(child, least)) least = child
      if (least === at) return
      this.#swap(at, least)
      at = least
    }
  }

  #before(a: number, b: number): boolean {
    return this.#sign * compareBytes((this.#heap[a] as Cursor).key, (this.#heap[b] as Cursor).key) < 0
  }

  #swap(a: number, b: number): void {
    const first = this.#heap[a] as Cursor
    this.#heap[a] = this.#heap[b] as Cursor
    this.#heap[b] = first
  }
}
