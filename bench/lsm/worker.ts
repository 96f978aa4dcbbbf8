/** `lsm/worker.ts`, with a thread that tells every now and then how much memory it holds. */
import { BroadcastChannel, threadId } from 'node:worker_threads'
import type { Job } from '../../base/executor.ts'
import { serveJobs } from '../../base/node-executor.ts'
import { type FlushInput, flushJobName, lsmJobs } from '../../lsm/jobs.ts'
import { memoryChannel, type ThreadMemory } from './worker-memory.ts'

const tellEveryMs = 20

/** Bytes of the memtable that is being flushed: shared, and counted as this thread's too. */
let imageBytes = 0

const flush: Job<FlushInput, unknown> = async (input, context) => {
  const { arena, leafCount, leafNext, pointers, sequences } = input.image
  imageBytes = [...new Set([...arena.buffers, leafCount, leafNext, pointers, sequences])].reduce(
    (sum, buffer) => sum + buffer.byteLength,
    0,
  )
  return await (lsmJobs[flushJobName] as Job<FlushInput, unknown>)(input, context)
}

const channel = new BroadcastChannel(memoryChannel)
channel.unref()
setInterval(() => {
  const { heapTotal, external } = process.memoryUsage()
  channel.postMessage({ thread: threadId, bytes: heapTotal + Math.max(0, external - imageBytes) } satisfies ThreadMemory)
}, tellEveryMs).unref()

serveJobs({ ...lsmJobs, [flushJobName]: flush })
