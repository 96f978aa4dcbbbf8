import { ByteReader, ByteWriter, readU32, utf8, utf8Text, writeU32 } from '../base/bytes.ts'
import { crc32 } from '../base/checksum.ts'
import { CorruptionError } from '../base/errors.ts'
import type { FileEntry } from '../raft/file-set.ts'
import { digestBytes } from './record-digest.ts'

/** A table of an export. */
export interface ExportFile extends FileEntry {
  /** Counted from 0, the oldest: where several runs hold a key, the last one's counts. Tables of one run do not overlap. */
  readonly run: number
}

/**
 * What an export is, written last into its folder; also the description of the set of files that other replicas pull:
 *
 *      0         4
 *      ┌─────────┬───────────────┬────┬─────────┬─────┬───────┬────────┬────────┬─────────┬───────┬───────┐
 *      │ crc32 of│ format u8 = 2 │ id │ attempt │ cut │ count │ shards │ digest │ records │ count │ files │
 *      │ the rest│               │    │         │     │       │        │ 16 B   │         │       │       │
 *      └─────────┴───────────────┴────┴─────────┴─────┴───────┴────────┴────────┴─────────┴───────┴───────┘
 *      a file    [length][name, UTF-8][size][crc32][run]
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
  /** `RecordDigest` of all records that are visible at the cut. */
  readonly digest: Uint8Array
  /** Of the digest. */
  readonly records: number
  /** Tables, oldest run first, ascending within one. */
  readonly files: readonly ExportFile[]
}

const listFormat = 2

export function encodeExportList(list: ExportList): Uint8Array {
  const writer = new ByteWriter(256)
  writer.u32(0)
  writer.u8(listFormat)
  for (const number of [list.id, list.attempt, list.cut, list.shards.length, ...list.shards]) writer.varint(number)
  writer.raw(list.digest)
  writer.varint(list.records)
  writer.varint(list.files.length)
  for (const { name, size, checksum, run } of list.files) {
    writer.bytes(utf8(name))
    for (const number of [size, checksum, run]) writer.varint(number)
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
    const files = readMany(reader, () => readFileEntry(reader))
    mustCountUp(files)
    if (!reader.done) throw new RangeError('bytes behind the end')
    return { id, attempt, cut, shards, digest, records, files }
  } catch (error) {
    throw new CorruptionError(file, undefined, `damaged list of an export: ${error instanceof Error ? error.message : String(error)}`)
  }
}

/** The files' names by run, oldest first. */
export function runsOf({ files }: ExportList): string[][] {
  const runs: string[][] = []
  for (const { name, run } of files) {
    const names = runs[run]
    if (names === undefined) runs[run] = [name]
    else names.push(name)
  }
  return runs
}

/** RangeError where runs are left out, or their files mixed. */
function mustCountUp(files: readonly ExportFile[]): void {
  let last = -1
  for (const { run } of files) {
    if (run !== last && run !== last + 1) throw new RangeError('runs out of order')
    last = run
  }
}

function readFileEntry(reader: ByteReader): ExportFile {
  return { name: utf8Text(reader.bytes()), size: reader.varint(), checksum: reader.varint(), run: reader.varint() }
}

function readMany<T>(reader: ByteReader, read: () => T): T[] {
  const count = reader.varint()
  const list: T[] = []
  for (let i = 0; i < count; i++) list.push(read())
  return list
}
