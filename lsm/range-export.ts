import { compareBytes } from '../base/bytes.ts'
import { joinPath } from '../base/file-system.ts'
import { CompactionPace } from './compaction-pace.ts'
import type { Engine } from './engine.ts'
import type { ExpiryHorizon } from './expiry.ts'
import { type CompactionInput, compactionJobName } from './jobs.ts'
import type { Abortable } from './kind.ts'
import { rangeOverlaps, type TableMetadata, tableName, type WrittenTable } from './table-metadata.ts'
import type { Version } from './version.ts'

/** A range whose records are wanted. `moment`: values that had expired by then are left off where it costs nothing; -1: none had. */
export type ExportRange = ExpiryHorizon

/** A table in the folder of an export. */
export interface ExportedTable {
  readonly name: string
  readonly size: number
  /** crc32 of the whole file. */
  readonly checksum: number
}

/** `link`: whole tables, ascending. `merge`: parts of tables, newest first by run, as a compaction takes them. */
export type ExportStep =
  | { readonly kind: 'link'; readonly tables: readonly TableMetadata[] }
  | { readonly kind: 'merge'; readonly inputs: readonly (readonly TableMetadata[])[] }

/**
 * Pure: how the records of `ranges` (disjoint, ascending) come out of `version`, newest first. A table that lies in one of them is linked; of all
 * others the parts within them are merged, with those of older runs as long as no linked table comes between.
 */
export function planExport(version: Version, ranges: readonly ExportRange[]): ExportStep[] {
  const steps: ExportStep[] = []
  let parts: (readonly TableMetadata[])[] = []
  const endMerge = () => {
    if (parts.length > 0) steps.push({ kind: 'merge', inputs: parts })
    parts = []
  }
  const [level0 = [], ...levels] = version.levels
  for (const run of [...level0.map((table) => [table]), ...levels]) {
    const whole = run.filter((table) => !table.clipped && ranges.some((range) => isWithin(table, range)))
    const clipped = run.filter((table) => !whole.includes(table)).flatMap((table) => partsOf(table, ranges))
    // Of one run, so they share no key with what is linked: they may as well be newer.
    if (clipped.length > 0) parts.push(clipped)
    if (whole.length === 0) continue
    endMerge()
    steps.push({ kind: 'link', tables: whole })
  }
  endMerge()
  return steps
}

/**
 * Puts the tables with the records of `ranges` into `folder`, which is on the database's file system and has none of their names: by hard link,
 * and what shares a table with other records by one merge after the other. Resolves to runs, oldest first: tables of one do not overlap and
 * ascend. Files are synced, the folder is left to the caller, and where it rejects so is what lies in it: with ENOSPC also where the disk holds no more than what
 * flushes need. Once the database has failed or was closed no further step begins. `version` must be in use until then.
 */
export async function exportRanges(
  engine: Engine,
  version: Version,
  ranges: readonly ExportRange[],
  folder: string,
  { signal }: Abortable,
): Promise<ExportedTable[][]> {
  const { fileSystem, folder: from } = engine.options
  const steps = planExport(version, ranges)
  const runs: ExportedTable[][] = []
  for (const [i, step] of steps.entries()) {
    signal?.throwIfAborted()
    engine.mustWrite()
    if (step.kind === 'merge') {
      const written = await merge(engine, step.inputs, steps.slice(i + 1), ranges, folder)
      if (written.length > 0) runs.push(written.map(exported))
    } else {
      for (const { file } of step.tables) await fileSystem.link(joinPath(from, tableName(file)), joinPath(folder, tableName(file)))
      runs.push(step.tables.map(exported))
    }
  }
  return runs.reverse()
}

/** A compaction whose result goes elsewhere. A caller waits for it: it keeps to no rate. */
async function merge(
  engine: Engine,
  inputs: readonly (readonly TableMetadata[])[],
  older: readonly ExportStep[],
  ranges: readonly ExportRange[],
  folder: string,
): Promise<WrittenTable[]> {
  const { options, manifest, writerOptions } = engine
  const files = new Map(inputs.flat().map(({ file, size }) => [file, size]))
  const bytes = [...files.values()].reduce((sum, size) => sum + size, 0)
  // As a compaction, it must not take the room that flushes need; but it does not wait: whoever asked can do without.
  if (options.space?.fits(bytes) === false) throw outOfSpace(`no room to write ${bytes} bytes again for an export`)
  const fileCount = 16 + Math.ceil((8 * bytes) / options.targetTableBytes)
  const { expiry } = options
  return await options.compactionExecutor.run<CompactionInput, WrittenTable[]>(compactionJobName, {
    folder: options.folder,
    outputFolder: folder,
    inputs,
    firstFile: manifest.reserveNumbers(fileCount),
    fileCount,
    targetTableBytes: options.targetTableBytes,
    boundaryPrefixBytes: options.boundaryOf === 'none' ? 0 : options.boundaryOf.prefixBytes,
    deeper: older.flatMap(tablesOf).sort((a, b) => compareBytes(a.lower, b.lower)),
    pace: new CompactionPace(Number.POSITIVE_INFINITY).cell,
    expiry: expiry && { keyOffset: expiry.keyOffset, keyByte: expiry.keyByte, valueOffset: expiry.valueOffset, horizons: ranges },
    writer: writerOptions,
  })
}

/** As the file system would say it. */
function outOfSpace(what: string): Error {
  return Object.assign(new Error(`ENOSPC: ${what}`), { code: 'ENOSPC' })
}

function tablesOf(step: ExportStep): readonly { readonly lower: Uint8Array; readonly upper: Uint8Array }[] {
  const tables = step.kind === 'link' ? step.tables : step.inputs.flat()
  return tables.map(({ lower, upper }) => ({ lower, upper }))
}

function exported({ file, size, checksum }: WrittenTable): ExportedTable {
  return { name: tableName(file), size, checksum }
}

function isWithin({ lower, upper }: TableMetadata, range: ExportRange): boolean {
  return compareBytes(lower, range.lower) >= 0 && compareBytes(upper, range.upper) <= 0
}

function partsOf(table: TableMetadata, ranges: readonly ExportRange[]): TableMetadata[] {
  return ranges
    .filter((range) => rangeOverlaps(range, table.lower, table.upper))
    .map((range) => ({
      ...table,
      lower: compareBytes(range.lower, table.lower) > 0 ? range.lower : table.lower,
      upper: compareBytes(range.upper, table.upper) < 0 ? range.upper : table.upper,
      clipped: true,
    }))
}
