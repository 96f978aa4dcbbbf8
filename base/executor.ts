import type { Clock } from './clock.ts'
import type { FileSystem } from './file-system.ts'

/**
 * Work off the main thread as a seam: a named pure job on plain data. Production runs it in a worker thread (`base/node-executor.ts`), the
 * simulator inline at a seeded later time. A job may read and write files through the file system that it is given, opens them by name and
 * returns names; it keeps no state between runs.
 */
export interface JobContext {
  readonly fileSystem: FileSystem
  /** Milliseconds that a job may run before it should `await pause()`: on a thread with other duties, or one that gives way to others. */
  readonly sliceMs: number
  readonly clock: Pick<Clock, 'monotonicMs' | 'setTimer'>
  /** Lets other work of this thread, or of others, run. */
  pause(): Promise<void>
  /** So many bytes more are done: told now and then, so that who waits sees that something moves. */
  did(bytes: number): void
}

/** `Input` and `Output` are structured-clone data: plain objects, arrays, numbers, strings, (shared) array buffers and views. */
export type Job<Input, Output> = (input: Input, context: JobContext) => Promise<Output>

// biome-ignore lint/suspicious/noExplicitAny: a registry holds jobs of every shape; `run` gives the types back
export type JobRegistry = Readonly<Record<string, Job<any, any>>>

export interface Executor {
  /**
   * Runs job `name` of the registry that this executor was made with. Rejects with the job's error; its `name`, `message`, `code`, `file` and `offset`
   * survive the way, and `block` and `what` of a CorruptionError.
   */
  run<Input, Output>(name: string, input: Input): Promise<Output>
  /** Lets running jobs end, takes no more. */
  close(): Promise<void>
}

export interface CountingExecutor extends Executor {
  /** Bytes that jobs called `name`, and those that these may have to wait for, have done so far as they told. While one waits or runs it rises, or nothing moves. */
  doneFor(name: string): number
}
