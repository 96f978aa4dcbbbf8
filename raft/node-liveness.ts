/**
 * For how long each node was not heard, in ticks of this process: a late timer counts for no more ticks than it was armed for, so that a long turn
 * or a pause of this process does not look like the death of another.
 */
export class NodeLiveness {
  /** Ticks that have passed. */
  #at = 0
  /** In which tick each node was last heard: ahead of `#at` where ticks that have passed are not counted yet. */
  readonly #heardAt = new Map<string, number>()
  readonly #limitTicks: number
  readonly #onSilent: (node: string) => void

  /** `onSilent` is called once for each silence that has lasted `limitTicks`. */
  constructor(limitTicks: number, onSilent: (node: string) => void) {
    this.#limitTicks = limitTicks
    this.#onSilent = onSilent
  }

  /** `count` ticks have passed. */
  pass(count: number): void {
    const before = this.#at
    this.#at += count
    for (const [node, heardAt] of this.#heardAt) {
      const limitAt = heardAt + this.#limitTicks
      if (before < limitAt && limitAt <= this.#at) this.#onSilent(node)
    }
  }

  /** Ticks from now until `onSilent` is called if nobody is heard; Infinity: never. */
  get ticksToLimit(): number {
    let ticks = Number.POSITIVE_INFINITY
    for (const heardAt of this.#heardAt.values()) {
      const limitAt = heardAt + this.#limitTicks
      if (limitAt > this.#at) ticks = Math.min(ticks, limitAt - this.#at)
    }
    return ticks
  }

  /** `uncounted`: ticks that have passed and were not told of by `pass` yet. */
  heard(node: string, uncounted = 0): void {
    this.#heardAt.set(node, this.#at + uncounted)
  }

  /** Never more than have passed since it was heard; 0 for one that never was. */
  silentTicks(node: string, uncounted = 0): number {
    return Math.max(0, this.#at + uncounted - (this.#heardAt.get(node) ?? Number.POSITIVE_INFINITY))
  }
}
