import { unlessAborted } from '../base/abort.ts'
import { assert } from '../base/assert.ts'
import { compareBytes } from '../base/bytes.ts'
import type { Engine } from './engine.ts'
import { type InspectInput, inspectJobName } from './jobs.ts'
import type { Abortable } from './kind.ts'
import { hullOf, levelCount, rangeOverlaps, type TableMetadata, type WrittenTable } from './table-metadata.ts'
import { tablePath } from './table-writer.ts'
import type { IngestedTables } from './view.ts'

/** A table made by a checkpoint, or by `writeTable`. The file is hard-linked: it must lie on the database's file system, and stays where it is. */
export interface IngestFile {
  readonly path: string
  /** As its checkpoint said. Not given: the file goes as low as what is there, and files listed before it, allow, above all of them. */
  readonly level?: number
  /** Only [lower, upper) of the table counts. */
  readonly lower?: Uint8Array
  readonly upper?: Uint8Array
  /** crc32 of the file, where the caller has just verified it; otherwise it is read whole. */
  readonly checksum?: number
}

/** Whose properties one job reads: each job takes its turn on a busy machine. A file that is read whole is one by itself. */
const filesAtOnce = 64

/** Files that are verified, linked and open. To be given to `Database.ingest` once, which uses it up whatever becomes of it, or to `discardIngest`. */
export class PreparedIngest implements IngestedTables {
  readonly tables: readonly TableMetadata[]
  readonly foreign: ReadonlySet<number>
  #taken = false

  constructor(tables: readonly TableMetadata[], foreign: ReadonlySet<number>) {
    this.tables = tables
    this.foreign = foreign
  }

  take(): this {
    assert(!this.#taken, 'a prepared ingest is used once')
    this.#taken = true
    return this
  }
}

/**
 * Throws RangeError where the files do not fit together, CorruptionError where one is damaged, the signal's reason, or where the database failed or,
 * unless the ingest `isQueued`, was closed meanwhile; links nothing then.
 */
export async function prepareIngest(
  engine: Engine,
  files: readonly IngestFile[],
  { signal, isQueued = false }: Abortable & { readonly isQueued?: boolean },
): Promise<PreparedIngest> {
  const { options, manifest } = engine
  // What is in the flush queue becomes durable, also once `close` was called.
  const mustGoOn = () => (isQueued ? engine.mustNotHaveFailed() : engine.mustWrite())
  for (const { level } of files) {
    if (level !== undefined && !(Number.isInteger(level) && level >= 0 && level < levelCount)) throw new RangeError(`no level ${level}`)
  }
  const written: WrittenTable[] = []
  while (written.length < files.length) {
    signal?.throwIfAborted()
    const rest = files.slice(written.length, written.length + filesAtOnce).map(({ path, checksum }) => ({ path, checksum }))
    const some = rest.every(({ checksum }) => checksum !== undefined) ? rest : rest.slice(0, 1)
    written.push(...(await unlessAborted(options.executor.run<InspectInput, WrittenTable[]>(inspectJobName, { files: some }), signal)))
    mustGoOn()
  }
  const sources: string[] = []
  const tables: TableMetadata[] = []
  const foreign = new Set<number>()
  files.forEach((file, i) => {
    const part = clip(written[i] as WrittenTable, file)
    if (compareBytes(part.lower, part.upper) >= 0) return
    const number = manifest.newNumber()
    if (file.level === undefined) foreign.add(number)
    tables.push({ ...part, file: number, id: number, order: number, level: file.level ?? 0 })
    sources.push(file.path)
  })
  checkOverlaps(tables, foreign)
  const linked: TableMetadata[] = []
  try {
    for (const [i, table] of tables.entries()) {
      signal?.throwIfAborted()
      await options.fileSystem.link(sources[i] as string, tablePath(options.folder, table.file))
      linked.push(table)
      mustGoOn()
    }
    await unlessAborted(engine.store.warm(tables), signal)
    mustGoOn()
  } catch (error) {
    for (const table of linked) await engine.store.discard(table)
    throw error
  }
  for (const table of tables) engine.sequenceFloor = Math.max(engine.sequenceFloor, table.maxSequence)
  return new PreparedIngest(tables, foreign)
}

export async function discardIngest(engine: Engine, prepared: PreparedIngest): Promise<void> {
  for (const table of prepared.take().tables) await engine.store.discard(table)
}

/** Removes the files of an ingest that was taken and came to nothing. */
export async function removeIngest({ store }: Engine, { tables }: PreparedIngest): Promise<void> {
  for (const table of tables) await store.discard(table)
}

function clip(table: WrittenTable, file: IngestFile): WrittenTable & { readonly clipped: boolean } {
  const lower = file.lower !== undefined && compareBytes(file.lower, table.lower) > 0 ? file.lower : table.lower
  const upper = file.upper !== undefined && compareBytes(file.upper, table.upper) < 0 ? file.upper : table.upper
  return { ...table, lower, upper, clipped: lower !== table.lower || upper !== table.upper }
}

/** No level below 0 overlaps itself; files without a level, which may overlap one another, overlap none that has one. */
function checkOverlaps(tables: readonly TableMetadata[], foreign: ReadonlySet<number>): void {
  const hull = hullOf(tables.filter((table) => !foreign.has(table.id)))
  const misfit = () => new RangeError('the files to ingest overlap one another')
  if (hull !== undefined && tables.some((table) => foreign.has(table.id) && rangeOverlaps(hull, table.lower, table.upper))) throw misfit()
  for (let level = 1; level < levelCount; level++) {
    const run = tables.filter((table) => table.level === level).sort((a, b) => compareBytes(a.lower, b.lower))
    for (let i = 1; i < run.length; i++) {
      if (compareBytes((run[i - 1] as TableMetadata).upper, (run[i] as TableMetadata).lower) > 0) throw misfit()
    }
  }
}
