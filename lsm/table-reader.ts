import { must } from '../base/assert.ts'
import { ByteReader, compareRanges, copyBytes, readU64, utf8Text } from '../base/bytes.ts'
import { CorruptionError } from '../base/errors.ts'
import type { File, FileSystem } from '../base/file-system.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import { BlockCursor } from './block.ts'
import type { BlockCache, CachedBlock } from './block-cache.ts'
import { bloomMayHold } from './bloom.ts'
import { kindTombstone, kindValue, tombstone } from './kind.ts'
import { type BlockHandle, blockTrailerBytes, decodeFooter, type Footer, footerBytes, verifyBlock } from './table-format.ts'
import type { WrittenTable } from './table-metadata.ts'

/** The index block in columns. */
interface TableIndex {
  readonly count: number
  readonly offsets: Float64Array
  readonly lengths: Uint32Array
  /** Separator i is keys[starts[i], starts[i + 1]). */
  readonly keys: Uint8Array
  readonly starts: Uint32Array
}

/** What the manifest knows of a table. */
export type ExpectedTable = Pick<WrittenTable, 'size' | 'entries' | 'tombstones' | 'maxSequence'>

const readAheadBytes = 256 * 1024
// `get` runs to its end without a pause, so one cursor serves all.
const cursor = new BlockCursor()

/** An open table. Index and filter stay in memory; data blocks come through the cache, or by read-ahead where there is none. */
export class TableReader {
  readonly path: string
  readonly size: number
  readonly properties: ReadonlyMap<string, Uint8Array>
  readonly #file: File
  readonly #index: TableIndex
  readonly #filter: Uint8Array
  readonly #cache: BlockCache | undefined
  readonly #cached: (CachedBlock | undefined)[]
  readonly #loading = new Map<number, Promise<Uint8Array>>()
  #ahead: Uint8Array = new Uint8Array(0)
  #aheadOffset = 0
  #closed = false

  private constructor(
    file: File,
    size: number,
    index: TableIndex,
    filter: Uint8Array,
    properties: ReadonlyMap<string, Uint8Array>,
    cache: BlockCache | undefined,
  ) {
    this.path = file.path
    this.size = size
    this.#file = file
    this.#index = index
    this.#filter = filter
    this.properties = properties
    this.#cache = cache
    this.#cached = new Array(cache === undefined ? 0 : index.count).fill(undefined)
  }

  /**
   * Without a cache the reader is for one pass over the table. Throws CorruptionError, also where the file is a table but not the one
   * `expected`.
   */
  static async open(
    fileSystem: FileSystem,
    path: string,
    cache: BlockCache | undefined,
    expected: ExpectedTable | undefined,
  ): Promise<TableReader> {
    const file = await fileSystem.open(path, 'read')
    try {
      const size = await file.size()
      if (size < footerBytes) throw new CorruptionError(path, 0, `a table of ${size} bytes`)
      const footer = decodeFooter(await readRange(file, size - footerBytes, footerBytes), path, size - footerBytes)
      const filter = await readBlock(file, footer.filter)
      const index = await readBlock(file, footer.index)
      const properties = await readBlock(file, footer.properties)
      return TableReader.#of(file, size, footer, filter, index, properties, cache, expected)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** `open` at once, of a table that the manifest knows. */
  static openSync(fileSystem: FileSystem, path: string, cache: BlockCache, expected: ExpectedTable): TableReader {
    const file = fileSystem.openSync(path)
    try {
      const start = expected.size - footerBytes
      // One byte more: a longer file is another table.
      const end = new Uint8Array(footerBytes + 1)
      const count = file.readSync(end, start)
      if (count !== footerBytes) throw new CorruptionError(path, undefined, `another table: size is not ${expected.size}`)
      const footer = decodeFooter(end.subarray(0, footerBytes), path, start)
      const [filter, index, properties] = [footer.filter, footer.index, footer.properties].map((handle) => readBlockSync(file, handle))
      return TableReader.#of(
        file,
        expected.size,
        footer,
        filter as Uint8Array,
        index as Uint8Array,
        properties as Uint8Array,
        cache,
        expected,
      )
    } catch (error) {
      void file.close()
      throw error
    }
  }

  static #of(
    file: File,
    size: number,
    footer: Footer,
    filter: Uint8Array,
    index: Uint8Array,
    properties: Uint8Array,
    cache: BlockCache | undefined,
    expected: ExpectedTable | undefined,
  ): TableReader {
    const { path } = file
    if (filter.length < 2) throw new CorruptionError(path, footer.filter.offset, 'malformed filter')
    const decoded = decodeProperties(properties, path, footer.properties.offset)
    const reader = new TableReader(file, size, decodeIndex(index, path, footer), filter, decoded, cache)
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
    return this.#index.offsets[index] as number
  }

  /** The first block that may hold a key >= bytes[start, end); `blocks` where there is none. */
  findBlock(bytes: Uint8Array, start: number, end: number): number {
    const { keys, starts, count } = this.#index
    let from = 0
    let to = count
    while (from < to) {
      const middle = (from + to) >>> 1
      if (compareRanges(keys, starts[middle] as number, starts[middle + 1] as number, bytes, start, end) < 0) from = middle + 1
      else to = middle
    }
    return from
  }

  /** Of the data blocks that may hold keys of [lower, upper). */
  bytesBetween(lower: Uint8Array, upper: Uint8Array): number {
    const { count, offsets, lengths } = this.#index
    const first = this.findBlock(lower, 0, lower.length)
    const last = Math.min(this.findBlock(upper, 0, upper.length), count - 1)
    if (first > last) return 0
    return (offsets[last] as number) + (lengths[last] as number) + blockTrailerBytes - (offsets[first] as number)
  }

  /** A copy of the newest value of `key`, `tombstone`, or undefined where the table says nothing. `hash`: its `bloomHash`. */
  get(key: Uint8Array, hash: number): MaybePromise<Uint8Array | undefined> {
    if (!bloomMayHold(this.#filter, hash)) return undefined
    const index = this.findBlock(key, 0, key.length)
    if (index === this.#index.count) return undefined
    const block = this.load(index, true)
    return block instanceof Promise ? block.then((bytes) => this.#find(bytes, index, key)) : this.#find(block, index, key)
  }

  /** `get` at once, however long the disk takes; not for a reader without a cache. */
  getSync(key: Uint8Array, hash: number): Uint8Array | undefined {
    if (!bloomMayHold(this.#filter, hash)) return undefined
    const index = this.findBlock(key, 0, key.length)
    return index === this.#index.count ? undefined : this.#find(this.#loadSync(index), index, key)
  }

  /** The payload of a data block. `hot`: not part of a scan. */
  load(index: number, hot: boolean): MaybePromise<Uint8Array> {
    if (this.#cache === undefined) return this.#loadAhead(index)
    const cached = this.#cached[index]
    if (cached !== undefined) {
      if (hot) cached.referenced = true
      return cached.bytes
    }
    return this.#loading.get(index) ?? this.#loadThrough(this.#cache, index, hot)
  }

  evict(index: number): void {
    this.#cached[index] = undefined
  }

  /** Nobody reads any more. */
  async close(): Promise<void> {
    this.#closed = true
    for (const block of this.#cached) if (block !== undefined) this.#cache?.remove(block)
    this.#cached.fill(undefined)
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

  #find(block: Uint8Array, index: number, key: Uint8Array): Uint8Array | undefined {
    const offset = this.#index.offsets[index] as number
    cursor.open(block, this.path, offset)
    if (!cursor.seek(key, 0, key.length)) return undefined
    if (compareRanges(cursor.key, 0, cursor.keyLength, key, 0, key.length) !== 0) return undefined
    checkKind(cursor.kind, this.path, offset)
    if (cursor.kind === kindTombstone) return tombstone
    const value = new Uint8Array(cursor.valueEnd - cursor.valueStart)
    value.set(block.subarray(cursor.valueStart, cursor.valueEnd))
    return value
  }

  #loadThrough(cache: BlockCache, index: number, hot: boolean): MaybePromise<Uint8Array> {
    const offset = this.#index.offsets[index] as number
    const bytes = new Uint8Array((this.#index.lengths[index] as number) + blockTrailerBytes)
    const count = this.#file.readNow(bytes, offset)
    if (count !== undefined) return this.#keep(cache, index, hot, verifyBlock(wholeOf(bytes, count, this.#file, offset), this.path, offset))
    const loading = this.#loadSlowly(cache, index, hot, bytes)
    this.#loading.set(index, loading)
    return loading
  }

  async #loadSlowly(cache: BlockCache, index: number, hot: boolean, bytes: Uint8Array): Promise<Uint8Array> {
    const offset = this.#index.offsets[index] as number
    try {
      const count = await this.#file.read(bytes, offset)
      return this.#keep(cache, index, hot, verifyBlock(wholeOf(bytes, count, this.#file, offset), this.path, offset))
    } finally {
      this.#loading.delete(index)
    }
  }

  #loadSync(index: number): Uint8Array {
    const cached = this.#cached[index]
    if (cached !== undefined) {
      cached.referenced = true
      return cached.bytes
    }
    const offset = this.#index.offsets[index] as number
    const bytes = new Uint8Array((this.#index.lengths[index] as number) + blockTrailerBytes)
    const block = verifyBlock(wholeOf(bytes, this.#file.readSync(bytes, offset), this.#file, offset), this.path, offset)
    return this.#keep(must(this.#cache, 'a reader for getSync has a cache'), index, true, block)
  }

  #keep(cache: BlockCache, index: number, hot: boolean, block: Uint8Array): Uint8Array {
    // A synchronous read may have brought it in while this one was under way.
    if (!this.#closed && this.#cached[index] === undefined) this.#cached[index] = cache.insert(this, index, block, hot)
    return block
  }

  #loadAhead(index: number): MaybePromise<Uint8Array> {
    const offset = this.#index.offsets[index] as number
    const length = (this.#index.lengths[index] as number) + blockTrailerBytes
    const start = offset - this.#aheadOffset
    if (start >= 0 && start + length <= this.#ahead.length) {
      return verifyBlock(this.#ahead.subarray(start, start + length), this.path, offset)
    }
    return this.#readAhead(offset, length)
  }

  async #readAhead(offset: number, length: number): Promise<Uint8Array> {
    const most = Math.min(this.size - offset, Math.max(readAheadBytes, length))
    this.#ahead = await readRange(this.#file, offset, most)
    this.#aheadOffset = offset
    return verifyBlock(this.#ahead.subarray(0, length), this.path, offset)
  }
}

/** Throws where this version cannot read entries of `kind`. */
export function checkKind(kind: number, file: string, offset: number): void {
  if (kind !== kindValue && kind !== kindTombstone) throw new CorruptionError(file, offset, `unknown kind ${kind} of entry`)
}

async function readRange(file: File, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  return wholeOf(bytes, await file.read(bytes, offset), file, offset)
}

/** `bytes`, of which `count` could be read. */
function wholeOf(bytes: Uint8Array, count: number, file: File, offset: number): Uint8Array {
  if (count < bytes.length) throw new CorruptionError(file.path, offset, `ends ${bytes.length - count} bytes too early`)
  return bytes
}

async function readBlock(file: File, handle: BlockHandle): Promise<Uint8Array> {
  return verifyBlock(await readRange(file, handle.offset, handle.length + blockTrailerBytes), file.path, handle.offset)
}

function readBlockSync(file: File, handle: BlockHandle): Uint8Array {
  const bytes = new Uint8Array(handle.length + blockTrailerBytes)
  return verifyBlock(wholeOf(bytes, file.readSync(bytes, handle.offset), file, handle.offset), file.path, handle.offset)
}

function decodeIndex(block: Uint8Array, path: string, footer: { readonly index: BlockHandle; readonly filter: BlockHandle }): TableIndex {
  const offsets: number[] = []
  const lengths: number[] = []
  const starts: number[] = []
  const keys: Uint8Array[] = []
  let bytes = 0
  const walk = new BlockCursor()
  walk.open(block, path, footer.index.offset)
  while (walk.advance()) {
    const value = new ByteReader(block.subarray(walk.valueStart, walk.valueEnd))
    const offset = value.varint()
    const length = value.varint()
    if (offset + length + blockTrailerBytes > footer.filter.offset) throw new CorruptionError(path, footer.index.offset, 'malformed index')
    offsets.push(offset)
    lengths.push(length)
    starts.push(bytes)
    keys.push(walk.key.slice(0, walk.keyLength))
    bytes += walk.keyLength
  }
  starts.push(bytes)
  const all = new Uint8Array(bytes)
  keys.forEach((key, i) => {
    all.set(key, starts[i] as number)
  })
  return {
    count: offsets.length,
    offsets: Float64Array.from(offsets),
    lengths: Uint32Array.from(lengths),
    keys: all,
    starts: Uint32Array.from(starts),
  }
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
    throw new CorruptionError(path, offset, 'malformed properties')
  }
  return properties
}
