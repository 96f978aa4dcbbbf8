import { type Clock, sleep } from '../base/clock.ts'
import { type RateOptions, YieldingRate } from './yielding-rate.ts'

const pieceBytesMin = 4 * 1024
const pieceBytesMax = 1024 * 1024
/** What timers are late by is made up for: a rate would else be lower than its limit by what each wait was too long. After longer it was idle, and begins anew. */
const lateMsMax = 250

/** Keeps all who share it to one rate together, which may give way to clients. */
export class Pace {
  readonly #clock: Clock
  readonly #rate: YieldingRate
  readonly #limit: number
  /** When the rate allows the next piece. */
  #nextMs = 0

  constructor(clock: Clock, options: RateOptions) {
    this.#clock = clock
    this.#rate = new YieldingRate(clock, options)
    this.#limit = options.bytesPerSecond
  }

  /** What is asked for at a time: about a quarter of a second's worth, so that a low rate still shows progress. */
  get pieceBytes(): number {
    return Math.min(pieceBytesMax, Math.max(pieceBytesMin, Math.floor(this.#rate.bytesPerSecond / 4)))
  }

  /** How long the next piece would have to wait, ms. */
  get delayMs(): number {
    return Math.max(0, this.#nextMs - this.#clock.monotonicMs())
  }

  /** Resolves when `bytes` may be asked for, in the order of the calls. */
  async wait(bytes: number): Promise<void> {
    this.#rate.used(bytes)
    const startMs = this.#take(bytes, this.#rate.bytesPerSecond)
    await this.#until(startMs)
  }

  /**
   * Resolves when `bytes` that are taken in without being copied have had their time, so that what comes in keeps to the limit all the same.
   * They take nothing from clients: without a limit they come at once.
   */
  async spend(bytes: number): Promise<void> {
    this.#take(bytes, this.#limit)
    await this.#until(this.#nextMs)
  }

  /** When those bytes begin. */
  #take(bytes: number, bytesPerSecond: number): number {
    const nowMs = this.#clock.monotonicMs()
    const startMs = nowMs - this.#nextMs > lateMsMax ? nowMs : this.#nextMs
    this.#nextMs = startMs + (bytes * 1000) / bytesPerSecond
    return startMs
  }

  async #until(atMs: number): Promise<void> {
    const delayMs = atMs - this.#clock.monotonicMs()
    if (delayMs > 0) await sleep(this.#clock, delayMs)
  }
}
