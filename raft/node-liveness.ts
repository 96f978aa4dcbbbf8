/**
 * For how long each node was not heard, in ticks of this process: a late timer counts as one, so that a long turn or a pause of this process
 * does not look like the death of another.
 */
export class NodeLiveness {
  readonly #silence = new Map<string, number>()
  readonly #limitTicks: number
  readonly #onSilent: (node: string, ticks: number) => void

  /** `onSilent` is called once for each silence that has lasted `limitTicks`. */
  constructor(limitTicks: number, onSilent: (node: string, ticks: number) => void) {
    this.#limitTicks = limitTicks
    this.#onSilent = onSilent
  }

  tick(): void {
    for (const [node, before] of this.#silence) {
      const ticks = before + 1
      this.#silence.set(node, ticks)
      if (ticks === this.#limitTicks) this.#onSilent(node, ticks)
    }
  }

  heard(node: string): void {
    this.#silence.set(node, 0)
  }

  /** Never more than have passed since it was heard; 0 for one that never was. */
  silentTicks(node: string): number {
    return this.#silence.get(node) ?? 0
  }
}
