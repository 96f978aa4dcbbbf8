import type { CountingExecutor } from '../base/executor.ts'
import { NodeExecutor } from '../base/node-executor.ts'
import { flushJobName, lsmJobs } from './jobs.ts'

/** The main thread goes first: a compaction at its own priority halves hot reads. */
const BACKGROUND_NICENESS = 10

export interface JobLanesOptions {
  /** Compactions at once; default 1. */
  readonly compactions?: number
  /** The worker's entry module, which serves `lsmJobs` and more; default that of a database alone. */
  readonly entry?: URL
}

/** Worker threads: flushes in one, everything else in others, at low priority, so that a flush never waits for a compaction. */
export class JobLanes implements CountingExecutor {
  readonly #flush: CountingExecutor
  readonly #background: CountingExecutor
  /** Jobs that are none of a database's: compactions do not wait for them, either. No writer is held back while they take their time. */
  readonly #others: CountingExecutor

  constructor({ compactions = 1, entry = new URL('./worker.js', import.meta.url) }: JobLanesOptions = {}) {
    this.#flush = new NodeExecutor({ entry })
    // One thread more, so that a file that comes in is not looked at only when one of them ends.
    this.#background = new NodeExecutor({ entry, niceness: BACKGROUND_NICENESS, threads: compactions + 1 })
    this.#others = new NodeExecutor({ entry, niceness: BACKGROUND_NICENESS, givesWay: true })
  }

  run<Input, Output>(name: string, input: Input): Promise<Output> {
    return this.#laneOf(name).run(name, input)
  }

  doneFor(name: string): number {
    return this.#laneOf(name).doneFor(name)
  }

  async close(): Promise<void> {
    await Promise.all([this.#flush.close(), this.#background.close(), this.#others.close()])
  }

  #laneOf(name: string): CountingExecutor {
    if (name === flushJobName) return this.#flush
    return Object.hasOwn(lsmJobs, name) ? this.#background : this.#others
  }
}
