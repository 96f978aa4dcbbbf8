import { assert } from '../../base/assert.ts'
import type { CountingExecutor, JobContext, JobRegistry } from '../../base/executor.ts'
import { mustHaveJob } from '../../base/inline-executor.ts'
import { decodeError, encodeError } from '../../base/job-error.ts'
import type { SimProcess } from './sim-process.ts'

/** Virtual milliseconds from asking for a job to its start, between two of its slices, and from its end to the answer. */
const STEP_MS = { least: 0.02, most: 2 }
/** A job's own clock moves by this much each time it looks, so that slices end although virtual time stands still while a job computes. */
const LOOK_MS = 0.05

/** Runs jobs at seeded later times, with the process's files. Input and output are cloned, as a worker's are; a job dies with its process. */
export class SimExecutor implements CountingExecutor {
  readonly #process: SimProcess
  readonly #registry: JobRegistry
  readonly #running = new Set<Promise<unknown>>()
  #lookedMs = 0
  #doneBytes = 0
  #closed = false

  constructor(process: SimProcess, registry: JobRegistry) {
    this.#process = process
    this.#registry = registry
  }

  run<Input, Output>(name: string, input: Input): Promise<Output> {
    assert(!this.#closed, `job ${name} came after close`)
    const result = this.#run<Output>(name, structuredClone(input))
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

  async #run<Output>(name: string, input: unknown): Promise<Output> {
    await this.#step(`job ${name}`)
    const context: JobContext = {
      fileSystem: this.#process.fileSystem,
      sliceMs: 2,
      clock: {
        monotonicMs: () => this.#process.clock.monotonicMs() + (this.#lookedMs += LOOK_MS),
        setTimer: (delayMs, callback) => this.#process.clock.setTimer(delayMs, callback),
      },
      pause: () => this.#step(`pause ${name}`),
      did: (bytes) => {
        this.#doneBytes += bytes
      },
    }
    try {
      const output = structuredClone(await mustHaveJob(this.#registry, name)(input, context))
      await this.#step(`done ${name}`)
      return output as Output
    } catch (error) {
      const encoded = encodeError(error)
      await this.#step(`failed ${name}`)
      throw decodeError(encoded)
    }
  }

  #step(what: string): Promise<void> {
    const delayMs = STEP_MS.least + this.#process.worldRandom.next() * (STEP_MS.most - STEP_MS.least)
    return new Promise((resolve) => {
      this.#process.schedule(delayMs, what, resolve)
    })
  }
}
