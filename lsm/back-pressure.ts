import type { Engine } from './engine.ts'

/** Beside the active one: a third memtable, so that a writer need not wait while the second is flushed. */
export const maxImmutables = 2

/** Where level 0 or the three memtables are full. */
const fullDelayMs = 50
/** What is fuller than that slows a writer ever more, so that memory and level 0 stay bounded however slow flushes and compactions are. */
const maxDelayMs = 1000

/** How long a writer should wait before its next write: rises smoothly with level 0, and with the active memtables while the immutable ones take up their room. */
export function writeDelayMs(engine: Engine): number {
  const { level0SlowdownTrigger, level0StopTrigger, memtableBudget } = engine.options
  const level0 = engine.view.version.levels[0]?.length ?? 0
  const ofLevel0 = Math.max(0, (level0 - level0SlowdownTrigger) / (level0StopTrigger - level0SlowdownTrigger))
  const ofMemtables = Math.max(0, memtableBudget.fill - maxImmutables)
  return Math.min(maxDelayMs, fullDelayMs * Math.max(ofLevel0 ** 2, ofMemtables ** 2))
}
