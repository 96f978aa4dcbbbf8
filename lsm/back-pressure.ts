import type { Engine } from './engine.ts'

/** Beside the active one: a third memtable, so that a writer need not wait while the second is flushed. */
export const maxImmutables = 2

const maxDelayMs = 50

/** How long a writer should wait before its next write: rises smoothly with level 0, and with the active memtable while the queue is full. */
export function writeDelayMs(engine: Engine): number {
  const { level0SlowdownTrigger, level0StopTrigger, memtableBytes } = engine.options
  const level0 = engine.view.version.levels[0]?.length ?? 0
  const ofLevel0 = clamp((level0 - level0SlowdownTrigger) / (level0StopTrigger - level0SlowdownTrigger))
  const immutables = engine.view.queue.reduce((count, element) => count + (element.memtable === undefined ? 0 : 1), 0)
  const ofQueue = immutables > maxImmutables ? 1 : immutables === maxImmutables ? clamp(engine.view.memtable.bytes / memtableBytes) : 0
  return maxDelayMs * Math.max(ofLevel0 * ofLevel0, ofQueue * ofQueue)
}

function clamp(value: number): number {
  return Math.min(1, Math.max(0, value))
}
