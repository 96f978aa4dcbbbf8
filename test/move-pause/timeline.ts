/** When calls were due and when they were answered, in the order of the answers; ms of one clock. */
export class Timeline {
  readonly #dueMs: number[] = []
  readonly #answeredMs: number[] = []

  get size(): number {
    return this.#answeredMs.length
  }

  /** `answeredMs` never falls. */
  add(dueMs: number, answeredMs: number): void {
    this.#dueMs.push(dueMs)
    this.#answeredMs.push(answeredMs)
  }

  /** The longest time between two answers of which some lies between `fromMs` and `toMs`; a time that has not ended ends at `toMs`. */
  longestGapMs(fromMs: number, toMs: number): number {
    let longestMs = 0
    let at = this.#firstFrom(fromMs)
    let lastMs = this.#answeredMs[at - 1] ?? fromMs
    for (; lastMs < toMs; at++) {
      const nextMs = this.#answeredMs[at] ?? toMs
      longestMs = Math.max(longestMs, nextMs - lastMs)
      lastMs = nextMs
    }
    return longestMs
  }

  /** Of the calls answered between `fromMs` and `toMs`: the longest, from when it was due. */
  longestCallMs(fromMs: number, toMs: number): number {
    let longestMs = 0
    for (let at = this.#firstFrom(fromMs); (this.#answeredMs[at] ?? toMs) < toMs; at++) {
      longestMs = Math.max(longestMs, (this.#answeredMs[at] ?? 0) - (this.#dueMs[at] ?? 0))
    }
    return longestMs
  }

  /** Place of the first answer at `ms` or later. */
  #firstFrom(ms: number): number {
    let from = 0
    for (let to = this.#answeredMs.length; from < to; ) {
      const middle = (from + to) >> 1
      if ((this.#answeredMs[middle] ?? 0) < ms) from = middle + 1
      else to = middle
    }
    return from
  }
}
