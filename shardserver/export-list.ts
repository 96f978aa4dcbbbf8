import { ByteReader, ByteWriter, readU32, utf8, utf8Text, writeU32 } from '../base/bytes.ts'
import { crc32 } from '../base/checksum.ts'
import { CorruptionError } from '../base/errors.ts'
import type { FileEntry } from '../raft/file-set.ts'
import { digestBytes } from './migration-entry.ts'

/**
 * What an export is, written last into its folder; also the description of the set of files that other replicas pull:
 *
 *      0         4
 *      ┌─────────┬───────────────┬────┬─────────┬─────┬───────┬────────┬────────┬─────────┬───────┬───────┐
 *      │ crc32 of│ format u8 = 1 │ id │ attempt │ cut │ count │ shards │ digest │ records │ count │ files │
 *      │ the rest│               │    │         │     │       │        │ 16 B   │         │       │       │
 *      └─────────┴───────────────┴────┴─────────┴─────┴───────┴────────┴────────┴─────────┴───────┴───────┘
 *      a file    [length][name, UTF-8][size][crc32]
 *
 * The checksum is little-endian, other numbers are varints.
 */
export interface ExportList {
  readonly id: number
  readonly attempt: number
  /** Index of the source's log. */
  readonly cut: number
  /** Ascending. */
  readonly shards: readonly number[]
  /** `RecordDigest` of all records. */
  readonly digest: Uint8Array
  readonly records: number
  /** Tables that do not overlap. */
  readonly files: readonly FileEntry[]
}

const listFormat = 1

export function encodeExportList(list: ExportList): Uint8Array {
  const writer = new ByteWriter(256)
  writer.u32(0)
  writer.u8(listFormat)
  for (const number of [list.id, list.attempt, list.cut, list.shards.length, ...list.shards]) writer.varint(number)
  writer.raw(list.digest)
  writer.varint(list.records)
  writer.varint(list.files.length)
  for (const { name, size, checksum } of list.files) {
    writer.bytes(utf8(name))
    writer.varint(size)
    writer.varint(checksum)
  }
  const bytes = writer.finish()
  writeU32(bytes, 0, crc32(bytes.subarray(4)))
  return bytes
}

/** CorruptionError, naming `file`, on what is no list. */
export function decodeExportList(bytes: Uint8Array, file: string): ExportList {
  try {
    if (bytes.length < 5 || readU32(bytes, 0) !== crc32(bytes.subarray(4))) throw new RangeError('checksum')
    const reader = new ByteReader(bytes, 4)
    const format = reader.u8()
    if (format !== listFormat) throw new RangeError(`unknown format ${format}`)
    const id = reader.varint()
    const attempt = reader.varint()
    const cut = reader.varint()
    const shards = readMany(reader, () => reader.varint())
    const digest = Uint8Array.from(reader.raw(digestBytes))
    const records = reader.varint()
    const files = readMany(reader, () => ({ name: utf8Text(reader.bytes()), size: reader.varint(), checksum: reader.varint() }))
    if (!reader.done) throw new RangeError('bytes behind the end')
    return { id, attempt, cut, shards, digest, records, files }
  } catch (error) {
    throw new CorruptionError(file, undefined, `damaged list of an export: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function readMany<T>(reader: ByteReader, read: () => T): T[] {
  const count = reader.varint()
  const list: T[] = []
  for (let i = 0; i < count; i++) list.push(read())
  return list
}
