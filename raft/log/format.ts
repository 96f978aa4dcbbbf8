import { readU32, readU64, utf8, utf8Text, writeU32, writeU64 } from '../../base/bytes.ts'
import { crc32 } from '../../base/checksum.ts'
import type { Entry, HardState } from '../core/types.ts'

/**
 * The bytes of the shared log, drawn in `docs/formats-log.md`. All numbers are little-endian. A segment is a run of batches; a batch is a
 * header and its records, each a multiple of 8 bytes, so that every header begins at a multiple of 8.
 *
 *      batch header, 64 bytes
 *      0        4        8   9  10      12       16               24              32
 *      ┌────────┬────────┬───┬──┬───────┬────────┬────────────────┬───────────────┬───────────────┐
 *      │ magic  │ header │ver│ 0│   0   │ record │    segment     │     batch     │  own offset   │
 *      │ 'OSLB' │  crc32 │ 1 │  │       │ count  │     number     │    number     │ in the file   │
 *      └────────┴────────┴───┴──┴───────┴────────┴────────────────┴───────────────┴───────────────┘
 *      40               48               56       60      64
 *      ┌────────────────┬────────────────┬────────┬────────┐   header crc32: bytes 8 to 64
 *      │   syncedUpTo   │   syncedUpTo   │  body  │records │   records crc32: over the header checksums of the
 *      │    segment     │     offset     │ length │ crc32  │   batch's records in order, 4 bytes each
 *      └────────────────┴────────────────┴────────┴────────┘
 *
 *      record header, 32 bytes
 *      0        4        8        12   13     14  16            24       28      32
 *      ┌────────┬────────┬────────┬────┬──────┬───┬─────────────┬────────┬────────┐   header crc32: bytes 4 to 32
 *      │ header │  body  │ group  │kind│ flags│ 0 │ first index │ count  │  body  │   body crc32: the whole body,
 *      │  crc32 │  crc32 │ number │    │      │   │             │        │ length │   padding included
 *      └────────┴────────┴────────┴────┴──────┴───┴─────────────┴────────┴────────┘
 */
export const formatVersion = 1
export const batchHeaderBytes = 64
export const recordHeaderBytes = 32
/** Bytes of one entry's row at the front of an entries body: term u64, kind u32, data length u32. */
export const entryRowBytes = 16
export const batchMagic = 0x424c534f // 'OSLB'
/** Record flag of `state`: the group's replica was already found damaged; its entries are gone for good. */
export const damagedFlag = 1

/** A replica of a group on this node. `uid` is the group's name and the config number of its join ('g1@12'). */
export interface GroupKey {
  readonly uid: string
  readonly replica: number
}

export interface LogPosition {
  readonly segment: number
  readonly offset: number
}

export const RecordKind = {
  /** Gives a group number its key. Comes before the group's first record. */
  name: 1,
  /** Entries `first` to `first + count - 1`; drops what the group had from `first` on. */
  entries: 2,
  /** The same bytes, but sets exactly its own indexes and never truncates. */
  rewritten: 3,
  hardState: 4,
  /** Entries at and below `first` are not needed any more; its body is their last term. */
  truncation: 5,
  /** Everything is discarded, the log starts behind (`first`, term). */
  reset: 6,
  /** First in each segment, one for each group: all that the log knows of it but its entries. */
  state: 7,
  /** The group was removed. */
  tombstone: 8,
} as const
export type RecordKind = (typeof RecordKind)[keyof typeof RecordKind]

export interface BatchHeader {
  readonly version: number
  readonly records: number
  readonly segment: number
  readonly batch: number
  readonly offset: number
  readonly syncedUpTo: LogPosition
  readonly bodyLength: number
  readonly recordsChecksum: number
}

export interface RecordHeader {
  readonly checksum: number
  readonly bodyChecksum: number
  readonly group: number
  readonly kind: number
  readonly flags: number
  readonly first: number
  readonly count: number
  readonly bodyLength: number
}

/** Body of a `state` record. Invariant: `truncatedIndex` <= `lastIndex`. */
export interface StateBody {
  readonly key: GroupKey
  readonly hardState: HardState
  readonly truncatedIndex: number
  readonly truncatedTerm: number
  readonly lastIndex: number
}

export function padded(length: number): number {
  return Math.ceil(length / 8) * 8
}

export function segmentName(number: number): string {
  return `${String(number).padStart(16, '0')}.log`
}

/** The number in a segment's file name, undefined for any other name. */
export function segmentNumber(name: string): number | undefined {
  return /^\d{16}\.log$/.test(name) ? Number(name.slice(0, 16)) : undefined
}

/** Negative, 0 or positive as `a` lies before, at or behind `b`. */
export function comparePositions(a: LogPosition, b: LogPosition): number {
  return a.segment - b.segment || a.offset - b.offset
}

export function writeBatchHeader(target: Uint8Array, header: BatchHeader): void {
  target.fill(0, 0, batchHeaderBytes)
  writeU32(target, 0, batchMagic)
  target[8] = header.version
  writeU32(target, 12, header.records)
  writeU64(target, 16, header.segment)
  writeU64(target, 24, header.batch)
  writeU64(target, 32, header.offset)
  writeU64(target, 40, header.syncedUpTo.segment)
  writeU64(target, 48, header.syncedUpTo.offset)
  writeU32(target, 56, header.bodyLength)
  writeU32(target, 60, header.recordsChecksum)
  writeU32(target, 4, crc32(target.subarray(8, batchHeaderBytes)))
}

/** The header at `at`, undefined where the bytes are no whole header. Of another version than `formatVersion` only the version holds. */
export function readBatchHeader(bytes: Uint8Array, at = 0): BatchHeader | undefined {
  if (at + batchHeaderBytes > bytes.length || readU32(bytes, at) !== batchMagic) return undefined
  if (readU32(bytes, at + 4) !== crc32(bytes.subarray(at + 8, at + batchHeaderBytes))) return undefined
  return {
    version: bytes[at + 8] as number,
    records: readU32(bytes, at + 12),
    segment: readU64(bytes, at + 16),
    batch: readU64(bytes, at + 24),
    offset: readU64(bytes, at + 32),
    syncedUpTo: { segment: readU64(bytes, at + 40), offset: readU64(bytes, at + 48) },
    bodyLength: readU32(bytes, at + 56),
    recordsChecksum: readU32(bytes, at + 60),
  }
}

/** Fills the header at the front of `target`; returns its checksum. */
export function writeRecordHeader(target: Uint8Array, header: Omit<RecordHeader, 'checksum'>): number {
  writeU32(target, 4, header.bodyChecksum)
  writeU32(target, 8, header.group)
  target[12] = header.kind
  target[13] = header.flags
  target[14] = 0
  target[15] = 0
  writeU64(target, 16, header.first)
  writeU32(target, 24, header.count)
  writeU32(target, 28, header.bodyLength)
  const checksum = crc32(target.subarray(4, recordHeaderBytes))
  writeU32(target, 0, checksum)
  return checksum
}

/** The header at `at`, undefined where its checksum does not hold. */
export function readRecordHeader(bytes: Uint8Array, at = 0): RecordHeader | undefined {
  if (at + recordHeaderBytes > bytes.length) return undefined
  const checksum = readU32(bytes, at)
  if (checksum !== crc32(bytes.subarray(at + 4, at + recordHeaderBytes))) return undefined
  return {
    checksum,
    bodyChecksum: readU32(bytes, at + 4),
    group: readU32(bytes, at + 8),
    kind: bytes[at + 12] as number,
    flags: bytes[at + 13] as number,
    first: readU64(bytes, at + 16),
    count: readU32(bytes, at + 24),
    bodyLength: readU32(bytes, at + 28),
  }
}

export function writeEntryRow(target: Uint8Array, at: number, entry: Entry): void {
  writeU64(target, at, entry.term)
  writeU32(target, at + 8, entry.kind)
  writeU32(target, at + 12, entry.data.length)
}

/** Body of a `name` record. */
export function nameBody(key: GroupKey): Uint8Array {
  const uid = utf8(key.uid)
  const body = new Uint8Array(padded(12 + uid.length))
  writeU64(body, 0, key.replica)
  writeU32(body, 8, uid.length)
  body.set(uid, 12)
  return body
}

export function readNameBody(body: Uint8Array): GroupKey {
  const length = readU32(body, 8)
  return { replica: readU64(body, 0), uid: utf8Text(body.subarray(12, 12 + length)) }
}

export function hardStateBody(hardState: HardState): Uint8Array {
  const body = new Uint8Array(24)
  writeU64(body, 0, hardState.term)
  writeU64(body, 8, hardState.vote)
  writeU64(body, 16, hardState.commit)
  return body
}

export function readHardStateBody(body: Uint8Array): HardState {
  return { term: readU64(body, 0), vote: readU64(body, 8), commit: readU64(body, 16) }
}

/** Body of a `truncation` or `reset` record. */
export function termBody(term: number): Uint8Array {
  const body = new Uint8Array(8)
  writeU64(body, 0, term)
  return body
}

export function stateBody(state: StateBody): Uint8Array {
  const name = nameBody(state.key)
  const body = new Uint8Array(48 + name.length)
  body.set(hardStateBody(state.hardState), 0)
  writeU64(body, 24, state.truncatedIndex)
  writeU64(body, 32, state.truncatedTerm)
  writeU64(body, 40, state.lastIndex)
  body.set(name, 48)
  return body
}

export function readStateBody(body: Uint8Array): StateBody {
  return {
    hardState: readHardStateBody(body),
    truncatedIndex: readU64(body, 24),
    truncatedTerm: readU64(body, 32),
    lastIndex: readU64(body, 40),
    key: readNameBody(body.subarray(48)),
  }
}
