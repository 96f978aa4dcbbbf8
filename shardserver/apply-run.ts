import type { Clock } from '../base/clock.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import type { WriteBatch } from '../lsm/index.ts'
import { limits } from '../proto/limits.ts'
import { pb } from '../proto/messages.ts'
import { type Entry, EntryKind } from '../raft/core/types.ts'
import { executeCommand, headBytes, keysToRead, refusal, type ShardView } from './commands.ts'
import { decodeEntry, type GroupEntry, UnknownEntryError } from './entry.ts'
import type { GroupStore } from './group-store.ts'
import { decodeRecord, type RecordView, type RecordWriter, recordHeaderBytes, recordKey } from './record.ts'
import { clientText, type WriteResult } from './session.ts'
import type { GroupSmallState, ShardSmallState } from './small-state.ts'

/** What an entry did, for its proposer. */
export type GroupResult =
  /** No effect but time: a leader's own entry, a time mark. */
  | { readonly kind: 'none' }
  /** One result for each command, in order. */
  | { readonly kind: 'written'; readonly results: readonly WriteResult[] }
  /** `refused`: the group has known these shards before; nothing happened to them. */
  | { readonly kind: 'born'; readonly born: readonly number[]; readonly refused: readonly number[] }
  /** A step of a migration, or a rebirth, took effect on all of its shards. */
  | { readonly kind: 'migrated'; readonly index: number }
  /** It does not fit the state of some shard: nothing happened. */
  | { readonly kind: 'not-migrated'; readonly reason: string }
  /** The body is no write batch: nothing happened. */
  | { readonly kind: 'malformed'; readonly reason: string }

const chunkBytes = 1024 * 1024
const chunkEntries = 256
/** A chunk ends at the entry with which it reads so many keys, or so many whole values. */
const chunkKeys = 2048
const chunkWholeReads = limits.batchWholeReadsMax
/** Keys read at once: at first, and while their records together stay below `smallReadBytes` twice as many with each read. */
const readKeys = 16
const readKeysMax = 512
const smallReadBytes = 1024 * 1024
/**
 * What one entry may write: an append or an expire writes a value of 4 MiB for a command of a few bytes. Commands behind the one that passed
 * it are refused, without a trace; all of them, so that none overtakes an earlier one on its key. No other entry can come so far.
 */
const entryWriteBytes = 2 * limits.batchBytesMax
/** A run ends early when it has written so much. */
const batchBytes = 4 * 1024 * 1024
const nothing: GroupResult = { kind: 'none' }
/** What a shard that does not serve yet asks its caller to wait, ms. */
export const movingWaitMs = 50

type Parsed =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'malformed'; readonly timeMs: number; readonly reason: string }
  | { readonly kind: 'write'; readonly timeMs: number; readonly batch: pb.v1.WriteBatch.$Properties }
  | Extract<GroupEntry, { kind: 'birth' | 'time-mark' }>

const parsedNothing: Parsed = { kind: 'nothing' }

/** A key that some command reads: its record as the commands so far have left it. It is written once, when a `run` ends. */
interface Slot {
  readonly shard: number
  readonly key: Uint8Array
  record: RecordView | undefined
  /** Whether some command needs all of the value. */
  whole: boolean
  isDirty: boolean
}

/**
 * One call of `apply`, in two steps that alternate: `fetch` brings in the records that some command of the next entries must read, `run`
 * executes those entries without waiting, seeing what earlier ones wrote. After each `run` the caller writes `batch` in the same turn: then
 * store and small state are those of the entry `index`, and reads may come.
 */
export class ApplyRun implements ShardView {
  readonly results: GroupResult[] = []
  /** What was written since the caller emptied it. */
  readonly batch: WriteBatch
  /** Of the last entry that was run; 0: none yet. */
  index = 0
  term = 0
  readonly #entries: readonly Entry[]
  readonly #state: GroupSmallState
  readonly #store: GroupStore
  #next = 0
  #chunk: Parsed[] = []
  #chunkStart = 0
  readonly #slots = new Map<string, Slot>()
  readonly #dirty: Slot[] = []
  /** Of the values in `#dirty`. */
  #dirtyBytes = 0
  /** Of the values that the present entry wrote. */
  #entryBytes = 0
  readonly #writer: RecordWriter
  // The command that is being executed:
  #shard: ShardSmallState | undefined
  timeMs = 0

  /** `batch` and `writer` may be used again by the next run. */
  constructor(entries: readonly Entry[], state: GroupSmallState, store: GroupStore, batch: WriteBatch, writer: RecordWriter) {
    this.#entries = entries
    this.#state = state
    this.#store = store
    this.batch = batch
    this.#writer = writer
  }

  get done(): boolean {
    return this.#next >= this.#entries.length
  }

  get needsFetch(): boolean {
    return !this.done && this.#next >= this.#chunkStart + this.#chunk.length
  }

  /** Parses the next entries and reads what they must see. UnknownEntryError stops the replica, before anything of these entries happened. */
  fetch(): MaybePromise<void> {
    this.#slots.clear()
    this.#parseChunk()
    if (this.#slots.size > 0) return this.#fill([...this.#slots.values()], 0, readKeys)
  }

  /** Reads the records of `slots` from `start` on, `count` at once, so that what is not kept of large values never piles up. */
  #fill(slots: readonly Slot[], start: number, count: number): MaybePromise<void> {
    for (let at = start, size = count; at < slots.length; ) {
      const some = slots.slice(at, at + size)
      at += size
      const values = this.#store.getMany(some.map((slot) => recordKey(slot.shard, slot.key)))
      if (values instanceof Promise) return values.then((found) => this.#fill(slots, at, nextCount(size, fill(some, found))))
      size = nextCount(size, fill(some, values))
    }
  }

  /** Runs at least one fetched entry, and more until `clock` passes `untilMs` or an entry must be fetched for. */
  run(clock: Pick<Clock, 'monotonicMs'>, untilMs: number): void {
    const end = this.#chunkStart + this.#chunk.length
    do {
      const entry = this.#entries[this.#next] as Entry
      this.results.push(this.#runOne(this.#chunk[this.#next - this.#chunkStart] as Parsed))
      this.index = entry.index
      this.term = entry.term
      this.#next++
    } while (this.#next < end && this.batch.bytes + this.#dirtyBytes < batchBytes && clock.monotonicMs() < untilMs)
    this.#writeSlots()
  }

  #parseChunk(): void {
    this.#chunkStart = this.#next
    this.#chunk = []
    let bytes = 0
    let wholeReads = 0
    for (let i = this.#next; i < this.#entries.length && bytes < chunkBytes && this.#chunk.length < chunkEntries; i++) {
      const entry = this.#entries[i] as Entry
      const parsed = parse(entry)
      this.#chunk.push(parsed)
      bytes += entry.data.length
      if (parsed.kind === 'write') wholeReads += this.#gather(parsed.batch)
      if (wholeReads >= chunkWholeReads || this.#slots.size >= chunkKeys) return
    }
  }

  /** Makes a slot for each key that the batch reads. Returns how many commands need a whole value. */
  #gather(batch: pb.v1.WriteBatch.$Properties): number {
    let wholeReads = 0
    for (const command of batch.commands ?? []) {
      const shard = command.shard ?? 0
      if (shard >= limits.shardCountMax) continue
      keysToRead(command, (key, whole) => {
        if (whole) wholeReads++
        const text = slotText(shard, key)
        const slot = this.#slots.get(text)
        if (slot === undefined) this.#slots.set(text, { shard, key, record: undefined, whole, isDirty: false })
        else slot.whole ||= whole
      })
    }
    return wholeReads
  }

  #runOne(parsed: Parsed): GroupResult {
    if (parsed.kind === 'nothing') return nothing
    this.#state.timeTo(parsed.timeMs)
    switch (parsed.kind) {
      case 'malformed':
        return { kind: 'malformed', reason: parsed.reason }
      case 'time-mark':
        return nothing
      case 'birth':
        return this.#birth(parsed.configNumber, parsed.shards)
      case 'write':
        return this.#write(parsed.batch)
    }
  }

  #birth(configNumber: number, shards: readonly number[]): GroupResult {
    this.#state.configTo(configNumber)
    const born: number[] = []
    const refused: number[] = []
    for (const shard of shards) {
      const result = this.#state.move(shard, { kind: 'birth' })
      ;(result.kind === 'moved' ? born : refused).push(shard)
    }
    return { kind: 'born', born, refused }
  }

  #write(batch: pb.v1.WriteBatch.$Properties): GroupResult {
    const client = clientText(batch.clientId ?? new Uint8Array(0))
    const results: WriteResult[] = []
    this.#entryBytes = 0
    for (const command of batch.commands ?? []) results.push(this.#command(client, command))
    return { kind: 'written', results }
  }

  #command(client: string, command: pb.v1.Command.$Properties): WriteResult {
    const shard = this.#state.shards.get(command.shard ?? 0)
    if (shard === undefined || !shard.isServing) return refuseState(shard)
    const sequence = command.sequence ?? 0
    const lowest = command.lowestOutstanding ?? 0
    if (!isNumber(sequence) || !isNumber(lowest)) return badNumbers
    if (this.#entryBytes >= entryWriteBytes) return tooMuch
    this.#shard = shard
    this.timeMs = this.#state.timeOf(shard)
    this.#state.touch(shard)
    const admission = shard.sessions.begin(client, sequence, lowest, command.first ?? false, this.timeMs)
    if (admission.kind === 'known') return admission.result
    if (admission.kind === 'refused') return sessionRefusals[admission.reason]
    const result = executeCommand(command, this)
    shard.sessions.finish(admission.session, sequence, result)
    return result
  }

  lookup(key: Uint8Array): RecordView | undefined {
    return this.#slots.get(slotText(this.#number(), key))?.record
  }

  nextRevision(): number {
    const shard = this.#shard as ShardSmallState
    shard.revision++
    return shard.revision
  }

  put(key: Uint8Array, value: Uint8Array, expiry: number, revision: number): void {
    this.#entryBytes += value.length
    const slot = this.#slots.size === 0 ? undefined : this.#slots.get(slotText(this.#number(), key))
    if (slot === undefined) this.#writer.put(this.batch, this.#number(), key, value, expiry, revision)
    else this.#setSlot(slot, { value, expiry, revision })
  }

  delete(key: Uint8Array): void {
    const slot = this.#slots.size === 0 ? undefined : this.#slots.get(slotText(this.#number(), key))
    if (slot === undefined) this.#writer.delete(this.batch, this.#number(), key)
    else this.#setSlot(slot, undefined)
  }

  #setSlot(slot: Slot, record: RecordView | undefined): void {
    slot.record = record
    this.#dirtyBytes += record?.value.length ?? 0
    if (slot.isDirty) return
    slot.isDirty = true
    this.#dirty.push(slot)
  }

  #writeSlots(): void {
    for (const slot of this.#dirty) {
      slot.isDirty = false
      const { record } = slot
      if (record === undefined) this.#writer.delete(this.batch, slot.shard, slot.key)
      else this.#writer.put(this.batch, slot.shard, slot.key, record.value, record.expiry, record.revision)
    }
    this.#dirty.length = 0
    this.#dirtyBytes = 0
  }

  #number(): number {
    return (this.#shard as ShardSmallState).shard
  }
}

function parse(entry: Entry): Parsed {
  if (entry.kind !== EntryKind.Normal) throw new UnknownEntryError(entry.index, `entry of kind ${entry.kind}`)
  if (entry.data.length === 0) return parsedNothing
  const decoded = decodeEntry(entry.data, entry.index)
  if (decoded.kind === 'birth' || decoded.kind === 'time-mark') return decoded
  if (decoded.kind !== 'write') throw new UnknownEntryError(entry.index, `kind ${decoded.kind}`)
  try {
    const batch = pb.v1.WriteBatch.decode(decoded.body)
    if (batch.clientId.length === limits.clientIdBytes) return { kind: 'write', timeMs: decoded.timeMs, batch }
    return { kind: 'malformed', timeMs: decoded.timeMs, reason: `a client id of ${batch.clientId.length} bytes` }
  } catch (error) {
    return { kind: 'malformed', timeMs: decoded.timeMs, reason: error instanceof Error ? error.message : 'no write batch' }
  }
}

/** Both lists are in the order of the keys. Returns how many bytes were read. */
function fill(slots: readonly Slot[], records: readonly (Uint8Array | undefined)[]): number {
  let bytes = 0
  for (let i = 0; i < slots.length; i++) {
    const record = records[i]
    if (record === undefined) continue
    const slot = slots[i] as Slot
    const kept = recordHeaderBytes + headBytes
    slot.record = decodeRecord(slot.whole || record.length <= kept ? record : record.slice(0, kept))
    bytes += record.length
  }
  return bytes
}

function nextCount(count: number, bytes: number): number {
  return bytes < smallReadBytes ? Math.min(2 * count, readKeysMax) : readKeys
}

function slotText(shard: number, key: Uint8Array): string {
  return String.fromCharCode(shard) + Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')
}

/** As sessions count: from 1. */
function isNumber(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1
}

const badNumbers: WriteResult = refusal(pb.v1.ErrorCode.INVALID_ARGUMENT, 'sequence and lowest_outstanding count from 1')

const tooMuch: WriteResult = refusal(pb.v1.ErrorCode.OVERLOADED, 'the commands of one request write too much: the rest goes again', 1)

function refuseState(shard: ShardSmallState | undefined): WriteResult {
  const state = shard?.record.state ?? 'unborn'
  if (state === 'importing' || state === 'refused') return refusal(pb.v1.ErrorCode.SHARD_MOVING, `the shard is ${state} here`, movingWaitMs)
  return refusal(pb.v1.ErrorCode.WRONG_GROUP, `the shard is ${state} here`)
}

const sessionRefusals: Readonly<Record<'expired' | 'forgotten' | 'window' | 'full', WriteResult>> = {
  expired: refusal(pb.v1.ErrorCode.SESSION_EXPIRED, 'the shard has no session of this client: go on under a new client id'),
  forgotten: {
    error: {
      code: pb.v1.ErrorCode.SESSION_EXPIRED,
      message: 'the command lies below the lowest outstanding number: its outcome is forgotten',
      definite: false,
    },
  },
  window: refusal(pb.v1.ErrorCode.INVALID_ARGUMENT, 'the command lies 1,024 or more above the lowest outstanding number'),
  full: refusal(pb.v1.ErrorCode.OVERLOADED, 'the shard has too many sessions: try again later', 1000),
}
