import { BroadcastChannel } from 'node:worker_threads'

/** On which the threads of `worker.ts` tell what they hold. */
export const memoryChannel = 'ostraka-bench-worker-memory'

export interface ThreadMemory {
  readonly thread: number
  /** Heap, and buffers outside of it, without the memtables, which are the main thread's. */
  readonly bytes: number
}

/** What the worker threads of this process held when each told last. */
export class WorkerMemory {
  readonly #channel = new BroadcastChannel(memoryChannel)
  readonly #threads = new Map<number, number>()

  constructor() {
    this.#channel.onmessage = (message) => {
      const { thread, bytes } = (message as { data: ThreadMemory }).data
      this.#threads.set(thread, bytes)
    }
    this.#channel.unref()
  }

  get bytes(): number {
    let sum = 0
    for (const bytes of this.#threads.values()) sum += bytes
    return sum
  }

  close(): void {
    this.#channel.close()
  }
}
