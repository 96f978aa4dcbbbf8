import type { MaybePromise } from '../base/maybe-promise.ts'
import type { WriteBatch } from '../lsm/index.ts'
import { limits } from '../proto/limits.ts'
import type { pb } from '../proto/messages.ts'
import { headBytes, keysToRead } from './commands.ts'
import type { GroupStore } from './group-store.ts'
import { decodeRecord, type RecordView, type RecordWriter, recordHeaderBytes, recordKey } from './record.ts'

/** Keys read at once: at first, and while their records together stay below `smallReadBytes` twice as many with each read. */
const readKeys = 16
const readKeysMax = 512
const smallReadBytes = 1024 * 1024

/** A key that some command reads: its record as the commands so far have left it. */
interface Slot {
  readonly shard: number
  readonly key: Uint8Array
  record: RecordView | undefined
  /** Whether some command needs all of the value. */
  whole: boolean
  isDirty: boolean
}

/** The records that the commands of a chunk must read: gathered, then filled, then read and written without waiting. Each is written once. */
export class RecordSlots {
  readonly #store: GroupStore
  readonly #writer: RecordWriter
  readonly #slots = new Map<string, Slot>()
  readonly #dirty: Slot[] = []
  /** Of the values written since `writeTo`. */
  dirtyBytes = 0

  constructor(store: GroupStore, writer: RecordWriter) {
    this.#store = store
    this.#writer = writer
  }

  get size(): number {
    return this.#slots.size
  }

  clear(): void {
    this.#slots.clear()
  }

  /** Makes a slot for each key that the batch reads. Returns how many commands need a whole value. */
  gather(batch: pb.v1.WriteBatch.$Properties): number {
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

  /** Reads the gathered records. */
  fill(): MaybePromise<void> {
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

  lookup(shard: number, key: Uint8Array): RecordView | undefined {
    return this.#slots.get(slotText(shard, key))?.record
  }

  /** False: the key has no slot, nobody reads it. */
  set(shard: number, key: Uint8Array, record: RecordView | undefined): boolean {
    const slot = this.#slots.size === 0 ? undefined : this.#slots.get(slotText(shard, key))
    if (slot === undefined) return false
    slot.record = record
    this.dirtyBytes += record?.value.length ?? 0
    if (!slot.isDirty) {
      slot.isDirty = true
      this.#dirty.push(slot)
    }
    return true
  }

  /** Puts what was set since the last call into `batch`. */
  writeTo(batch: WriteBatch): void {
    for (const slot of this.#dirty) {
      slot.isDirty = false
      const { record } = slot
      if (record === undefined) this.#writer.delete(batch, slot.shard, slot.key)
      else this.#writer.put(batch, slot.shard, slot.key, record.value, record.expiry, record.revision)
    }
    this.#dirty.length = 0
    this.dirtyBytes = 0
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
