import { emptyBytes } from '../base/bytes.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import { blockTrailerBytes, isCompressed, verifyDataBlock } from './table-format.ts'
import type { BlockTaker, TableReader } from './table-reader.ts'

/** Blocks in a row that an iteration reads one by one, into the cache, before it reads ahead, beside the cache. */
const singleBlocks = 2
/** A piece that is read at once: `File.readNow` gives no more. */
const atOnceBytes = 64 * 1024
/** One that has to be waited for, at the first; they grow, since each costs a turn of the loop. */
const leastAheadBytes = 16 * 1024
const mostAheadBytes = 256 * 1024

/**
 * The data blocks of one table for one walk over it, in memory of its own, which holds until the next `load`. Who walks on from block to block is
 * given ever larger pieces of the file, read at once; these pass the cache by, so that a scan flushes nothing out of it. Who goes on to another table
 * takes the loader, and its memory, along.
 */
export class BlockLoader implements BlockTaker {
  #reader: TableReader
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
  #last = -2
  #inARow = 0

  constructor(reader: TableReader) {
    this.#reader = reader
  }

  /** From now on the blocks are those of `reader`: none is loaded. Not while a `load` is under way. */
  enter(reader: TableReader): void {
    this.#reader = reader
    this.#aheadBytes = 0
    this.#last = -2
    this.#inARow = 0
  }

  /** Makes block `index` the loaded one. Throws CorruptionError, or what the file system says. */
  load(index: number): MaybePromise<void> {
    const isBackwards = index === this.#last - 1
    this.#inARow = isBackwards || index === this.#last + 1 ? this.#inARow + 1 : 0
    this.#last = index
    const reader = this.#reader
    if (reader.copyCached(index, this.#inARow < singleBlocks, this)) return
    const offset = reader.blockOffset(index)
    const bytes = reader.blockLength(index) + blockTrailerBytes
    if (offset >= this.#aheadOffset && offset + bytes <= this.#aheadOffset + this.#aheadBytes) return this.#takeFromAhead(offset, bytes)
    if (reader.isCached && this.#inARow < singleBlocks) {
      const block = reader.load(index)
      return block instanceof Promise ? block.then((loaded) => this.take(loaded, 0, loaded.length)) : this.take(block, 0, block.length)
    }
    return this.#readAhead(index, isBackwards)
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
    const raw = this.#ahead.subarray(start, start + bytes)
    const payload = verifyDataBlock(raw, this.#reader.path, offset)
    const isOwn = isCompressed(raw)
    this.bytes = isOwn ? payload : this.#ahead
    this.start = isOwn ? 0 : start
    this.end = this.start + payload.length
  }

  #readAhead(index: number, isBackwards: boolean): MaybePromise<void> {
    const reader = this.#reader
    const offset = reader.blockOffset(index)
    const bytes = reader.blockLength(index) + blockTrailerBytes
    // Nothing is ahead should the read fail.
    this.#aheadBytes = 0
    // Jobs read without a cache, in threads that may wait: few pieces are less work than short turns.
    if (reader.isCached && bytes <= atOnceBytes && this.#readAtOnce(offset, bytes, isBackwards)) return
    const most = reader.isCached ? Math.min(mostAheadBytes, leastAheadBytes << Math.min(10, this.#inARow)) : mostAheadBytes
    return this.#readLater(offset, bytes, Math.max(most, bytes), isBackwards)
  }

  /** False where the file would have to be waited for, or is damaged. */
  #readAtOnce(offset: number, bytes: number, isBackwards: boolean): boolean {
    const { start, end } = this.#piece(offset, bytes, atOnceBytes, isBackwards)
    try {
      if (!this.#reader.readRangeNow(this.#ahead.subarray(0, end - start), start)) return false
    } catch {
      return false
    }
    this.#setAhead(start, end, offset, bytes)
    return true
  }

  async #readLater(offset: number, bytes: number, wanted: number, isBackwards: boolean): Promise<void> {
    const { start, end } = this.#piece(offset, bytes, wanted, isBackwards)
    try {
      await this.#reader.readRange(this.#ahead.subarray(0, end - start), start)
    } catch {
      return this.#readAlone(offset, bytes)
    }
    this.#setAhead(start, end, offset, bytes)
  }

  /** Of the file: with the block of `bytes` at `offset` at its begin, or at its end. Makes room for it. */
  #piece(offset: number, bytes: number, wanted: number, isBackwards: boolean): { readonly start: number; readonly end: number } {
    const start = isBackwards ? Math.max(0, offset + bytes - wanted) : offset
    const end = isBackwards ? offset + bytes : Math.min(this.#reader.dataEnd, offset + wanted)
    if (this.#ahead.length < end - start) this.#ahead = new Uint8Array(end - start)
    return { start, end }
  }

  /** Without its neighbours: it may be these that cannot be read. */
  async #readAlone(offset: number, bytes: number): Promise<void> {
    await this.#reader.readRange(this.#ahead.subarray(0, bytes), offset)
    this.#setAhead(offset, offset + bytes, offset, bytes)
  }

  /** [start, end) of the file was read, and with it the block at `offset`. */
  #setAhead(start: number, end: number, offset: number, bytes: number): void {
    this.#aheadOffset = start
    this.#aheadBytes = end - start
    this.#takeFromAhead(offset, bytes)
  }
}
