/**
 * Jobs in worker threads. A worker's entry module calls `serveJobs(registry)` and nothing else:
 *
 *     import { serveJobs } from '../base/node-executor.ts'
 *     import { lsmJobs } from './jobs.ts'
 *     serveJobs(lsmJobs)
 *
 * An executor's threads take jobs in the order in which they came, one at a time each. Work that must not wait for other work (flush for
 * compaction) gets an executor of its own. A thread starts with its first job, holds the process only while it runs one, and is replaced
 * when it dies; the job that it ran is rejected. Where the system has no descriptor or memory for a thread, its job waits a while for one.
 */
import { readlinkSync } from 'node:fs'
import os from 'node:os'
import { type MessagePort, parentPort, Worker, workerData } from 'node:worker_threads'
import { assert, must } from './assert.ts'
import { codeOf } from './errors.ts'
import type { CountingExecutor, JobContext, JobRegistry } from './executor.ts'
import { GiveWay, workMs } from './give-way.ts'
import { mustHaveJob } from './inline-executor.ts'
import { decodeError, type EncodedError, encodeError } from './job-error.ts'
import { NodeClock } from './node-clock.ts'
import { NodeFileSystem } from './node-file-system.ts'

interface Request {
  readonly name: string
  readonly input: unknown
}

type Response = { readonly output: unknown } | { readonly error: EncodedError }

interface Waiting extends Request {
  readonly resolve: (output: never) => void
  readonly reject: (error: Error) => void
}

export interface NodeExecutorOptions {
  /** The worker's entry module. */
  readonly entry: URL
  /** At most so many jobs at once; 1 if not given. */
  readonly threads?: number
  /** Unix niceness added to the thread's, 0 to 19: 10 lets the main thread go first. Linux only, a no-op elsewhere. */
  readonly niceness?: number
  /** Jobs rest whenever others want the processors, as often as they pause: for work that nobody waits for with what it holds. Default false. */
  readonly givesWay?: boolean
  /** Node flags for the threads. */
  readonly execArgv?: readonly string[]
}

/** After a thread that could not be started; so often one after the other. */
const startAgainMs = 100
const startsMax = 50

/** Bytes that the jobs of an executor have told of, in memory that it shares with its threads. */
type DoneCell = BigInt64Array<SharedArrayBuffer>

interface ThreadData {
  readonly niceness: number
  readonly givesWay: boolean
  readonly done: DoneCell
}

interface Unstarted {
  readonly job: Waiting
  readonly error: Error
}

class Thread {
  readonly worker: Worker
  /** The job that runs, undefined while idle. */
  job: Waiting | undefined

  /** `onDeath`: with the job that it was given, where it never ran a line of it. */
  constructor(
    options: NodeExecutorOptions,
    done: DoneCell,
    onIdle: () => void,
    onDeath: (thread: Thread, unstarted: Unstarted | undefined) => void,
  ) {
    this.worker = new Worker(options.entry, {
      workerData: { niceness: options.niceness ?? 0, givesWay: options.givesWay ?? false, done } satisfies ThreadData,
      ...(options.execArgv === undefined ? {} : { execArgv: [...options.execArgv] }),
    })
    this.worker.unref()
    let failure: Error | undefined
    this.worker.on('message', (response: Response) => {
      this.#end(response)
      onIdle()
    })
    this.worker.on('error', (error: Error) => {
      failure = error
    })
    this.worker.on('exit', (code) => {
      const job = codeOf(failure) === 'ERR_WORKER_INIT_FAILED' ? this.job : undefined
      if (job !== undefined) this.job = undefined
      const error = failure ?? new Error(`worker thread of ${options.entry} ended with code ${code}`)
      this.#end({ error: encodeError(error) })
      onDeath(this, job && { job, error })
    })
  }

  start(job: Waiting): void {
    this.job = job
    try {
      this.worker.postMessage({ name: job.name, input: job.input } satisfies Request)
      this.worker.ref()
    } catch (error) {
      // What structured clone cannot carry is the caller's mistake; the thread has not seen it.
      this.#end({ error: encodeError(error) })
    }
  }

  #end(response: Response): void {
    const job = this.job
    this.job = undefined
    this.worker.unref()
    if (job === undefined) return
    if ('error' in response) job.reject(decodeError(response.error))
    else job.resolve(response.output as never)
  }
}

export class NodeExecutor implements CountingExecutor {
  readonly #options: NodeExecutorOptions
  readonly #threads = new Set<Thread>()
  readonly #waiting: Waiting[] = []
  readonly #done: DoneCell = new BigInt64Array(new SharedArrayBuffer(8))
  #closed = false
  /** Threads that could not be started since one answered. */
  #failedStarts = 0
  #whenIdle: (() => void) | undefined

  constructor(options: NodeExecutorOptions) {
    assert((options.threads ?? 1) >= 1, 'an executor needs a thread')
    this.#options = options
  }

  run<Input, Output>(name: string, input: Input): Promise<Output> {
    assert(!this.#closed, `job ${name} came after close`)
    return new Promise<Output>((resolve, reject) => {
      this.#waiting.push({ name, input, resolve, reject })
      this.#dispatch()
    })
  }

  /** Of all its jobs: they take turns. */
  doneFor(): number {
    return Number(Atomics.load(this.#done, 0))
  }

  async close(): Promise<void> {
    this.#closed = true
    if (this.#isBusy()) {
      await new Promise<void>((resolve) => {
        this.#whenIdle = resolve
      })
    }
    await Promise.all([...this.#threads].map((thread) => thread.worker.terminate()))
  }

  #dispatch(): void {
    while (this.#waiting.length > 0) {
      let thread: Thread | undefined
      try {
        thread = this.#idleThread()
      } catch (error) {
        // No thread can be had: those that there are go on.
        if (this.#threads.size > 0) return
        must(this.#waiting.shift(), 'a job waits').reject(error as Error)
        continue
      }
      if (thread === undefined) return
      thread.start(must(this.#waiting.shift(), 'a job waits'))
    }
    if (!this.#isBusy()) this.#whenIdle?.()
  }

  #idleThread(): Thread | undefined {
    for (const thread of this.#threads) if (thread.job === undefined) return thread
    if (this.#threads.size >= (this.#options.threads ?? 1)) return undefined
    const thread = new Thread(
      this.#options,
      this.#done,
      () => {
        this.#failedStarts = 0
        this.#dispatch()
      },
      (dead, unstarted) => {
        this.#threads.delete(dead)
        if (unstarted === undefined || !this.#maybeAgain(unstarted)) this.#dispatch()
      },
    )
    this.#threads.add(thread)
    return thread
  }

  /** Its job goes first again, after a while. */
  #maybeAgain({ job, error }: Unstarted): boolean {
    if (++this.#failedStarts >= startsMax) {
      this.#failedStarts = 0
      job.reject(error)
      return false
    }
    this.#waiting.unshift(job)
    setTimeout(() => this.#dispatch(), startAgainMs)
    return true
  }

  #isBusy(): boolean {
    if (this.#waiting.length > 0) return true
    for (const thread of this.#threads) if (thread.job !== undefined) return true
    return false
  }
}

/** The worker's side: answers jobs until the thread is ended. */
export function serveJobs(registry: JobRegistry): void {
  const port = must(parentPort, 'serveJobs runs in a worker thread')
  const { niceness, givesWay, done } = workerData as ThreadData
  lowerPriority(niceness)
  const clock = new NodeClock()
  const way = new GiveWay({ monotonicMs: () => clock.monotonicMs(), wait: blockFor })
  const context: JobContext = {
    // The thread has no other duty: a job reads in it, at its priority, and pauses for others' sake only.
    fileSystem: new NodeFileSystem({ readsHere: true }),
    sliceMs: givesWay ? workMs : Number.POSITIVE_INFINITY,
    clock,
    pause: async () => {
      if (givesWay) way.rest()
    },
    did: (bytes) => void Atomics.add(done, 0, BigInt(bytes)),
  }
  port.on('message', (request: Request) => void answer(port, registry, context, request))
}

async function answer(port: MessagePort, registry: JobRegistry, context: JobContext, request: Request): Promise<void> {
  try {
    port.postMessage({ output: await mustHaveJob(registry, request.name)(request.input, context) } satisfies Response)
  } catch (error) {
    port.postMessage({ error: encodeError(error) } satisfies Response)
  }
}

const never = new Int32Array(new SharedArrayBuffer(4))

function blockFor(ms: number): void {
  Atomics.wait(never, 0, 0, ms)
}

/** On Linux a thread has a priority of its own, under its thread id, which Node does not tell but /proc does. */
function lowerPriority(niceness: number): void {
  if (niceness === 0 || process.platform !== 'linux') return
  try {
    const threadId = Number(/(\d+)$/.exec(readlinkSync('/proc/thread-self'))?.[1])
    os.setPriority(threadId, Math.min(os.getPriority(threadId) + niceness, 19))
  } catch {
    // No /proc, or not allowed: the job then runs at the process's priority, which is slower for others but not wrong.
  }
}
