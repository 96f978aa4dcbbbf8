import { emptyBytes } from '../base/bytes.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import { blockTrailerBytes, verifyBlock } from './table-format.ts'
import type { BlockTaker, TableReader } from './table-reader.ts'

/** Blocks in a row that an iteration reads one by one, into the cache, before it reads ahead, beside the cache. */
const singleBlocks = 2
const leastAheadBytes = 16 * 1024
const mostAheadBytes = 256 * 1024

/**
 * The data blocks of one table for one walk over it, in memory of its own, which holds until the next `load`. Who walks on from block to block is
 * given ever larger pieces of the file, read at once; these pass the cache by, so that a scan flushes nothing out of it.
 */
export class BlockLoader implements BlockTaker {
  readonly #reader: TableReader
  /** The payload of the block loaded last: bytes[start, end). */
  bytes: Uint8Array = emptyBytes
  start = 0
  end = 0
  /** Memory of its own, for blocks out of the cache. */
  #copy: Uint8Array = emptyBytes
  #ahead: Uint8Array = emptyBytes
  #aheadOffset = 0
  /** How much of `#ahead` was read. */
  #aheadBytes = 0
  #next = -1
  #inARow = 0

  constructor(reader: TableReader) {
    this.#reader = reader
  }

  /** Makes block `index` the loaded one. Throws CorruptionError, or what the file system says. */
  load(index: number): MaybePromise<void> {
    this.#inARow = index === this.#next ? this.#inARow + 1 : 0
    this.#next = index + 1
    const reader = this.#reader
    if (reader.copyCached(index, this.#inARow < singleBlocks, this)) return
    const offset = reader.blockOffset(index)
    const bytes = reader.blockLength(index) + blockTrailerBytes
    if (offset >= this.#aheadOffset && offset + bytes <= this.#aheadOffset + this.#aheadBytes) return this.#takeFromAhead(offset, bytes)
    if (reader.isCached && this.#inARow < singleBlocks) {
      const block = reader.load(index)
      return block instanceof Promise ? block.then((loaded) => this.take(loaded, 0, loaded.length)) : this.take(block, 0, block.length)
    }
    return this.#readAhead(offset, bytes)
  }

  /** Copies block[start, end), a payload. */
  take(block: Uint8Array, start: number, end: number): void {
    const length = end - start
    if (this.#copy.length < length) this.#copy = new Uint8Array(Math.max(length, 2 * this.#copy.length))
    this.#copy.set(block.subarray(start, end))
    this.bytes = this.#copy
    this.start = 0
    this.end = length
  }

  #takeFromAhead(offset: number, bytes: number): void {
    const start = offset - this.#aheadOffset
    const payload = verifyBlock(this.#ahead.subarray(start, start + bytes), this.#reader.path, offset)
    this.bytes = this.#ahead
    this.start = start
    this.end = start + payload.length
  }

  #readAhead(offset: number, bytes: number): MaybePromise<void> {
    const reader = this.#reader
    const wanted = reader.isCached ? Math.min(mostAheadBytes, leastAheadBytes << Math.min(10, this.#inARow)) : mostAheadBytes
    const length = Math.min(reader.dataEnd - offset, Math.max(wanted, bytes))
    if (this.#ahead.length < length) this.#ahead = new Uint8Array(length)
    // Nothing is ahead should the read fail.
    this.#aheadBytes = 0
    const read = reader.readRange(this.#ahead.subarray(0, length), offset)
    if (read instanceof Promise) return read.then(() => this.#setAhead(offset, length, bytes))
    this.#setAhead(offset, length, bytes)
  }

  #setAhead(offset: number, length: number, bytes: number): void {
    this.#aheadOffset = offset
    this.#aheadBytes = length
    this.#takeFromAhead(offset, bytes)
  }
}
