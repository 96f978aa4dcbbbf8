import { setFlagsFromString } from 'node:v8'

/** How much a heap grows from one full collection to the next, in percent of what lives. */
const growthPercent = 300

/**
 * For a process that passes many bytes on and keeps little of them. V8 counts buffers beside the heap as if they lay in it, dropped ones too until
 * they are collected, and starts a full collection once heap and buffers have grown by 10 to 30 %: with 25 MB of heap each 8 MB of messages. Let to grow
 * further, the far cheaper collections of young objects return the buffers first. Costs up to three times the living heap, which is small here: data lies
 * outside of it. For all threads of this process, from their next full collection on. docs/decisions/0039.
 */
export function letHeapGrow(): void {
  setFlagsFromString(`--heap-growing-percent=${growthPercent}`)
}
