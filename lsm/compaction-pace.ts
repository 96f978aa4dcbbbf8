import { type Clock, sleep } from '../base/clock.ts'

/** How fast each running compaction may write, in KiB/s, in memory that its job reads while it runs; 0: as fast as it goes. */
export type PaceCell = Int32Array<SharedArrayBuffer>

const cellOf = (cell: PaceCell) => Atomics.load(cell, 0)

/** A rate for all compactions together, shared out among those that run. */
export class CompactionPace {
  readonly #bytesPerSecond: number
  readonly cell: PaceCell = new Int32Array(new SharedArrayBuffer(4))

  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond
  }

  /** So many share the rate; 0: somebody waits for them, and it does not count. */
  set(jobs: number): void {
    Atomics.store(this.cell, 0, jobs === 0 ? 0 : Math.floor(this.#bytesPerSecond / 1024 / jobs))
  }
}

/** A job that was slow for a while may catch up on so much. */
const creditMsMax = 1000
/** After so long a job that waits looks whether the rate is another. */
const lookMs = 100

/** The job's side: keeps it from writing faster than the cell says at each moment. */
export class Throttle {
  readonly #clock: Pick<Clock, 'monotonicMs' | 'setTimer'>
  readonly #cell: PaceCell
  /** When all that was written should have been. */
  #dueMs: number
  #bytes = 0

  constructor(clock: Pick<Clock, 'monotonicMs' | 'setTimer'>, cell: PaceCell) {
    this.#clock = clock
    this.#cell = cell
    this.#dueMs = clock.monotonicMs()
  }

  /** Resolves when the job may go on, of which `bytes` were written by now. */
  async until(bytes: number): Promise<void> {
    let left = bytes - this.#bytes
    this.#bytes = bytes
    const beganMs = this.#clock.monotonicMs()
    this.#dueMs = Math.max(this.#dueMs, beganMs - creditMsMax)
    for (let nowMs = beganMs; ; nowMs = this.#clock.monotonicMs()) {
      const bytesPerMs = (cellOf(this.#cell) * 1024) / 1000
      if (bytesPerMs === 0) {
        this.#dueMs = nowMs
        return
      }
      // What is due later than the next look is counted by the rate of then.
      const waitMs = this.#dueMs + left / bytesPerMs - nowMs
      if (waitMs < 1) {
        this.#dueMs += left / bytesPerMs
        return
      }
      const pauseMs = Math.min(waitMs, lookMs)
      await sleep(this.#clock, pauseMs)
      const passed = Math.min(left, Math.max(0, nowMs + pauseMs - this.#dueMs) * bytesPerMs)
      this.#dueMs += passed / bytesPerMs
      left -= passed
    }
  }
}
