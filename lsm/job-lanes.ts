import type { Executor } from '../base/executor.ts'
import { NodeExecutor } from '../base/node-executor.ts'
import { flushJobName } from './jobs.ts'

const entry = new URL('./worker.js', import.meta.url)
/** The main thread goes first: a compaction at its own priority halves hot reads. */
const BACKGROUND_NICENESS = 10

/** Worker threads: flushes in one, everything else in others, at low priority, so that a flush never waits for a compaction. */
export class JobLanes implements Executor {
  readonly #flush: Executor = new NodeExecutor({ entry })
  readonly #background: Executor

  /** `compactions`: at once. One thread more, so that a file that comes in is not looked at only when one of them ends. */
  constructor(compactions = 1) {
    this.#background = new NodeExecutor({ entry, niceness: BACKGROUND_NICENESS, threads: compactions + 1 })
  }

  run<Input, Output>(name: string, input: Input): Promise<Output> {
    return (name === flushJobName ? this.#flush : this.#background).run(name, input)
  }

  async close(): Promise<void> {
    await Promise.all([this.#flush.close(), this.#background.close()])
  }
}
