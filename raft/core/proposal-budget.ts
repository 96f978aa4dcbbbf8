interface Batch {
  readonly lastIndex: number
  readonly bytes: number
}

/** Bytes that a leader has proposed and that have not come as far as they must: to be committed, or applied. What it inherited from earlier terms does not count. */
export class ProposalBudget {
  readonly #maxBytes: number
  #batches: Batch[] = []
  #bytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Entries without bytes always pass, and so does anything when nothing else is under way. */
  admits(bytes: number): boolean {
    return bytes === 0 || this.#bytes === 0 || this.#bytes + bytes <= this.#maxBytes
  }

  add(lastIndex: number, bytes: number): void {
    if (bytes === 0) return
    this.#batches.push({ lastIndex, bytes })
    this.#bytes += bytes
  }

  /** All up to `index` has come so far. */
  releaseTo(index: number): void {
    let done = 0
    for (const batch of this.#batches) {
      if (batch.lastIndex > index) break
      this.#bytes -= batch.bytes
      done++
    }
    if (done > 0) this.#batches.splice(0, done)
  }
}
