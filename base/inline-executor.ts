import { assert } from './assert.ts'
import type { Clock } from './clock.ts'
import type { CountingExecutor, Job, JobContext, JobRegistry } from './executor.ts'
import type { FileSystem } from './file-system.ts'

/**
 * Runs jobs on the calling thread, in slices: for where there is no worker thread. Input and output are handed over as they are, not
 * cloned: a job must not keep or change its input.
 */
export class InlineExecutor implements CountingExecutor {
  readonly #registry: JobRegistry
  readonly #context: JobContext
  readonly #clock: Clock
  readonly #running = new Set<Promise<unknown>>()
  #doneBytes = 0
  #closed = false

  /** `sliceMs`: how long a job may keep the thread before it pauses. */
  constructor(registry: JobRegistry, options: { readonly fileSystem: FileSystem; readonly clock: Clock; readonly sliceMs?: number }) {
    this.#registry = registry
    this.#clock = options.clock
    this.#context = {
      fileSystem: options.fileSystem,
      sliceMs: options.sliceMs ?? 2,
      clock: options.clock,
      pause: () => this.#pause(),
      did: (bytes) => {
        this.#doneBytes += bytes
      },
    }
  }

  run<Input, Output>(name: string, input: Input): Promise<Output> {
    assert(!this.#closed, `job ${name} came after close`)
    const job = mustHaveJob(this.#registry, name)
    const result = this.#pause().then(() => job(input, this.#context) as Promise<Output>)
    this.#running.add(result)
    const ended = () => this.#running.delete(result)
    result.then(ended, ended)
    return result
  }

  doneFor(): number {
    return this.#doneBytes
  }

  async close(): Promise<void> {
    this.#closed = true
    await Promise.allSettled(this.#running)
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => this.#clock.soon(resolve))
  }
}

export function mustHaveJob(registry: JobRegistry, name: string): Job<unknown, unknown> {
  const job = Object.hasOwn(registry, name) ? registry[name] : undefined
  assert(job !== undefined, `no job is called ${name}`)
  return job
}
