import { readU32, readU64, writeU32, writeU64 } from './bytes.ts'
import { crc32 } from './checksum.ts'
import { CorruptionError } from './errors.ts'

/**
 * Framed, checksummed records for append-only files, and for small files that hold one record.
 *
 *      0        4        8        12       16              24
 *      ┌────────┬────────┬────────┬────────┬───────────────┬─────────────────┬─────────┐
 *      │ header │ magic  │ length │payload │  syncedUpTo   │ payload, length │ 0 to 7  │
 *      │  crc32 │'OFR1'  │  u32   │ crc32  │      u64      │ bytes           │ zeroes  │
 *      └────────┴────────┴────────┴────────┴───────────────┴─────────────────┴─────────┘
 *
 * All numbers little-endian; a record begins at a multiple of 8. The header's checksum covers the file's salt, the record's own offset and
 * bytes 4 to 24: a record copied to another place or left over from another file is no record. `syncedUpTo` is an offset below which
 * everything was durable when the record was written. The newest valid one divides a torn tail (bad bytes at or behind it: never
 * acknowledged, cut) from damage (bad bytes before it: a CorruptionError, whatever follows them). So a writer that goes idle after a sync
 * appends an empty record, which need not be synced itself: from then on what was acknowledged is guarded.
 */
export const recordHeaderBytes = 24
const magic = 0x3152464f // 'OFR1'

const scratch = new Uint8Array(32)

/** The bytes that a record of `length` payload bytes takes in its file. */
export function framedLength(length: number): number {
  // No bit operators: they end at 2 GiB.
  return Math.ceil((recordHeaderBytes + length) / 8) * 8
}

/** One record whose payload is `chunks` after one another: the chunks to write at `offset`, a multiple of 8. */
export function frameRecord(chunks: readonly Uint8Array[], offset: number, syncedUpTo: number, salt: number): Uint8Array[] {
  let length = 0
  let checksum = 0
  for (const chunk of chunks) {
    length += chunk.length
    checksum = crc32(chunk, checksum)
  }
  const header = new Uint8Array(recordHeaderBytes)
  writeU32(header, 4, magic)
  writeU32(header, 8, length)
  writeU32(header, 12, checksum)
  writeU64(header, 16, syncedUpTo)
  writeU32(header, 0, headerChecksum(header, 0, offset, salt))
  const padding = framedLength(length) - recordHeaderBytes - length
  return padding === 0 ? [header, ...chunks] : [header, ...chunks, new Uint8Array(padding)]
}

export interface ScannedRecords {
  /** Views of the payloads in order, records without payload left out. */
  readonly payloads: Uint8Array[]
  /** Offset of each payload's record. */
  readonly offsets: number[]
  /** Offset behind the last whole record: append here, after truncating to it and syncing where it is less than the file's length. */
  readonly end: number
  /** Below here all was durable when the newest of the records was written, or as the caller knew. */
  readonly durable: number
}

/**
 * Reads the records of a whole file. A torn tail is left out (`end` < bytes.length); damage before the durable end is a CorruptionError.
 * `durable`: the caller knows the file was synced up to here, as far as its records do not say more.
 */
export function scanRecords(bytes: Uint8Array, options: { file: string; salt: number; durable?: number }): ScannedRecords {
  const payloads: Uint8Array[] = []
  const offsets: number[] = []
  let durable = options.durable ?? 0
  let offset = 0
  for (let record = recordAt(bytes, 0, options.salt); record !== undefined; record = recordAt(bytes, offset, options.salt)) {
    durable = Math.max(durable, record.syncedUpTo)
    if (record.payload.length > 0) {
      payloads.push(record.payload)
      offsets.push(offset)
    }
    offset = record.end
  }
  // What follows the first bad byte may still be a record that knows more of the durable end.
  for (let at = nextRecordOffset(bytes, offset + 8, options.salt); at !== undefined; at = nextRecordOffset(bytes, at + 8, options.salt)) {
    durable = Math.max(durable, syncedUpToAt(bytes, at))
  }
  if (offset < durable) throw new CorruptionError(options.file, offset, `damaged record before the durable end at ${durable}`)
  return { payloads, offsets, end: offset, durable }
}

export interface FramedRecord {
  readonly offset: number
  /** Offset behind it, padding included. */
  readonly end: number
  readonly syncedUpTo: number
  /** A view; empty where the record only carries `syncedUpTo`. */
  readonly payload: Uint8Array
}

/** The record that begins at `offset`, undefined where none does or it is not whole. */
export function recordAt(bytes: Uint8Array, offset: number, salt: number): FramedRecord | undefined {
  if (!isRecord(bytes, offset, salt)) return undefined
  const length = readU32(bytes, offset + 8)
  const start = offset + recordHeaderBytes
  const payload = bytes.subarray(start, start + length)
  return { offset, end: offset + framedLength(length), syncedUpTo: readU64(bytes, offset + 16), payload }
}

/** The first offset from `from` (a multiple of 8) on at which a record begins, be its payload whole or not; undefined: none does. */
export function nextRecordOffset(bytes: Uint8Array, from: number, salt: number): number | undefined {
  for (let offset = from; offset + recordHeaderBytes <= bytes.length; offset += 8) if (isHeader(bytes, offset, salt)) return offset
  return undefined
}

/** The `syncedUpTo` of the header at `offset`, which `nextRecordOffset` has found. */
export function syncedUpToAt(bytes: Uint8Array, offset: number): number {
  return readU64(bytes, offset + 16)
}

/** A file of one record, to be written whole with `replaceFile`. */
export function encodeRecordFile(payload: Uint8Array, salt = 0): Uint8Array {
  const bytes = new Uint8Array(framedLength(payload.length))
  let offset = 0
  for (const chunk of frameRecord([payload], 0, 0, salt)) {
    bytes.set(chunk, offset)
    offset += chunk.length
  }
  return bytes
}

/** The payload of a file made by `encodeRecordFile`, a view; anything else is a CorruptionError. */
export function decodeRecordFile(bytes: Uint8Array, file: string, salt = 0): Uint8Array {
  if (!isRecord(bytes, 0, salt)) throw new CorruptionError(file, 0, 'damaged record')
  const length = readU32(bytes, 8)
  if (framedLength(length) !== bytes.length) throw new CorruptionError(file, framedLength(length), 'bytes behind the only record')
  return bytes.subarray(recordHeaderBytes, recordHeaderBytes + length)
}

function isHeader(bytes: Uint8Array, offset: number, salt: number): boolean {
  if (offset + recordHeaderBytes > bytes.length || readU32(bytes, offset + 4) !== magic) return false
  return readU32(bytes, offset) === headerChecksum(bytes, offset, offset, salt) && !Number.isNaN(readU64(bytes, offset + 16))
}

function isRecord(bytes: Uint8Array, offset: number, salt: number): boolean {
  if (!isHeader(bytes, offset, salt)) return false
  const length = readU32(bytes, offset + 8)
  const start = offset + recordHeaderBytes
  if (offset + framedLength(length) > bytes.length) return false
  for (let i = start + length; i < offset + framedLength(length); i++) if (bytes[i] !== 0) return false
  return crc32(bytes.subarray(start, start + length)) === readU32(bytes, offset + 12)
}

function headerChecksum(bytes: Uint8Array, at: number, offset: number, salt: number): number {
  writeU32(scratch, 0, salt)
  writeU64(scratch, 4, offset)
  scratch.set(bytes.subarray(at + 4, at + recordHeaderBytes), 12)
  return crc32(scratch)
}
