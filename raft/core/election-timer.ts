import type { Random } from '../../base/random.ts'

/** Ticks since the leader was heard, a vote was granted or a campaign began, against a timeout drawn anew each time. */
export class ElectionTimer {
  readonly #ticks: number
  readonly #random: Random
  #elapsed = 0
  /** In [T, 1.5 T). */
  #timeout = 0

  constructor(ticks: number, random: Random) {
    this.#ticks = ticks
    this.#random = random
    this.reset()
  }

  /** Returns whether it is time to campaign. */
  tick(): boolean {
    this.#elapsed++
    return this.#elapsed >= this.#timeout
  }

  /** Goes on behind a time in which it stood: the leader was not heard for `silentTicks`, of which T count. */
  resume(silentTicks: number): void {
    this.reset()
    this.#elapsed = Math.min(this.#ticks, silentTicks)
  }

  /** It is time to campaign after `ticks` from now on. */
  dueIn(ticks: number): void {
    this.#elapsed = 0
    this.#timeout = ticks
  }

  /** Fewer than T ticks since the last reset. */
  get withinMinimum(): boolean {
    return this.#elapsed < this.#ticks
  }

  reset(): void {
    this.#elapsed = 0
    this.#timeout = this.#ticks + this.#random.below(Math.ceil(this.#ticks / 2))
  }
}
