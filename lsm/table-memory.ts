import { ByteWriter, emptyBytes } from '../base/bytes.ts'
import { BlockBuilder } from './block.ts'

/** A thread keeps that of its last job for the next, up to this. */
const keptBytesMax = 8 * 1024 * 1024
let kept: TableMemory | undefined

/**
 * What is kept in memory of a table that is being written. Who writes one table after the other gives the same memory to each: of a table of 16 MiB it would
 * else be garbage of 2 MiB, most of it from growing, which a thread's allocator does not give back to the system.
 */
export class TableMemory {
  /** The data block that is being filled. */
  readonly data = new BlockBuilder(16)
  readonly index = new BlockBuilder(1, 4096)
  /** Finished blocks that are not yet written. Grows to what is written at once: many tables are far smaller. */
  readonly pending = new ByteWriter(8192)
  /** Of the keys so far. */
  hashes = new Uint32Array(1024)
  #filter: Uint8Array = emptyBytes

  /** The taker's own until `giveBack`, which may be left out. */
  static take(): TableMemory {
    const taken = kept ?? new TableMemory()
    kept = undefined
    return taken
  }

  /** Nobody writes with it any more, and no write out of it is under way. */
  giveBack(): void {
    const bytes = this.data.capacity + this.index.capacity + this.pending.capacity + this.hashes.byteLength + this.#filter.length
    if (bytes <= keptBytesMax) kept = this
  }

  /** The next table begins, whatever has become of the last. */
  clear(): void {
    this.data.clear()
    this.index.clear()
    this.pending.clear()
  }

  /** So many zeroes for the filter. */
  filter(bytes: number): Uint8Array {
    if (this.#filter.length < bytes) this.#filter = new Uint8Array(bytes)
    return this.#filter.subarray(0, bytes).fill(0)
  }

  setHash(entry: number, hash: number): void {
    if (entry === this.hashes.length) {
      const grown = new Uint32Array(2 * entry)
      grown.set(this.hashes)
      this.hashes = grown
    }
    this.hashes[entry] = hash
  }
}
