import { ByteReader, ByteWriter, compareBytes, copyBytes } from '../base/bytes.ts'
import { CorruptionError, NewerFormatError } from '../base/errors.ts'
import type { KeyRange } from './kind.ts'
import { levelCount, type TableMetadata } from './table-metadata.ts'
import { Version } from './version.ts'

/**
 * A step from one durable state to the next: one record of the manifest.
 *
 *     version u8 (1) │ field …        field = tag u8 │ length varint │ content
 *
 *     1 next number    varint            4 mark     bytes
 *     2 last sequence  varint            5 dropped  table's id varint
 *     3 log number     varint            6 added    id, file, level, order, size, checksum, entries, tombstones, maxSequence,
 *     7 closed log     number, end varint           clipped (0 or 1) as varints, lower and upper as length and bytes
 *
 * A reader refuses tags and versions that it does not know. The first record of a manifest holds the whole state.
 */
export interface VersionEdit {
  /** Numbers of files, ids and orders below this are taken. Only rises. */
  readonly nextNumber?: number
  /** All sequence numbers up to this are taken. Only rises. */
  readonly lastSequence?: number
  /** Logs with a lower number hold nothing that is not in tables. Only rises. */
  readonly logNumber?: number
  /** Counts as long as that log does. */
  readonly closedLog?: ClosedLog | undefined
  /** The caller's word for where the tables now stand. */
  readonly mark?: Uint8Array
  readonly dropped: readonly number[]
  readonly added: readonly TableMetadata[]
}

/** What a close left in a log and in no table: its records go to `end`. A log that a crash left says itself how far it was durable, which is the less. */
export interface ClosedLog {
  readonly number: number
  readonly end: number
}

/** What the manifest says. */
export interface DurableState {
  readonly version: Version
  readonly nextNumber: number
  readonly lastSequence: number
  readonly logNumber: number
  readonly closedLog: ClosedLog | undefined
  readonly mark: Uint8Array | undefined
}

export const emptyState: DurableState = {
  version: Version.empty,
  nextNumber: 1,
  lastSequence: 0,
  logNumber: 0,
  closedLog: undefined,
  mark: undefined,
}

const editVersion = 1

export function encodeEdit(edit: VersionEdit): Uint8Array {
  const writer = new ByteWriter()
  const content = new ByteWriter()
  const field = (tag: number) => {
    writer.u8(tag)
    writer.bytes(content.view())
    content.clear()
  }
  const number = (tag: number, value: number | undefined) => {
    if (value === undefined) return
    content.varint(value)
    field(tag)
  }
  writer.u8(editVersion)
  number(1, edit.nextNumber)
  number(2, edit.lastSequence)
  number(3, edit.logNumber)
  if (edit.closedLog !== undefined) {
    content.varint(edit.closedLog.number)
    content.varint(edit.closedLog.end)
    field(7)
  }
  if (edit.mark !== undefined) {
    content.raw(edit.mark)
    field(4)
  }
  for (const id of edit.dropped) number(5, id)
  for (const table of edit.added) {
    const { id, file, level, order, size, checksum, entries, tombstones, maxSequence, clipped } = table
    for (const value of [id, file, level, order, size, checksum, entries, tombstones, maxSequence, clipped ? 1 : 0]) content.varint(value)
    content.bytes(table.lower)
    content.bytes(table.upper)
    field(6)
  }
  return writer.finish()
}

/** `file` and `offset` are for the CorruptionError. */
export function decodeEdit(bytes: Uint8Array, file: string, offset: number): VersionEdit {
  const edit: { -readonly [K in keyof VersionEdit]: VersionEdit[K] } & { dropped: number[]; added: TableMetadata[] } = {
    dropped: [],
    added: [],
  }
  const version = bytes[0] ?? editVersion
  if (version !== editVersion) {
    throw new NewerFormatError(file, offset, `version edit format ${version}, this version reads ${editVersion}`)
  }
  try {
    const reader = new ByteReader(bytes)
    reader.u8()
    while (!reader.done) {
      const tag = reader.u8()
      const content = reader.bytes()
      const inner = new ByteReader(content)
      if (tag === 1) edit.nextNumber = inner.varint()
      else if (tag === 2) edit.lastSequence = inner.varint()
      else if (tag === 3) edit.logNumber = inner.varint()
      else if (tag === 4) edit.mark = copyBytes(content)
      else if (tag === 5) edit.dropped.push(inner.varint())
      else if (tag === 6) edit.added.push(decodeTable(inner))
      else if (tag === 7) edit.closedLog = { number: inner.varint(), end: inner.varint() }
      else throw new RangeError(`unknown field ${tag}`)
    }
  } catch (error) {
    throw new CorruptionError(file, offset, `malformed version edit: ${error instanceof Error ? error.message : error}`)
  }
  return edit
}

function decodeTable(reader: ByteReader): TableMetadata {
  const table = {
    id: reader.varint(),
    file: reader.varint(),
    level: reader.varint(),
    order: reader.varint(),
    size: reader.varint(),
    checksum: reader.varint(),
    entries: reader.varint(),
    tombstones: reader.varint(),
    maxSequence: reader.varint(),
    clipped: reader.varint() === 1,
    lower: copyBytes(reader.bytes()),
    upper: copyBytes(reader.bytes()),
  }
  if (table.level >= levelCount || compareBytes(table.lower, table.upper) >= 0) throw new RangeError('impossible table')
  return table
}

export function applyEdit(state: DurableState, edit: VersionEdit): DurableState {
  const logNumber = Math.max(state.logNumber, edit.logNumber ?? 0)
  const closedLog = edit.closedLog ?? state.closedLog
  const isOfTables = edit.dropped.length > 0 || edit.added.length > 0
  return {
    version: isOfTables ? state.version.edited(new Set(edit.dropped), edit.added) : state.version,
    nextNumber: Math.max(state.nextNumber, edit.nextNumber ?? 0),
    lastSequence: Math.max(state.lastSequence, edit.lastSequence ?? 0),
    logNumber,
    closedLog: closedLog !== undefined && closedLog.number >= logNumber ? closedLog : undefined,
    mark: edit.mark ?? state.mark,
  }
}

/** The edit that makes the whole of `state` out of nothing. */
export function wholeState(state: DurableState): VersionEdit {
  return {
    nextNumber: state.nextNumber,
    lastSequence: state.lastSequence,
    logNumber: state.logNumber,
    closedLog: state.closedLog,
    ...(state.mark === undefined ? {} : { mark: state.mark }),
    dropped: [],
    added: state.version.tables(),
  }
}

/** What an excise of `range` does to `version`: tables inside are dropped, those across an edge are clipped, in up to two parts. */
export function exciseTables(version: Version, range: KeyRange, newId: () => number): { dropped: TableMetadata[]; added: TableMetadata[] } {
  const dropped: TableMetadata[] = []
  const added: TableMetadata[] = []
  for (const table of version.levels.flatMap((_, level) => version.overlapping(level, range))) {
    dropped.push(table)
    if (range.lower !== undefined && compareBytes(table.lower, range.lower) < 0) {
      added.push({ ...table, id: newId(), upper: range.lower, clipped: true })
    }
    if (range.upper !== undefined && compareBytes(range.upper, table.upper) < 0) {
      added.push({ ...table, id: newId(), lower: range.upper, clipped: true })
    }
  }
  return { dropped, added }
}
