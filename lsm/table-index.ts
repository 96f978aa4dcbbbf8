import { ByteReader, compareRanges, int32Prefix } from '../base/bytes.ts'
import { CorruptionError } from '../base/errors.ts'
import { BlockCursor } from './block.ts'
import { blockTrailerBytes, entryTrailerBytes } from './table-format.ts'

/** Where an index is decoded, until it is known how large it is. */
class DecodedColumns {
  readonly blockBytes: number
  readonly offsets: Float64Array
  readonly lengths: Uint32Array
  readonly starts: Uint32Array
  keys: Uint8Array

  /** For a block of so many bytes. */
  constructor(blockBytes: number) {
    const countMax = Math.ceil(blockBytes / leastEntryBytes)
    this.blockBytes = blockBytes
    this.offsets = new Float64Array(countMax)
    this.lengths = new Uint32Array(countMax)
    this.starts = new Uint32Array(countMax + 1)
    this.keys = new Uint8Array(Math.max(64, blockBytes))
  }

  /** Keys that share bytes with the one before may take more than their block. */
  mustHoldKeys(bytes: number): void {
    if (bytes <= this.keys.length) return
    const grown = new Uint8Array(2 * bytes)
    grown.set(this.keys)
    this.keys = grown
  }
}

/** Three varints of lengths, the trailer, two varints of the value. */
const leastEntryBytes = 3 + entryTrailerBytes + 2
/** Index blocks that are larger are decoded in memory of their own. */
const keptBlockBytes = 512 * 1024
// Decoding runs to its end without a pause, so one place serves all.
let kept = new DecodedColumns(0)

function columnsFor(blockBytes: number): DecodedColumns {
  if (blockBytes > keptBlockBytes) return new DecodedColumns(blockBytes)
  if (blockBytes > kept.blockBytes) kept = new DecodedColumns(Math.min(keptBlockBytes, 2 * blockBytes))
  return kept
}

/**
 * The index block of a table in columns: by block its place in the file and the key at or above all of its keys. What all keys begin with is
 * compared once, and of the rest the first 8 bytes as two sign-flipped int32.
 */
export class TableIndex {
  /** Blocks. */
  readonly count: number
  readonly #offsets: Float64Array
  readonly #lengths: Uint32Array
  /** Key i is keys[starts[i], starts[i + 1]). */
  readonly #keys: Uint8Array
  readonly #starts: Uint32Array
  /** Bytes with which all keys begin. */
  readonly #shared: number
  /** By block two numbers: the bytes behind the shared ones. */
  readonly #prefixes: Int32Array

  private constructor(columns: DecodedColumns, count: number, keyBytes: number) {
    this.count = count
    this.#offsets = columns.offsets.slice(0, count)
    this.#lengths = columns.lengths.slice(0, count)
    this.#keys = columns.keys.slice(0, keyBytes)
    this.#starts = columns.starts.slice(0, count + 1)
    this.#shared = this.#sharedBytes()
    this.#prefixes = new Int32Array(2 * count)
    for (let i = 0; i < count; i++) {
      const start = (this.#starts[i] as number) + this.#shared
      const end = this.#starts[i + 1] as number
      this.#prefixes[2 * i] = int32Prefix(this.#keys, start, end)
      this.#prefixes[2 * i + 1] = int32Prefix(this.#keys, start + 4, end)
    }
  }

  /** `block`: the payload of the index block at `offset` of the file; data blocks end before `dataEnd`. Throws CorruptionError. */
  static decode(block: Uint8Array, file: string, offset: number, dataEnd: number): TableIndex {
    const columns = columnsFor(block.length)
    let count = 0
    let keyBytes = 0
    const cursor = new BlockCursor()
    cursor.open(block, 0, block.length, file, offset, 'index')
    while (cursor.advance()) {
      let blockOffset: number
      let length: number
      try {
        const value = new ByteReader(block.subarray(cursor.valueStart, cursor.valueEnd))
        blockOffset = value.varint()
        length = value.varint()
      } catch {
        throw new CorruptionError(file, offset, 'malformed index', 'index')
      }
      if (blockOffset + length + blockTrailerBytes > dataEnd) throw new CorruptionError(file, offset, 'malformed index', 'index')
      columns.offsets[count] = blockOffset
      columns.lengths[count] = length
      columns.starts[count] = keyBytes
      columns.mustHoldKeys(keyBytes + cursor.keyLength)
      columns.keys.set(cursor.key.subarray(0, cursor.keyLength), keyBytes)
      keyBytes += cursor.keyLength
      count++
    }
    columns.starts[count] = keyBytes
    return new TableIndex(columns, count, keyBytes)
  }

  offset(block: number): number {
    return this.#offsets[block] as number
  }

  /** On disk, without the trailer. */
  length(block: number): number {
    return this.#lengths[block] as number
  }

  /** The first block that may hold a key >= bytes[start, end); `count` where there is none. */
  find(bytes: Uint8Array, start: number, end: number): number {
    const shared = this.#shared
    if (shared > 0) {
      const order = compareRanges(bytes, start, Math.min(end, start + shared), this.#keys, 0, shared)
      if (order !== 0) return order < 0 ? 0 : this.count
    }
    const high = int32Prefix(bytes, start + shared, end)
    const low = int32Prefix(bytes, start + shared + 4, end)
    const prefixes = this.#prefixes
    let from = 0
    let to = this.count
    while (from < to) {
      const middle = (from + to) >>> 1
      const otherHigh = prefixes[2 * middle] as number
      let below = otherHigh < high
      if (otherHigh === high) {
        const otherLow = prefixes[2 * middle + 1] as number
        below = otherLow < low || (otherLow === low && this.#compareKey(middle, bytes, start, end) < 0)
      }
      if (below) from = middle + 1
      else to = middle
    }
    return from
  }

  #compareKey(block: number, bytes: Uint8Array, start: number, end: number): number {
    return compareRanges(this.#keys, this.#starts[block] as number, this.#starts[block + 1] as number, bytes, start, end)
  }

  /** Keys are in order: what the first and the last share, all do. */
  #sharedBytes(): number {
    if (this.count === 0) return 0
    const last = this.#starts[this.count - 1] as number
    const most = Math.min(this.#starts[1] as number, (this.#starts[this.count] as number) - last)
    let shared = 0
    while (shared < most && this.#keys[shared] === this.#keys[last + shared]) shared++
    return shared
  }
}
