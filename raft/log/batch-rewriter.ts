import { crc32 } from '../../base/checksum.ts'
import { type BatchHeader, batchHeaderBytes, readBatchHeader, readRecordHeader, recordHeaderBytes } from './format.ts'
import type { BadSpot } from './segment-scanner.ts'
import type { Segment } from './segments.ts'

/** Bytes that are read, verified and written at once, where no single record is longer. */
const pieceBytes = 256 * 1024

/** A batch header or a record at the front of some bytes. */
type Unit =
  | { readonly kind: 'whole'; readonly length: number }
  /** More bytes are needed to tell. */
  | { readonly kind: 'longer'; readonly length: number }
  /** `length`: where what follows begins, which is of use only where the spot has a group. */
  | { readonly kind: 'bad'; readonly length: number; readonly spot: BadSpot }

/**
 * Writes whole batches of a segment again, in place. Each header and each record is written from the very bytes that its checksum was held
 * against: they were read before, by the scan, but a read that goes wrong this time must not come to lie over what is good.
 */
export class BatchRewriter {
  readonly #segment: Segment
  readonly #to: number
  #offset: number
  #header: BatchHeader | undefined
  /** Where the batch of `#header` ends: the next one begins there. */
  #batchEnd: number
  #records = 0
  #checksum = 0

  /** A batch begins at `from`, and one ends at `to`. */
  constructor(segment: Segment, from: number, to: number) {
    this.#segment = segment
    this.#offset = from
    this.#batchEnd = from
    this.#to = to
  }

  /**
   * Returns what did not hold: it is left as it lies on the disk, with all behind it where it has no group. (That whole records are not those of
   * their batch shows at the last of them only: those before it have been written then.) Syncs nothing.
   */
  async run(): Promise<readonly BadSpot[]> {
    const bad: BadSpot[] = []
    let wanted = pieceBytes
    while (this.#offset < this.#to) {
      const from = this.#offset
      const bytes = await this.#read(Math.min(wanted, this.#to - from))
      const stop = this.#verify(bytes)
      if (this.#offset > from) await this.#segment.file.write([bytes.subarray(0, this.#offset - from)], from)
      if (stop?.kind === 'bad') {
        bad.push(stop.spot)
        if (stop.spot.group === undefined) return bad
        this.#offset += stop.length
      }
      wanted = stop?.kind === 'longer' ? Math.max(pieceBytes, stop.length) : pieceBytes
    }
    return bad
  }

  /** Moves on over what is whole at the front of `bytes`. Returns what it did not get over. */
  #verify(bytes: Uint8Array): Exclude<Unit, { kind: 'whole' }> | undefined {
    for (let at = 0; at < bytes.length; ) {
      const rest = bytes.subarray(at)
      const unit = this.#offset === this.#batchEnd ? this.#batchHeader(rest) : this.#record(rest)
      if (unit.kind !== 'whole') return unit
      at += unit.length
      this.#offset += unit.length
    }
    return undefined
  }

  #batchHeader(bytes: Uint8Array): Unit {
    if (bytes.length < batchHeaderBytes && bytes.length < this.#to - this.#offset) return { kind: 'longer', length: batchHeaderBytes }
    const header = readBatchHeader(bytes)
    const end = this.#offset + batchHeaderBytes + (header?.bodyLength ?? 0)
    if (header?.segment !== this.#segment.number || header.offset !== this.#offset || end > this.#to)
      return this.#broken('damaged batch header')
    this.#header = header
    this.#batchEnd = end
    this.#records = 0
    this.#checksum = 0
    return { kind: 'whole', length: batchHeaderBytes }
  }

  #record(bytes: Uint8Array): Unit {
    if (bytes.length < recordHeaderBytes && bytes.length < this.#batchEnd - this.#offset)
      return { kind: 'longer', length: recordHeaderBytes }
    const header = readRecordHeader(bytes)
    const length = recordHeaderBytes + (header?.bodyLength ?? 0)
    if (header === undefined || this.#offset + length > this.#batchEnd) return this.#broken('damaged record header')
    if (length > bytes.length) return { kind: 'longer', length }
    this.#records++
    this.#checksum = crc32(bytes.subarray(0, 4), this.#checksum)
    const isLast = this.#offset + length === this.#batchEnd
    if (isLast && (this.#records !== this.#header?.records || this.#checksum !== this.#header.recordsChecksum)) {
      return this.#broken('records that are not of this batch')
    }
    if (crc32(bytes.subarray(recordHeaderBytes, length)) === header.bodyChecksum) return { kind: 'whole', length }
    const what = `damaged record body (group ${header.group})`
    return { kind: 'bad', length, spot: { group: header.group, offset: this.#offset, what } }
  }

  #broken(what: string): Unit {
    return { kind: 'bad', length: 0, spot: { group: undefined, offset: this.#offset, what } }
  }

  async #read(length: number): Promise<Uint8Array> {
    const { file, path } = this.#segment
    const bytes = new Uint8Array(length)
    const count = await file.read(bytes, this.#offset)
    if (count < length) throw new Error(`${path} ends at ${this.#offset + count}, before what was read of it`)
    return bytes
  }
}
