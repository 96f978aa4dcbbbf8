/**
 * One piece of memory for who needs some for a moment, again and again, also across waits: it is the taker's own until given back. Who comes meanwhile
 * makes one. (Pieces of 100 KiB that come and go are garbage which a thread's allocator does not give back to the system.)
 */
export class SpareMemory {
  readonly #bytesMax: number
  #spare: Uint8Array | undefined

  /** What is larger is not kept. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** At least `bytes`; what it holds is not known. */
  take(bytes: number): Uint8Array {
    const spare = this.#spare
    this.#spare = undefined
    if (spare !== undefined && spare.length >= bytes) return spare
    return new Uint8Array(bytes > this.#bytesMax ? bytes : Math.min(this.#bytesMax, 2 * bytes))
  }

  /** Nobody may read or write it any more. */
  give(memory: Uint8Array): void {
    if (memory.length <= this.#bytesMax && memory.length > (this.#spare?.length ?? 0)) this.#spare = memory
  }
}
