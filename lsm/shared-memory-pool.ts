/**
 * Shared memory that memtables give back. V8 does not count a SharedArrayBuffer as memory that a collection would free, so a process that
 * makes and drops 64 MiB of them a second grows by gigabytes before it collects: what was given back is used again instead.
 */
export class SharedMemoryPool {
  readonly #bytesMax: number
  /** By size. */
  readonly #free = new Map<number, SharedArrayBuffer[]>()
  #bytes = 0
  #madeBytes = 0
  #leftBytes = 0

  /** Keeps up to `bytesMax`; what is given beyond it is left to the collector. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** Bytes that wait to be used again. */
  get bytes(): number {
    return this.#bytes
  }

  /** Bytes that were ever made. */
  get madeBytes(): number {
    return this.#madeBytes
  }

  /** Bytes that are in use, or wait to be used again. */
  get heldBytes(): number {
    return this.#madeBytes - this.#leftBytes
  }

  /** Memory of `bytes`; what it holds is not known. */
  take(bytes: number): SharedArrayBuffer {
    const buffer = this.#free.get(bytes)?.pop()
    if (buffer === undefined) {
      this.#madeBytes += bytes
      return new SharedArrayBuffer(bytes)
    }
    this.#bytes -= bytes
    return buffer
  }

  /** Nobody may read or write `buffer` any more. */
  give(buffer: SharedArrayBuffer): void {
    const bytes = buffer.byteLength
    if (this.#bytes + bytes > this.#bytesMax) {
      this.#leftBytes += bytes
      return
    }
    const free = this.#free.get(bytes)
    if (free === undefined) this.#free.set(bytes, [buffer])
    else free.push(buffer)
    this.#bytes += bytes
  }
}
