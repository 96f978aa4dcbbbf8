import { writeU32 } from '../../base/bytes.ts'
import { crc32 } from '../../base/checksum.ts'
import type { Entry } from '../core/types.ts'
import { entryRowBytes, padded, type RecordKind, recordHeaderBytes, writeEntryRow, writeRecordHeader } from './format.ts'

const slabBytes = 256 * 1024
/** A record up to this size is laid out in one piece (copies of a few KiB cost less than another chunk and another checksum call). */
const contiguousBytes = 64 * 1024
const pooledSlabs = 8
const zeroes = new Uint8Array(8)

/** Slabs that batches are laid out in, used again when their batch is durable. */
export class SlabPool {
  readonly #free: Uint8Array[] = []

  take(): Uint8Array {
    return this.#free.pop() ?? new Uint8Array(slabBytes)
  }

  give(slab: Uint8Array): void {
    if (this.#free.length < pooledSlabs) this.#free.push(slab)
  }
}

/** Who learns where a record with entries came to lie. */
export interface PlacementOwner {
  /** Entries `first` to `first + count - 1`, as far as they still are those of `pendingId`, now lie in the record at `offset` of `segment`. */
  placed(pendingId: number, first: number, count: number, segment: number, offset: number): void
}

interface Placement {
  readonly owner: PlacementOwner
  readonly pendingId: number
  readonly first: number
  readonly count: number
  /** Bytes from the first record of the batch. */
  readonly offset: number
}

/** The records that one `writev` + `fdatasync` will make durable, laid out as they will lie on disk. Synchronous. */
export class Batch {
  readonly number: number
  readonly #pool: SlabPool
  readonly #slabs: Uint8Array[] = []
  readonly #chunks: Uint8Array[] = []
  readonly #checksums: number[] = []
  readonly #placements: Placement[] = []
  readonly #callbacks: (() => void)[] = []
  #slab: Uint8Array | undefined
  /** What of the newest slab is not yet among the chunks: [start, end). */
  #start = 0
  #end = 0
  #bytes = 0
  /** Someone waits for this batch: it is written as soon as the one before it is durable. */
  forced = false

  constructor(number: number, pool: SlabPool) {
    this.number = number
    this.#pool = pool
  }

  get bytes(): number {
    return this.#bytes
  }

  get records(): number {
    return this.#checksums.length
  }

  get callbacks(): readonly (() => void)[] {
    return this.#callbacks
  }

  /** Checksum over the checksums of all record headers, continuing that of the records in front of this batch's. */
  recordsChecksum(seed = 0): number {
    const bytes = new Uint8Array(4 * this.#checksums.length)
    for (let i = 0; i < this.#checksums.length; i++) writeU32(bytes, 4 * i, this.#checksums[i] as number)
    return crc32(bytes, seed)
  }

  onDurable(callback: () => void): void {
    this.#callbacks.push(callback)
  }

  add(kind: RecordKind, group: number, first: number, body: Uint8Array, flags = 0): void {
    const piece = this.#reserve(recordHeaderBytes + body.length)
    piece.set(body, recordHeaderBytes)
    const header = { bodyChecksum: crc32(body), group, kind, flags, first, count: 0, bodyLength: body.length }
    this.#checksums.push(writeRecordHeader(piece, header))
  }

  /** One record of `entries[from, to)`. Its data is not copied where it is large: the caller must not change it. */
  addEntries(
    kind: RecordKind,
    group: number,
    entries: readonly Entry[],
    from: number,
    to: number,
    owner: PlacementOwner,
    pendingId: number,
  ): void {
    const first = (entries[from] as Entry).index
    const count = to - from
    this.#placements.push({ owner, pendingId, first, count, offset: this.#bytes })
    let dataBytes = 0
    for (let i = from; i < to; i++) dataBytes += (entries[i] as Entry).data.length
    const bodyLength = padded(entryRowBytes * count + dataBytes)
    const whole = recordHeaderBytes + bodyLength <= contiguousBytes
    const piece = this.#reserve(recordHeaderBytes + (whole ? bodyLength : entryRowBytes * count))
    let at = recordHeaderBytes
    for (let i = from; i < to; i++, at += entryRowBytes) writeEntryRow(piece, at, entries[i] as Entry)
    let bodyChecksum: number
    if (whole) {
      for (let i = from; i < to; i++) {
        const data = (entries[i] as Entry).data
        piece.set(data, at)
        at += data.length
      }
      piece.fill(0, at)
      bodyChecksum = crc32(piece.subarray(recordHeaderBytes))
    } else {
      bodyChecksum = this.#attach(entries, from, to, bodyLength, crc32(piece.subarray(recordHeaderBytes)))
    }
    this.#checksums.push(writeRecordHeader(piece, { bodyChecksum, group, kind, flags: 0, first, count, bodyLength }))
  }

  /** Takes over everything of `next`, which follows this batch. The result bears `number` of `next`. */
  static joined(batch: Batch, next: Batch): Batch {
    const result = new Batch(next.number, batch.#pool)
    result.forced = batch.forced || next.forced
    for (const part of [batch, next]) {
      for (const placement of part.#placements) result.#placements.push({ ...placement, offset: placement.offset + result.#bytes })
      result.#chunks.push(...part.chunks())
      result.#checksums.push(...part.#checksums)
      result.#callbacks.push(...part.#callbacks)
      result.#slabs.push(...part.#slabs)
      result.#bytes += part.#bytes
    }
    return result
  }

  /** The bytes of all records. No record may be added afterwards. */
  chunks(): readonly Uint8Array[] {
    this.#cut()
    this.#slab = undefined
    return this.#chunks
  }

  /** The batch is durable, its first record at `offset` of `segment`. */
  place(segment: number, offset: number): void {
    for (const placement of this.#placements) {
      placement.owner.placed(placement.pendingId, placement.first, placement.count, segment, offset + placement.offset)
    }
  }

  /** Gives the slabs back: the file system is done with them. */
  release(): void {
    for (const slab of this.#slabs) this.#pool.give(slab)
    this.#slabs.length = 0
  }

  /** Adds data and padding as chunks of their own; returns the body's checksum. */
  #attach(entries: readonly Entry[], from: number, to: number, bodyLength: number, seed: number): number {
    this.#cut()
    let checksum = seed
    let length = entryRowBytes * (to - from)
    for (let i = from; i < to; i++) {
      const data = (entries[i] as Entry).data
      if (data.length === 0) continue
      checksum = crc32(data, checksum)
      this.#chunks.push(data)
      length += data.length
    }
    this.#bytes += bodyLength - entryRowBytes * (to - from)
    if (length === bodyLength) return checksum
    const padding = zeroes.subarray(0, bodyLength - length)
    this.#chunks.push(padding)
    return crc32(padding, checksum)
  }

  #reserve(length: number): Uint8Array {
    this.#bytes += length
    if (length > slabBytes) {
      this.#cut()
      const chunk = new Uint8Array(length)
      this.#chunks.push(chunk)
      return chunk
    }
    if (this.#slab === undefined || this.#end + length > slabBytes) {
      this.#cut()
      this.#slab = this.#pool.take()
      this.#slabs.push(this.#slab)
      this.#start = 0
      this.#end = 0
    }
    const piece = this.#slab.subarray(this.#end, this.#end + length)
    this.#end += length
    return piece
  }

  /** Makes a chunk of what was laid out in the slab since the last one. */
  #cut(): void {
    if (this.#slab === undefined || this.#start === this.#end) return
    this.#chunks.push(this.#slab.subarray(this.#start, this.#end))
    this.#start = this.#end
  }
}
