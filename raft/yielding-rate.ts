import type { Clock } from '../base/clock.ts'

export interface RateOptions {
  /** At most; Infinity: as fast as it goes. */
  readonly bytesPerSecond: number
  /** Requests of clients that this process has taken in so far: a rate gives way only while there are any. Not given: it gives way to nobody. */
  readonly served?: () => number
}

/** How late a timer may fire, in one of ten cases, before clients are taken to wait for what is copied. */
const delayMsMost = 5
const sampleMs = 25
const samplesPerLook = 10
/** After so long without a copy nothing is watched. */
const idleMs = 1000
const slower = 0.5
const faster = 1.2
/**
 * It does not fall below this, nor below a tenth of its limit: a copy comes to its end, and before what it has to catch up with has grown large. On machines whose
 * clients alone make turns long, it is what a copy gets.
 */
const leastBytesPerSecond = 32_000_000
/** A rate without a limit that has come back to this counts no more. */
const freeBytesPerSecond = 1_000_000_000

/**
 * A rate of copying that gives way to clients. While something is copied it watches how late this thread's timers are: where clients are served and the turns
 * get long, it falls to half of what was copied last; else it rises again. A process that serves nobody copies as fast as it may.
 */
export class YieldingRate {
  readonly #clock: Clock
  readonly #served: (() => number) | undefined
  readonly #most: number
  readonly #least: number
  #rate: number
  #isWatching = false
  #usedMs = 0
  /** Since the last look. */
  #bytes = 0
  #lookedMs = 0
  #servedBefore = 0
  #delays: number[] = []

  constructor(clock: Clock, { bytesPerSecond, served }: RateOptions) {
    this.#clock = clock
    this.#served = served
    this.#most = bytesPerSecond
    this.#rate = bytesPerSecond
    this.#least = Math.min(
      bytesPerSecond,
      Number.isFinite(bytesPerSecond) ? Math.max(leastBytesPerSecond, bytesPerSecond / 10) : leastBytesPerSecond,
    )
  }

  /** As of now; Infinity: none. */
  get bytesPerSecond(): number {
    return this.#rate
  }

  /** So many are being copied. */
  used(bytes: number): void {
    if (this.#served === undefined) return
    this.#bytes += bytes
    this.#usedMs = this.#clock.monotonicMs()
    if (this.#isWatching) return
    this.#isWatching = true
    this.#begin(this.#served())
    this.#sample()
  }

  #begin(served: number): void {
    this.#servedBefore = served
    this.#lookedMs = this.#clock.monotonicMs()
    this.#delays = []
  }

  #sample(): void {
    const dueMs = this.#clock.monotonicMs() + sampleMs
    this.#clock.setTimer(sampleMs, () => {
      const nowMs = this.#clock.monotonicMs()
      this.#delays.push(nowMs - dueMs)
      if (this.#delays.length === samplesPerLook) this.#look(nowMs)
      // The rate rises to its limit before it is left alone: else the next copy would begin with what this one ended with.
      this.#isWatching = nowMs - this.#usedMs < idleMs || this.#rate < this.#most
      if (this.#isWatching) this.#sample()
    })
  }

  #look(nowMs: number): void {
    const served = this.#served?.() ?? 0
    const copied = (this.#bytes * 1000) / (nowMs - this.#lookedMs)
    const delayMs = this.#delays.sort((a, b) => a - b)[samplesPerLook - 2] ?? 0
    if (delayMs > delayMsMost && served > this.#servedBefore && copied > 0) {
      this.#rate = Math.max(this.#least, Math.min(this.#rate, copied) * slower)
    } else if (this.#rate < this.#most) {
      const rate = this.#rate * faster
      this.#rate = rate >= freeBytesPerSecond ? this.#most : Math.min(this.#most, rate)
    }
    this.#bytes = 0
    this.#begin(served)
  }
}
