import { ByteReader, copyBytes, copyRange, emptyBytes, readU64, utf8Text } from '../base/bytes.ts'
import { type BlockKind, CorruptionError } from '../base/errors.ts'
import type { File, FileSystem } from '../base/file-system.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import { type BlockCache, notCached } from './block-cache.ts'
import { BlockLookup } from './block-lookup.ts'
import { bloomMayHold, bloomOfAll, isBloom } from './bloom.ts'
import { kindTombstone, kindValue, tombstone } from './kind.ts'
import { SpareMemory } from './spare-memory.ts'
import type { TableFiles } from './table-files.ts'
import {
  blockTrailerBytes,
  decodeFooter,
  type Footer,
  type FooterHandle,
  footerBytes,
  isCompressed,
  verifyBlock,
  verifyDataBlock,
} from './table-format.ts'
import { TableIndex } from './table-index.ts'
import type { WrittenTable } from './table-metadata.ts'

/** Who copies a block out of the cache: payload is block[start, end). */
export interface BlockTaker {
  take(block: Uint8Array, start: number, end: number): void
}

/** What the manifest knows of a table. */
export type ExpectedTable = Pick<WrittenTable, 'size' | 'entries' | 'tombstones' | 'maxSequence'>

// A lookup runs to its end without a pause, so one serves all.
const lookup = new BlockLookup()
/** What a thread keeps for it at most. */
const scratchMax = 1024 * 1024
/** Where a block is read that the cache does not take. */
let scratch: Uint8Array = emptyBytes
/** Where the index of a table lies until it is decoded. */
const indexMemory = new SpareMemory(512 * 1024)

/**
 * An open table. Index and filter stay in memory; data blocks come through the cache, or by read-ahead where there is none: such a reader is for one pass over
 * the table, and leaves the filter, which only lookups need, on the disk.
 */
export class TableReader {
  readonly path: string
  readonly size: number
  /** Where the data blocks end. */
  readonly dataEnd: number
  readonly properties: ReadonlyMap<string, Uint8Array>
  readonly #file: File
  readonly #index: TableIndex
  readonly #filter: Uint8Array
  readonly #cache: BlockCache | undefined
  /** By block: its id in the cache, or `notCached`. Empty without a cache. */
  readonly #cached: Int32Array
  readonly #loading = new Map<number, Promise<Uint8Array>>()
  #closed = false

  private constructor(
    file: File,
    size: number,
    footer: Footer,
    index: TableIndex,
    filter: Uint8Array,
    properties: ReadonlyMap<string, Uint8Array>,
    cache: BlockCache | undefined,
  ) {
    this.path = file.path
    this.size = size
    this.dataEnd = footer.filter.offset
    this.#file = file
    this.#index = index
    this.#filter = filter
    this.properties = properties
    this.#cache = cache
    this.#cached = new Int32Array(cache === undefined ? 0 : index.count).fill(notCached)
  }

  /**
   * With `files` the reader's file is one of these. Throws CorruptionError, also where the file is
   * a table but not the one `expected`.
   */
  static async open(
    fileSystem: FileSystem,
    path: string,
    cache: BlockCache | undefined,
    expected: ExpectedTable | undefined,
    files?: TableFiles,
  ): Promise<TableReader> {
    const file = await (files?.open(fileSystem, path) ?? fileSystem.open(path, 'read'))
    try {
      const size = await file.size()
      if (size < footerBytes) throw new CorruptionError(path, 0, `a table of ${size} bytes`)
      const footer = decodeFooter(await readRange(file, size - footerBytes, footerBytes, 'footer'), path, size - footerBytes)
      const filter = cache === undefined ? bloomOfAll : await readBlock(file, footer.filter)
      const index = await readIndex(file, footer)
      const properties = await readBlock(file, footer.properties)
      return TableReader.#of(file, size, footer, filter, index, properties, cache, expected)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** `open` at once, of a table that the manifest knows. */
  static openSync(fileSystem: FileSystem, path: string, cache: BlockCache, expected: ExpectedTable, files: TableFiles): TableReader {
    const file = files.openSync(fileSystem, path)
    try {
      const start = expected.size - footerBytes
      // One byte more: a longer file is another table.
      const end = new Uint8Array(footerBytes + 1)
      const count = file.readSync(end, start)
      if (count !== footerBytes) throw new CorruptionError(path, undefined, `another table: size is not ${expected.size}`)
      const footer = decodeFooter(end.subarray(0, footerBytes), path, start)
      const filter = readBlockSync(file, footer.filter)
      const index = decodedIndex(readBlockSync(file, footer.index), path, footer)
      const properties = readBlockSync(file, footer.properties)
      return TableReader.#of(file, expected.size, footer, filter, index, properties, cache, expected)
    } catch (error) {
      file.close().catch(() => undefined)
      throw error
    }
  }

  static #of(
    file: File,
    size: number,
    footer: Footer,
    filter: Uint8Array,
    index: TableIndex,
    properties: Uint8Array,
    cache: BlockCache | undefined,
    expected: ExpectedTable | undefined,
  ): TableReader {
    const { path } = file
    if (!isBloom(filter)) throw new CorruptionError(path, footer.filter.offset, 'malformed filter', 'filter')
    const decoded = decodeProperties(properties, path, footer.properties.offset)
    const reader = new TableReader(file, size, footer, index, filter, decoded, cache)
    if (expected !== undefined) reader.#mustBe(expected)
    return reader
  }

  /** Throws CorruptionError where the table does not have it. */
  property(name: string): Uint8Array {
    const value = this.properties.get(name)
    if (value === undefined) throw new CorruptionError(this.path, undefined, `no property '${name}'`)
    return value
  }

  numberProperty(name: string): number {
    const value = this.property(name)
    const number = value.length === 8 ? readU64(value, 0) : Number.NaN
    if (Number.isNaN(number)) throw new CorruptionError(this.path, undefined, `property '${name}' is no number`)
    return number
  }

  get blocks(): number {
    return this.#index.count
  }

  blockOffset(index: number): number {
    return this.#index.offset(index)
  }

  /** On disk, without the trailer. */
  blockLength(index: number): number {
    return this.#index.length(index)
  }

  get isCached(): boolean {
    return this.#cache !== undefined
  }

  /** The first block that may hold a key >= bytes[start, end); `blocks` where there is none. */
  findBlock(bytes: Uint8Array, start: number, end: number): number {
    return this.#index.find(bytes, start, end)
  }

  /** On disk, of the data blocks that may hold keys of [lower, upper). */
  bytesBetween(lower: Uint8Array, upper: Uint8Array): number {
    const index = this.#index
    const first = this.findBlock(lower, 0, lower.length)
    const last = Math.min(this.findBlock(upper, 0, upper.length), index.count - 1)
    if (first > last) return 0
    return index.offset(last) + index.length(last) + blockTrailerBytes - index.offset(first)
  }

  /** A copy of the newest value of `key`, `tombstone`, or undefined where the table says nothing. `hash`: its `bloomHash`. */
  get(key: Uint8Array, hash: number): MaybePromise<Uint8Array | undefined> {
    if (!bloomMayHold(this.#filter, hash)) return undefined
    const index = this.#index.find(key, 0, key.length)
    if (index === this.#index.count) return undefined
    const id = this.#cached[index] ?? notCached
    if (id !== notCached) return this.#findCached(id, index, key)
    const turn = this.#file.nextTurn?.()
    if (turn !== undefined) {
      const kept = copyBytes(key)
      return turn.then(() => this.get(kept, hash))
    }
    const block = this.load(index)
    if (block instanceof Promise) {
      // The caller's bytes are the caller's again when this returns.
      const kept = copyBytes(key)
      return block.then((loaded) => this.#find(loaded, 0, loaded.length, index, kept))
    }
    return this.#find(block, 0, block.length, index, key)
  }

  /** `get` at once, however long the disk takes. */
  getSync(key: Uint8Array, hash: number): Uint8Array | undefined {
    if (!bloomMayHold(this.#filter, hash)) return undefined
    const index = this.#index.find(key, 0, key.length)
    if (index === this.#index.count) return undefined
    const id = this.#cached[index] ?? notCached
    if (id !== notCached) return this.#findCached(id, index, key)
    const block = this.#loadAtOnce(index, true) as Uint8Array
    return this.#find(block, 0, block.length, index, key)
  }

  /** The payload of a data block that is not in the cache, which then has it. A view: not a promise, it holds until the next block is read. */
  load(index: number): MaybePromise<Uint8Array> {
    return this.#loading.get(index) ?? this.#loadAtOnce(index, false) ?? this.#loadSlowly(index)
  }

  /** Hands a block that is in the cache to `taker`; whether it is. `isRead`: it counts as read again. */
  copyCached(index: number, isRead: boolean, taker: BlockTaker): boolean {
    const id = this.#cached[index] ?? notCached
    if (id === notCached) return false
    const cache = this.#cache as BlockCache
    if (isRead) cache.touch(id)
    taker.take(cache.buffer(id), cache.start(id), cache.end(id))
    return true
  }

  /** Fills `target` from `offset` of the file, if that can be had without waiting. Where not: `readRange`. */
  readRangeNow(target: Uint8Array, offset: number): boolean {
    return this.#file.readNow(target, offset) === target.length
  }

  /** Fills `target` from `offset` of the file. */
  async readRange(target: Uint8Array, offset: number): Promise<void> {
    mustBeWhole(target, await this.#file.read(target, offset), this.#file, offset, 'data')
  }

  evict(index: number): void {
    this.#cached[index] = notCached
  }

  /** Nobody reads any more. */
  async close(): Promise<void> {
    this.#closed = true
    for (const id of this.#cached) if (id !== notCached) this.#cache?.remove(id)
    this.#cached.fill(notCached)
    await this.#file.close()
  }

  #mustBe(expected: ExpectedTable): void {
    const found = {
      size: this.size,
      entries: this.numberProperty('entries'),
      tombstones: this.numberProperty('tombstones'),
      maxSequence: this.numberProperty('maxSequence'),
    }
    for (const name of ['size', 'entries', 'tombstones', 'maxSequence'] as const) {
      if (found[name] !== expected[name]) {
        throw new CorruptionError(this.path, undefined, `another table: ${name} is ${found[name]}, not ${expected[name]}`)
      }
    }
  }

  #findCached(id: number, index: number, key: Uint8Array): Uint8Array | undefined {
    const cache = this.#cache as BlockCache
    cache.touch(id)
    return this.#find(cache.buffer(id), cache.start(id), cache.end(id), index, key)
  }

  #find(block: Uint8Array, start: number, end: number, index: number, key: Uint8Array): Uint8Array | undefined {
    if (!lookup.find(block, start, end, key, this.path, this.#index.offset(index))) return undefined
    checkKind(lookup.kind, this.path, this.#index.offset(index))
    return lookup.kind === kindTombstone ? tombstone : copyRange(block, lookup.valueStart, lookup.valueEnd)
  }

  /** `mayWait`: however long the disk takes; else undefined where it might take long. */
  #loadAtOnce(index: number, mayWait: boolean): Uint8Array | undefined {
    const offset = this.#index.offset(index)
    const bytes = this.#index.length(index) + blockTrailerBytes
    const reserved = this.#cache?.reserve(bytes)
    const target = reserved ?? scratchOf(bytes)
    const count = mayWait ? this.#file.readSync(target, offset) : this.#file.readNow(target, offset)
    if (count === undefined) return undefined
    mustBeWhole(target, count, this.#file, offset, 'data')
    const block = verifyDataBlock(target, this.path, offset)
    // One that was compressed has used that room for what is gone now.
    if (isCompressed(target)) this.#keepCopy(index, block)
    else if (reserved !== undefined && this.#isWanted(index)) {
      this.#cached[index] = (this.#cache as BlockCache).keep(this, index, block.length)
    }
    return block
  }

  #loadSlowly(index: number): Promise<Uint8Array> {
    const loading = this.#readBlock(index)
    this.#loading.set(index, loading)
    return loading
  }

  /** In memory of its own: others read blocks before those who wait for it go on. */
  async #readBlock(index: number): Promise<Uint8Array> {
    const offset = this.#index.offset(index)
    try {
      const bytes = new Uint8Array(this.#index.length(index) + blockTrailerBytes)
      mustBeWhole(bytes, await this.#file.read(bytes, offset), this.#file, offset, 'data')
      const block = verifyDataBlock(bytes, this.path, offset)
      this.#keepCopy(index, block)
      return block
    } finally {
      // Later than `#loadSlowly` has set it, also where nothing was waited for.
      await undefined
      this.#loading.delete(index)
    }
  }

  /** The cache gets a copy of a block that lies in memory of its own. */
  #keepCopy(index: number, block: Uint8Array): void {
    const reserved = this.#isWanted(index) ? this.#cache?.reserve(block.length) : undefined
    if (reserved === undefined) return
    reserved.set(block)
    this.#cached[index] = (this.#cache as BlockCache).keep(this, index, block.length)
  }

  /** A block may come twice: by `getSync` while another read is under way. */
  #isWanted(index: number): boolean {
    return !this.#closed && this.#cached[index] === notCached
  }
}

/** Throws where this version cannot read entries of `kind`. */
export function checkKind(kind: number, file: string, offset: number): void {
  if (kind !== kindValue && kind !== kindTombstone) throw new CorruptionError(file, offset, `unknown kind ${kind} of entry`, 'data')
}

async function readRange(file: File, offset: number, length: number, block: BlockKind): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  mustBeWhole(bytes, await file.read(bytes, offset), file, offset, block)
  return bytes
}

/** Throws where fewer than all of `bytes` could be read. */
function mustBeWhole(bytes: Uint8Array, count: number, file: File, offset: number, block: BlockKind): void {
  if (count < bytes.length) throw new CorruptionError(file.path, offset, `ends ${bytes.length - count} bytes too early`, block)
}

async function readBlock(file: File, handle: FooterHandle): Promise<Uint8Array> {
  return verifyBlock(await readRange(file, handle.offset, handle.length + blockTrailerBytes, handle.block), file.path, handle)
}

async function readIndex(file: File, footer: Footer): Promise<TableIndex> {
  const { offset, length } = footer.index
  const memory = indexMemory.take(length + blockTrailerBytes)
  try {
    const raw = memory.subarray(0, length + blockTrailerBytes)
    mustBeWhole(raw, await file.read(raw, offset), file, offset, 'index')
    return decodedIndex(verifyBlock(raw, file.path, footer.index), file.path, footer)
  } finally {
    indexMemory.give(memory)
  }
}

function decodedIndex(block: Uint8Array, path: string, footer: Footer): TableIndex {
  return TableIndex.decode(block, path, footer.index.offset, footer.filter.offset)
}

function readBlockSync(file: File, handle: FooterHandle): Uint8Array {
  const bytes = new Uint8Array(handle.length + blockTrailerBytes)
  mustBeWhole(bytes, file.readSync(bytes, handle.offset), file, handle.offset, handle.block)
  return verifyBlock(bytes, file.path, handle)
}

function scratchOf(bytes: number): Uint8Array {
  if (bytes > scratchMax) return new Uint8Array(bytes)
  if (scratch.length < bytes) scratch = new Uint8Array(Math.max(bytes, 2 * scratch.length))
  return scratch.subarray(0, bytes)
}

/** The properties of a table, whose block is `block`. */
export function decodeProperties(block: Uint8Array, path: string, offset: number): Map<string, Uint8Array> {
  const properties = new Map<string, Uint8Array>()
  try {
    const reader = new ByteReader(block)
    while (!reader.done) {
      const name = utf8Text(reader.bytes())
      properties.set(name, copyBytes(reader.bytes()))
    }
  } catch {
    throw new CorruptionError(path, offset, 'malformed properties', 'properties')
  }
  return properties
}
