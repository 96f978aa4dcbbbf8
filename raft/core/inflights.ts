/** Appends sent to one follower and not yet acknowledged, in the order sent: their last indexes and bytes, in a ring that grows as needed. */
export class Inflights {
  readonly #maxBytes: number
  #indexes = new Float64Array(16)
  #sizes = new Float64Array(16)
  #start = 0
  #count = 0
  #bytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  get count(): number {
    return this.#count
  }

  /** An empty window is never full: it always admits one entry. */
  get full(): boolean {
    return this.#count > 0 && this.#bytes >= this.#maxBytes
  }

  /** Bytes that still fit; 0 or less when full. */
  get room(): number {
    return this.#maxBytes - this.#bytes
  }

  add(lastIndex: number, bytes: number): void {
    if (this.#count === this.#indexes.length) this.#grow()
    const at = (this.#start + this.#count) % this.#indexes.length
    this.#indexes[at] = lastIndex
    this.#sizes[at] = bytes
    this.#count++
    this.#bytes += bytes
  }

  /** Everything up to `index` has been acknowledged. */
  freeTo(index: number): void {
    while (this.#count > 0 && (this.#indexes[this.#start] as number) <= index) {
      this.#bytes -= this.#sizes[this.#start] as number
      this.#start = (this.#start + 1) % this.#indexes.length
      this.#count--
    }
  }

  clear(): void {
    this.#start = 0
    this.#count = 0
    this.#bytes = 0
  }

  #grow(): void {
    const indexes = new Float64Array(this.#indexes.length * 2)
    const sizes = new Float64Array(indexes.length)
    for (let i = 0; i < this.#count; i++) {
      const from = (this.#start + i) % this.#indexes.length
      indexes[i] = this.#indexes[from] as number
      sizes[i] = this.#sizes[from] as number
    }
    this.#indexes = indexes
    this.#sizes = sizes
    this.#start = 0
  }
}
