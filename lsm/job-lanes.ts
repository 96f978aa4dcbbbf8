import type { Executor } from '../base/executor.ts'
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
export class JobLanes implements Executor {
  readonly #flush: Executor
  readonly #background: Executor
  /** Jobs that are none of a database's: compactions do not wait for them, either. */
  readonly #others: Executor

  constructor({ compactions = 1, entry = new URL('./worker.js', import.meta.url) }: JobLanesOptions = {}) {
    this.#flush = new NodeExecutor({ entry })
    // One thread more, so that a file that comes in is not looked at only when one of them ends.
    this.#background = new NodeExecutor({ entry, niceness: BACKGROUND_NICENESS, threads: compactions + 1 })
    this.#others = new NodeExecutor({ entry, niceness: BACKGROUND_NICENESS })
  }

  run<Input, Output>(name: string, input: Input): Promise<Output> {
    if (name === flushJobName) return this.#flush.run(name, input)
    return (Object.hasOwn(lsmJobs, name) ? this.#background : this.#others).run(name, input)
  }

  async close(): Promise<void> {
    await Promise.all([this.#flush.close(), this.#background.close(), this.#others.close()])
  }
}
