import { assert } from '../base/assert.ts'
import { ByteWriter, compareBytes, compareRanges, copyBytes, emptyBytes, keyAfter, utf8, writeU32, writeVarint } from '../base/bytes.ts'
import { crc32 } from '../base/checksum.ts'
import { type File, type FileSystem, joinPath } from '../base/file-system.ts'
import type { BlockBuilder } from './block.ts'
import { bloomBytes, bloomHash, buildBloom } from './bloom.ts'
import { type Compression, compress, compressionNone, compressionNumber } from './compression.ts'
import { kindTombstone, kindValue } from './kind.ts'
import { type BlockHandle, blockChecksum, blockTrailerBytes, encodeFooter } from './table-format.ts'
import { TableMemory } from './table-memory.ts'
import { tableName, type WrittenTable } from './table-metadata.ts'

export interface TableWriterOptions {
  readonly blockBytes: number
  readonly bloomBitsPerKey: number
  /** Of data blocks, each where it saves at least an eighth; default 'none'. */
  readonly compression?: Compression
}

export const defaultTableWriterOptions: TableWriterOptions = { blockBytes: 4096, bloomBitsPerKey: 10 }

const writeBytes = 256 * 1024

/** Writes one table. `add` in key order, `flush` whenever `wantsFlush`, then `finish`, which syncs the file (not its folder). */
export class TableWriter {
  readonly #file: File
  readonly #number: number
  readonly #options: TableWriterOptions
  /** Of data blocks. */
  readonly #compression: number
  readonly #memory: TableMemory
  // Of it:
  readonly #data: BlockBuilder
  readonly #index: BlockBuilder
  readonly #pending: ByteWriter
  /** Bytes handed to the file. */
  #written = 0
  #checksum = 0
  #entries = 0
  #tombstones = 0
  #maxSequence = 0
  #lower: Uint8Array = emptyBytes
  /** A finished data block whose index entry waits for the first key behind it. */
  #lastBlock: { key: Uint8Array; offset: number; length: number } | undefined

  private constructor(file: File, number: number, options: TableWriterOptions, compression: number, memory: TableMemory) {
    this.#file = file
    this.#number = number
    this.#options = options
    this.#compression = compression
    memory.clear()
    this.#memory = memory
    this.#data = memory.data
    this.#index = memory.index
    this.#pending = memory.pending
  }

  /** `memory` is this writer's until it is finished or given up. Throws RangeError where the compression cannot be had, and what the file system says. */
  static async create(
    fileSystem: FileSystem,
    path: string,
    number: number,
    options: TableWriterOptions,
    memory = new TableMemory(),
  ): Promise<TableWriter> {
    const compression = compressionNumber(options.compression ?? 'none')
    return new TableWriter(await fileSystem.open(path, 'create'), number, options, compression, memory)
  }

  get entries(): number {
    return this.#entries
  }

  /** Size so far. */
  get bytes(): number {
    return this.#written + this.#pending.length + (this.#data.entries > 0 ? this.#data.bytes : 0)
  }

  get wantsFlush(): boolean {
    return this.#pending.length >= writeBytes
  }

  add(
    key: Uint8Array,
    keyStart: number,
    keyEnd: number,
    kind: number,
    sequence: number,
    value: Uint8Array,
    valueStart: number,
    valueEnd: number,
  ): void {
    if (this.#entries === 0) this.#lower = key.slice(keyStart, keyEnd)
    else {
      const last = this.#data.lastKey
      assert(compareRanges(last, 0, last.length, key, keyStart, keyEnd) < 0, 'keys of a table rise')
    }
    if (this.#lastBlock !== undefined) this.#addIndexEntry(key.subarray(keyStart, keyEnd))
    this.#data.add(key, keyStart, keyEnd, kind, sequence, value, valueStart, valueEnd)
    this.#memory.setHash(this.#entries++, bloomHash(key, keyStart, keyEnd))
    if (kind === kindTombstone) this.#tombstones++
    if (sequence > this.#maxSequence) this.#maxSequence = sequence
    if (this.#data.bytes >= this.#options.blockBytes) this.#finishDataBlock()
  }

  async flush(): Promise<void> {
    const bytes = this.#pending.view()
    if (bytes.length === 0) return
    await this.#file.write([bytes], this.#written)
    this.#checksum = crc32(bytes, this.#checksum)
    this.#written += bytes.length
    this.#pending.clear()
  }

  /** At least one entry was added. */
  async finish(): Promise<WrittenTable> {
    assert(this.#entries > 0, 'a table holds entries')
    const upper = keyAfter(this.#data.lastKey)
    if (this.#data.entries > 0) this.#finishDataBlock()
    this.#addIndexEntry(undefined)
    await this.flush()
    const filter = this.#addBlock(this.#filter())
    const index = this.#addBlock(this.#index.finish())
    const properties = this.#addBlock(this.#properties(upper))
    this.#pending.raw(encodeFooter({ filter, index, properties }))
    await this.flush()
    await this.#file.sync()
    await this.#file.close()
    return {
      file: this.#number,
      size: this.#written,
      checksum: this.#checksum,
      lower: this.#lower,
      upper,
      entries: this.#entries,
      tombstones: this.#tombstones,
      maxSequence: this.#maxSequence,
    }
  }

  /** Gives the file up; its name stays. */
  async abort(): Promise<void> {
    await this.#file.close()
  }

  #filter(): Uint8Array {
    const { bloomBitsPerKey } = this.#options
    const memory = this.#memory
    return buildBloom(memory.hashes, this.#entries, bloomBitsPerKey, memory.filter(bloomBytes(this.#entries, bloomBitsPerKey)))
  }

  #finishDataBlock(): void {
    const key = copyBytes(this.#data.lastKey)
    const payload = this.#data.finish()
    const compressed = compress(this.#compression, payload)
    const block = compressed === undefined ? this.#addBlock(payload) : this.#addBlock(compressed, this.#compression)
    this.#lastBlock = { key, ...block }
  }

  #addIndexEntry(next: Uint8Array | undefined): void {
    const block = this.#lastBlock
    if (block === undefined) return
    const key = next === undefined ? block.key : separator(block.key, next)
    const value = new Uint8Array(20)
    const end = writeVarint(value, writeVarint(value, 0, block.offset), block.length)
    this.#index.add(key, 0, key.length, kindValue, 0, value, 0, end)
    this.#lastBlock = undefined
  }

  /** `stored`: the payload as `compression` makes it. */
  #addBlock(stored: Uint8Array, compression = compressionNone): BlockHandle {
    const offset = this.#written + this.#pending.length
    const start = this.#pending.length
    this.#pending.raw(stored)
    this.#pending.u8(compression)
    const sum = blockChecksum(this.#pending.view().subarray(start), offset)
    this.#pending.u32(sum)
    assert(this.#pending.length - start === stored.length + blockTrailerBytes, 'a block ends in its trailer')
    return { offset, length: stored.length }
  }

  #properties(upper: Uint8Array): Uint8Array {
    const writer = new ByteWriter()
    const number = (value: number) => {
      const bytes = new Uint8Array(8)
      writeU32(bytes, 0, value % 2 ** 32)
      writeU32(bytes, 4, Math.floor(value / 2 ** 32))
      return bytes
    }
    const properties: [string, Uint8Array][] = [
      ['entries', number(this.#entries)],
      ['tombstones', number(this.#tombstones)],
      ['maxSequence', number(this.#maxSequence)],
      ['lower', this.#lower],
      ['upper', upper],
    ]
    for (const [name, value] of properties) {
      writer.bytes(utf8(name))
      writer.bytes(value)
    }
    return writer.finish()
  }
}

/** A short key at or above `last` and below `next`. */
function separator(last: Uint8Array, next: Uint8Array): Uint8Array {
  let shared = 0
  while (shared < last.length && last[shared] === next[shared]) shared++
  if (shared < last.length && shared < next.length && (last[shared] as number) + 1 < (next[shared] as number)) {
    const short = last.slice(0, shared + 1)
    short[shared] = (short[shared] as number) + 1
    return short
  }
  return last
}

export interface TableEntry {
  readonly key: Uint8Array
  /** Undefined: a tombstone. */
  readonly value: Uint8Array | undefined
}

/**
 * Writes a table for `Database.ingest` from entries whose keys rise (RangeError otherwise, for no entries at all, and for a compression that cannot be had). The file is synced;
 * syncing the folder is the caller's.
 */
export async function writeTable(
  fileSystem: FileSystem,
  path: string,
  entries: Iterable<TableEntry> | AsyncIterable<TableEntry>,
  options: TableWriterOptions = defaultTableWriterOptions,
): Promise<WrittenTable> {
  const writer = await TableWriter.create(fileSystem, path, 0, options)
  try {
    let last: Uint8Array | undefined
    for await (const { key, value } of entries) {
      if (last !== undefined && compareBytes(last, key) >= 0) throw new RangeError('the keys of a table must rise')
      last = key
      writer.add(key, 0, key.length, value === undefined ? kindTombstone : kindValue, 0, value ?? emptyBytes, 0, value?.length ?? 0)
      if (writer.wantsFlush) await writer.flush()
    }
    if (writer.entries === 0) throw new RangeError('a table must hold entries')
    return await writer.finish()
  } catch (error) {
    await writer.abort().catch(() => undefined)
    await fileSystem.unlink(path).catch(() => undefined)
    throw error
  }
}

export function tablePath(folder: string, file: number): string {
  return joinPath(folder, tableName(file))
}
