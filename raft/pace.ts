import { type Clock, sleep } from '../base/clock.ts'

const pieceBytesMin = 4 * 1024
const pieceBytesMax = 1024 * 1024

/** Keeps all who share it to one rate together. */
export class Pace {
  /** What is asked for at a time: about a quarter of a second's worth, so that a low rate still shows progress. */
  readonly pieceBytes: number
  readonly #clock: Clock
  readonly #bytesPerSecond: number
  /** When the rate allows the next piece. */
  #nextMs = 0

  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock
    this.#bytesPerSecond = bytesPerSecond
    this.pieceBytes = Math.min(pieceBytesMax, Math.max(pieceBytesMin, Math.floor(bytesPerSecond / 4)))
  }

  /** Resolves when `bytes` may be asked for, in the order of the calls. */
  async wait(bytes: number): Promise<void> {
    const nowMs = this.#clock.monotonicMs()
    const startMs = Math.max(nowMs, this.#nextMs)
    this.#nextMs = startMs + (bytes * 1000) / this.#bytesPerSecond
    if (startMs > nowMs) await sleep(this.#clock, startMs - nowMs)
  }
}
