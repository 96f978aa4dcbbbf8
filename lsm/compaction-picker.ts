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

/** Of a file as much may be dead before what counts of it is written anew. */
const deadShareMax = 1 / 3

/**
 * Pure: what to rewrite so that a file goes of which too much was clipped off; undefined where there is none, or compactions have taken it. `live`: by
 * id what counts of each clipped table; one that it lacks keeps its file as it is.
 *
 * So files take at most 1.5 times what counts of them, and for each byte that an excise or an ingest leaves dead at most two are ever written: what
 * was rewritten is whole, and the file's dead bytes went with it.
 */
export function pickReclaim(version: Version, busy: ReadonlySet<number>, live: ReadonlyMap<number, number>): CompactionPlan | undefined {
  let picked: TableMetadata | undefined
  let leastShare = 1 - deadShareMax
  for (const parts of partsByFile(version.clipped())) {
    const first = parts[0] as TableMetadata
    const share = parts.reduce((sum, { id }) => sum + (live.get(id) ?? Number.POSITIVE_INFINITY), 0) / first.size
    const free = share < leastShare ? parts.find(({ id }) => !busy.has(id)) : undefined
    if (free === undefined) continue
    picked = free
    leastShare = share
  }
  return picked && planRewrite(picked)
}

/** A file may have been cut in several parts, which may lie in several levels. */
function partsByFile(tables: readonly TableMetadata[]): Iterable<readonly TableMetadata[]> {
  const files = new Map<number, TableMetadata[]>()
  for (const table of tables) {
    const parts = files.get(table.file)
    if (parts === undefined) files.set(table.file, [table])
    else parts.push(table)
  }
  return files.values()
}

/**
 * Ranges of tables that are older than what `plan` writes, as far as they overlap it, in key order: a tombstone of any other key has nothing left
 * to hide.
 */
export function olderRanges(version: Version, plan: CompactionPlan): { lower: Uint8Array; upper: Uint8Array }[] {
  const hull = hullOf(plan.inputs.flat())
  if (hull === undefined) return []
  const older = version.levels.flatMap((_, level) => (level > plan.outputLevel ? version.overlapping(level, hull) : []))
  if (plan.outputLevel === 0) older.push(...version.overlapping(0, hull).filter((table) => table.order < orderOf(plan)))
  return older.map(({ lower, upper }) => ({ lower, upper })).sort((a, b) => compareBytes(a.lower, b.lower))
}

/** Rank of age of what `plan` writes: below level 0 there is none. */
export function orderOf(plan: CompactionPlan): number {
  return plan.outputLevel === 0 ? (plan.inputs[0]?.[0]?.order ?? 0) : 0
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

/**
 * The table with the least to rewrite below it for its size; one that is busy only where all are. Tables of both levels are passed once, in the order
 * of their keys: of thousands, a look at each pair would take the thread for too long.
 */
function pickFromLevel(version: Version, level: number, busy: ReadonlySet<number>): CompactionPlan | undefined {
  const below = version.levels[level + 1] ?? []
  let best: TableMetadata | undefined
  let bestRatio = Number.POSITIVE_INFINITY
  let isBestBusy = true
  let at = 0
  for (const table of version.levels[level] ?? []) {
    while (at < below.length && compareBytes((below[at] as TableMetadata).upper, table.lower) <= 0) at++
    let bytes = 0
    let isThisBusy = busy.has(table.id)
    for (let i = at; i < below.length && compareBytes((below[i] as TableMetadata).lower, table.upper) < 0; i++) {
      const { size, id } = below[i] as TableMetadata
      bytes += size
      isThisBusy ||= busy.has(id)
    }
    if (isThisBusy && !isBestBusy) continue
    if (bytes / table.size < bestRatio || isThisBusy !== isBestBusy) {
      best = table
      bestRatio = bytes / table.size
      isBestBusy = isThisBusy
    }
  }
  return best && planDown(version, level, [best])
}

function isBusy(plan: CompactionPlan, busy: ReadonlySet<number>): boolean {
  return plan.inputs.some((run) => run.some((table) => busy.has(table.id)))
}
