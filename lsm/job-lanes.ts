import type { Executor } from '../base/executor.ts'
import { NodeExecutor } from '../base/node-executor.ts'
import { flushJobName } from './jobs.ts'

const entry = new URL('./worker.js', import.meta.url)
/** The main thread goes first: a compaction at its own priority halves hot reads. */
const BACKGROUND_NICENESS = 10

/** Two worker threads: flushes in one, everything else in the other at low priority, so that a flush never waits for a compaction. */
export class JobLanes implements Executor {
  readonly #flush: Executor = new NodeExecutor({ entry })
  readonly #background: Executor = new NodeExecutor({ entry, niceness: BACKGROUND_NICENESS })

  run<Input, Output>(name: string, input: Input): Promise<Output> {
    return (name === flushJobName ? this.#flush : this.#background).run(name, input)
  }

  async close(): Promise<void> {
    await Promise.all([this.#flush.close(), this.#background.close()])
  }
}
