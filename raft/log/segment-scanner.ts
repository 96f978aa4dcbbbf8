import { readU32 } from '../../base/bytes.ts'
import { crc32 } from '../../base/checksum.ts'
import type { File } from '../../base/file-system.ts'
import {
  type BatchHeader,
  batchHeaderBytes,
  batchMagic,
  comparePositions,
  entryRowBytes,
  formatVersion,
  type RecordHeader,
  RecordKind,
  readBatchHeader,
  readRecordHeader,
  recordHeaderBytes,
} from './format.ts'

const windowBytes = 256 * 1024
const pieceBytes = 128 * 1024
const zeroes = new Uint8Array(4)

/** A record of a batch: its header and, of its body, the front that says what it is (all of it, but only the rows where it holds entries). */
export interface ScannedRecord {
  readonly header: RecordHeader
  readonly offset: number
  readonly front: Uint8Array
}

/** Bytes that are not what a writer wrote. `group` undefined: what follows in the batch cannot be told either. */
export interface BadSpot {
  readonly group: number | undefined
  readonly offset: number
  readonly what: string
}

export interface ScannedBatch {
  readonly header: BatchHeader
  readonly records: readonly ScannedRecord[]
  readonly bad: readonly BadSpot[]
  /** The first record, whole or not, of a kind that this release does not know. */
  readonly unknown: UnknownRecord | undefined
}

/** What a newer release wrote. */
export interface UnknownRecord {
  readonly kind: number
  readonly group: number
  readonly offset: number
}

const knownKinds: ReadonlySet<number> = new Set(Object.values(RecordKind))

/** Reads the first `end` bytes of one segment in windows, with a pause between them so that no turn grows long. */
export class SegmentScanner {
  readonly number: number
  readonly end: number
  readonly #file: File
  readonly #breathe: () => Promise<void>
  readonly #window: Uint8Array
  #start = 0
  #filled = 0

  constructor(number: number, file: File, end: number, breathe: () => Promise<void>) {
    this.number = number
    this.end = end
    this.#file = file
    this.#breathe = breathe
    this.#window = new Uint8Array(Math.min(windowBytes, end))
  }

  /** The batch header at `offset`, undefined where there is none that belongs there. One of another version is given as it is. */
  async header(offset: number): Promise<BatchHeader | undefined> {
    const bytes = await this.#at(offset, batchHeaderBytes)
    const header = bytes && readBatchHeader(bytes)
    if (header !== undefined && header.version !== formatVersion) return header
    if (header === undefined || header.segment !== this.number || header.offset !== offset) return undefined
    return comparePositions(header.syncedUpTo, header) <= 0 ? header : undefined
  }

  /** The offset of the first valid batch header at or behind `from`. */
  async nextHeader(from: number): Promise<number | undefined> {
    for (let offset = from; offset + batchHeaderBytes <= this.end; ) {
      const bytes = await this.#at(offset, Math.min(windowBytes, this.end - offset))
      if (bytes === undefined) return undefined
      for (let i = 0; i + batchHeaderBytes <= bytes.length; i += 8) {
        if (readU32(bytes, i) !== batchMagic) continue
        const header = readBatchHeader(bytes, i)
        if (header?.segment === this.number && header.offset === offset + i) return offset + i
      }
      offset += Math.max(8, Math.floor((bytes.length - batchHeaderBytes) / 8) * 8 + 8)
    }
    return undefined
  }

  /** The records of the batch whose valid header is `header`. */
  async batch(header: BatchHeader): Promise<ScannedBatch> {
    const records: ScannedRecord[] = []
    const bad: BadSpot[] = []
    let unknown: UnknownRecord | undefined
    const start = header.offset + batchHeaderBytes
    const end = start + header.bodyLength
    let checksum = crc32(zeroes.subarray(0, 0))
    let offset = start
    const broken = (what: string): ScannedBatch => ({ header, records, bad: [...bad, { group: undefined, offset, what }], unknown })
    if (end > this.end) return broken('batch cut short')
    while (offset < end) {
      const record = await this.#record(offset, end)
      if (record === undefined) return broken('damaged record header')
      checksum = crc32(record.checksumBytes, checksum)
      const { kind, group } = record.header
      if (!knownKinds.has(kind)) unknown ??= { kind, group, offset }
      if (record.whole) records.push({ header: record.header, offset, front: record.front })
      else bad.push({ group: record.header.group, offset, what: `damaged record body (group ${record.header.group})` })
      offset += recordHeaderBytes + record.header.bodyLength
    }
    if (records.length + bad.length !== header.records || checksum !== header.recordsChecksum)
      return broken('records that are not of this batch')
    return { header, records, bad, unknown }
  }

  async #record(offset: number, end: number) {
    const bytes = await this.#at(offset, recordHeaderBytes)
    const header = bytes && readRecordHeader(bytes)
    if (bytes === undefined || header === undefined || offset + recordHeaderBytes + header.bodyLength > end) return undefined
    const checksumBytes = bytes.slice(0, 4)
    const hasRows = header.kind === RecordKind.entries || header.kind === RecordKind.rewritten
    const front = new Uint8Array(hasRows ? Math.min(header.bodyLength, entryRowBytes * header.count) : header.bodyLength)
    let checksum = 0
    let done = 0
    while (done < header.bodyLength) {
      const piece = await this.#at(offset + recordHeaderBytes + done, Math.min(pieceBytes, header.bodyLength - done))
      if (piece === undefined) break
      checksum = crc32(piece, checksum)
      if (done < front.length) front.set(piece.subarray(0, front.length - done), done)
      done += piece.length
    }
    return { header, front, checksumBytes, whole: done === header.bodyLength && checksum === header.bodyChecksum }
  }

  /** A view of `length` bytes at `offset`, good until the next call; undefined where the segment ends before. */
  async #at(offset: number, length: number): Promise<Uint8Array | undefined> {
    if (offset + length > this.end) return undefined
    if (offset < this.#start || offset + length > this.#start + this.#filled) {
      await this.#breathe()
      this.#start = offset
      this.#filled = await this.#file.read(this.#window.subarray(0, Math.min(windowBytes, this.end - offset)), offset)
      if (this.#filled < length) return undefined
    }
    return this.#window.subarray(offset - this.#start, offset - this.#start + length)
  }
}
