import { CorruptionError } from '../base/errors.ts'
import { joinPath, makeFolderDurably } from '../base/file-system.ts'
import { type FlushInput, flushJobName } from './jobs.ts'
import { Manifest } from './manifest.ts'
import { Memtable } from './memtable.ts'
import { type ResolvedOptions, tableWriterOptions } from './options.ts'
import { removeUnused } from './remove-unused.ts'
import { currentName, databaseFileKind, logName, manifestName, type TableMetadata, tableName, type WrittenTable } from './table-metadata.ts'
import { replayLogs } from './write-ahead-log.ts'

export interface Recovered {
  readonly manifest: Manifest
  /** The log to begin, with a WAL. */
  readonly logNumber: number
}

/**
 * Opens what is in the folder: reads the manifest, turns logs that are not yet in tables into tables, begins a new manifest, removes what
 * nothing refers to. Every step may be cut off by a crash and done again: nothing is removed before the edit that makes it useless is durable.
 */
export async function recover(options: ResolvedOptions): Promise<Recovered> {
  const { fileSystem, folder } = options
  await makeFolderDurably(fileSystem, folder)
  const names = await fileSystem.list(folder)
  const manifest = await Manifest.open(options, names)
  try {
    return { manifest, logNumber: await bringUpToDate(options, manifest, names) }
  } catch (error) {
    await manifest.close()
    throw error
  }
}

/** Resolves to the number of the log to begin. */
async function bringUpToDate(options: ResolvedOptions, manifest: Manifest, names: readonly string[]): Promise<number> {
  const { fileSystem, folder } = options
  checkTables(manifest, folder, names)
  const recovered = await replay(options, manifest, names)
  if (recovered.length > 0) await fileSystem.syncFolder(folder)
  await manifest.roll()
  const logNumber = manifest.newNumber()
  const lastSequence = recovered.reduce((most, table) => Math.max(most, table.maxSequence), 0)
  const added: TableMetadata[] = recovered.map((table) => ({
    ...table,
    id: manifest.newNumber(),
    order: manifest.newNumber(),
    level: 0,
    clipped: false,
  }))
  await manifest.commit(
    () => ({ dropped: [], added, logNumber, lastSequence }),
    () => undefined,
  )
  await removeOrphans(options, manifest)
  return logNumber
}

/** A table that is missing is found now, not when it is read. */
function checkTables(manifest: Manifest, folder: string, names: readonly string[]): void {
  const there = new Set(names)
  for (const { file } of manifest.state.version.tables()) {
    if (!there.has(tableName(file)))
      throw new CorruptionError(joinPath(folder, tableName(file)), undefined, 'missing, though the manifest names it')
  }
}

/** Writes tables for what the logs hold, oldest first. */
async function replay(options: ResolvedOptions, manifest: Manifest, names: readonly string[]): Promise<WrittenTable[]> {
  const { folder } = options
  const written: WrittenTable[] = []
  const first = manifest.state.logNumber
  const numbers = names
    .map((name) => databaseFileKind(name))
    .flatMap(({ kind, number = 0 }) => (kind === 'log' && number >= first ? [number] : []))
    .sort((a, b) => a - b)
  let memtable: Memtable | undefined
  const flush = async () => {
    const full = memtable
    if (full === undefined) return
    memtable = undefined
    const input: FlushInput = {
      folder,
      file: manifest.newNumber(),
      image: full.image(),
      writer: tableWriterOptions(options),
    }
    try {
      written.push(await options.executor.run<FlushInput, WrittenTable>(flushJobName, input))
    } finally {
      full.release()
    }
  }
  try {
    await replayLogs(options, numbers, { firstThatCounts: first, closed: manifest.state.closedLog }, (operations, sequence) => {
      if (operations.length === 0) return undefined
      memtable ??= newMemtable(options, sequence - 1)
      memtable.add(operations, sequence)
      return memtable.bytes >= options.memtableBudget.bytes ? flush() : undefined
    })
    await flush()
  } finally {
    memtable?.release()
  }
  return written
}

function newMemtable({ memtableBudget }: ResolvedOptions, baseSequence: number): Memtable {
  // Its memory is used again by the memtables to come.
  const memtable = new Memtable(baseSequence, memtableBudget.bytes, memtableBudget.pool)
  memtable.retain()
  return memtable
}

/** Removes files of ours that nothing refers to; files with other names are left alone. */
async function removeOrphans(options: ResolvedOptions, manifest: Manifest): Promise<void> {
  const { fileSystem, folder } = options
  const { state } = manifest
  const kept = new Set([currentName, manifestName(manifest.number), ...state.version.tables().map((table) => tableName(table.file))])
  let removed = 0
  for (const name of await fileSystem.list(folder)) {
    if (databaseFileKind(name).kind === 'foreign' || kept.has(name) || name === logName(state.logNumber)) continue
    await removeUnused(fileSystem, joinPath(folder, name), options.logger)
    removed++
  }
  if (removed > 0) options.logger.info({ folder, removed }, 'files that nothing refers to were removed')
}
