import { compareBytes } from '../base/bytes.ts'
import { hullOf, levelCount, type TableMetadata } from './table-metadata.ts'
import type { Version } from './version.ts'

/** What to merge: `inputs` newest first by run: each is a table of level 0, or the tables of one level in key order. */
export interface CompactionPlan {
  readonly inputs: readonly (readonly TableMetadata[])[]
  readonly outputLevel: number
  /** Nothing has to be rewritten: the only input goes down a level. */
  readonly move: boolean
}

export interface PickerOptions {
  readonly level0CompactionTrigger: number
  readonly level1Bytes: number
  readonly levelFactor: number
}

/** Bytes that a level may hold before it is compacted; Infinity for the last. */
export function levelTarget(level: number, options: PickerOptions): number {
  return level === levelCount - 1 ? Number.POSITIVE_INFINITY : options.level1Bytes * options.levelFactor ** (level - 1)
}

/** How much each level but the last wants to be compacted: from 1 on it does. */
export function scores(version: Version, options: PickerOptions): number[] {
  return version.levels
    .slice(0, levelCount - 1)
    .map((tables, level) =>
      level === 0 ? tables.length / options.level0CompactionTrigger : version.bytes(level) / levelTarget(level, options),
    )
}

/**
 * Pure: the most pressing compaction that touches no table in `busy` (ids), if any is due. One that is more pressing and touches them keeps its
 * tables from the others: else small steps out of level 1 could go on before level 0 for ever.
 */
export function pickCompaction(version: Version, busy: ReadonlySet<number>, options: PickerOptions): CompactionPlan | undefined {
  const pressing = scores(version, options)
    .map((score, level) => ({ score, level }))
    .filter(({ score }) => score >= 1)
    .sort((a, b) => b.score - a.score)
  const taken = new Set(busy)
  for (const { level } of pressing) {
    const plan = level === 0 ? planLevel0(version, version.levels[0] ?? []) : pickFromLevel(version, level, taken)
    if (plan === undefined) continue
    if (!isBusy(plan, taken)) return plan
    for (const { id } of plan.inputs.flat()) taken.add(id)
  }
  return undefined
}

/** The plan that brings `tables` of `level` one level down: the first of them, of no more than `mostBytes` but at least one; of level 0 all there are. */
export function planTables(
  version: Version,
  level: number,
  tables: readonly TableMetadata[],
  mostBytes: number,
): CompactionPlan | undefined {
  if (tables.length === 0) return undefined
  if (level === 0) return planLevel0(version, version.levels[0] ?? [])
  let count = 1
  for (let bytes = tables[0]?.size ?? 0; count < tables.length; count++) {
    bytes += tables[count]?.size ?? 0
    if (bytes > mostBytes) break
  }
  return planDown(version, level, tables.slice(0, count))
}

/** The plan that rewrites a table in its place, to be rid of tombstones and of what was clipped off. */
export function planRewrite(table: TableMetadata): CompactionPlan {
  return { inputs: [[table]], outputLevel: table.level, move: false }
}

/** Ranges of tables in levels below `level`, in key order: a tombstone of any other key has nothing left to hide. */
export function deeperRanges(version: Version, level: number): { lower: Uint8Array; upper: Uint8Array }[] {
  return version.levels
    .slice(level + 1)
    .flat()
    .map(({ lower, upper }) => ({ lower, upper }))
    .sort((a, b) => compareBytes(a.lower, b.lower))
}

function planLevel0(version: Version, tables: readonly TableMetadata[]): CompactionPlan | undefined {
  const hull = hullOf(tables)
  if (hull === undefined) return undefined
  const below = version.overlapping(1, hull)
  return {
    inputs: [...tables.map((table) => [table]), ...(below.length > 0 ? [below] : [])],
    outputLevel: 1,
    move: tables.length === 1 && below.length === 0,
  }
}

function planDown(version: Version, level: number, tables: readonly TableMetadata[]): CompactionPlan | undefined {
  const hull = hullOf(tables)
  if (hull === undefined) return undefined
  const below = version.overlapping(level + 1, hull)
  return { inputs: below.length > 0 ? [tables, below] : [tables], outputLevel: level + 1, move: tables.length === 1 && below.length === 0 }
}

/** The table with the least to rewrite below it for its size; one that is busy only where all are. */
function pickFromLevel(version: Version, level: number, busy: ReadonlySet<number>): CompactionPlan | undefined {
  let best: CompactionPlan | undefined
  let bestRatio = Number.POSITIVE_INFINITY
  let isBestBusy = true
  for (const table of version.levels[level] ?? []) {
    const plan = planDown(version, level, [table])
    if (plan === undefined) continue
    const isThisBusy = isBusy(plan, busy)
    if (isThisBusy && !isBestBusy) continue
    const below = plan.inputs[1]?.reduce((sum, other) => sum + other.size, 0) ?? 0
    if (below / table.size < bestRatio || isThisBusy !== isBestBusy) {
      best = plan
      bestRatio = below / table.size
      isBestBusy = isThisBusy
    }
  }
  return best
}

function isBusy(plan: CompactionPlan, busy: ReadonlySet<number>): boolean {
  return plan.inputs.some((run) => run.some((table) => busy.has(table.id)))
}
