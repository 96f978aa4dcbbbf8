import { systemErrorCode } from '../base/errors.ts'
import { type FileSystem, joinPath } from '../base/file-system.ts'
import type { Damage } from './damage.ts'
import { type DatabaseInspection, hasChanged, inspectDatabase } from './inspect-folder.ts'
import { inspectLog } from './inspect-log.ts'
import { LogChain } from './log-chain.ts'
import { logName, type TableMetadata, tableName } from './table-metadata.ts'
import { verifyTable } from './verify-table.ts'

export interface VerifyOptions {
  readonly onDamage: (damage: Damage) => void
  /** What is worth knowing and no damage: torn tails, orphaned files. */
  readonly onNote?: (note: Damage) => void
  /** As in `VerifyTableOptions`. */
  readonly onBytes?: (bytes: number) => Promise<void> | undefined
}

export interface VerifiedDatabase {
  readonly files: number
  readonly bytes: number
  /** Of tables, clipped ones whole; tombstones and what is overwritten counted. */
  readonly entries: number
  /** Operations in the logs. */
  readonly logged: number
}

/**
 * Reads every byte of the database in `folder` that counts and reports what is not as it was written or does not fit together. Nothing is
 * changed. The database may be in use: files that its owner removes meanwhile are passed over. Rejects only where a file cannot be read.
 */
export async function verifyDatabase(fileSystem: FileSystem, folder: string, options: VerifyOptions): Promise<VerifiedDatabase> {
  const inspection = await inspectDatabase(fileSystem, folder)
  for (const damage of inspection.damages) options.onDamage(damage)
  noteLeftOvers(inspection, options)
  const there = inspection.files.filter(
    ({ status, kind }) => status !== 'missing' && status !== 'orphaned' && status !== 'foreign' && kind !== 'table',
  )
  const done = { files: 0, bytes: 0 }
  for (const { kind, bytes = 0 } of there) {
    if (kind === 'log') continue
    done.files++
    done.bytes += bytes
    await options.onBytes?.(bytes)
  }
  const tables = await verifyTables(fileSystem, inspection, options)
  const logs = await verifyLogs(fileSystem, inspection, options)
  return {
    files: done.files + tables.files + logs.files,
    bytes: done.bytes + tables.bytes + logs.bytes,
    entries: tables.count,
    logged: logs.count,
  }
}

interface Verified {
  files: number
  bytes: number
  count: number
}

/** Tables that count; where the manifest cannot tell, all that are there. */
async function verifyTables(fileSystem: FileSystem, inspection: DatabaseInspection, options: VerifyOptions): Promise<Verified> {
  const { folder, manifest, files } = inspection
  const parts = new Map<string, TableMetadata[]>()
  for (const table of manifest?.state.levels.flat() ?? []) {
    const name = tableName(table.file)
    parts.set(name, [...(parts.get(name) ?? []), table])
  }
  const result = { files: 0, bytes: 0, count: 0 }
  for (const { name, kind, status, bytes = 0 } of files) {
    if (kind !== 'table' || (status !== 'live' && status !== 'unknown')) continue
    const expected = parts.get(name)
    const verified = await orGone(fileSystem, inspection, joinPath(folder, name), options, (path) =>
      verifyTable(fileSystem, path, { ...options, ...(expected === undefined ? {} : { expected }) }),
    )
    result.files++
    result.bytes += bytes
    result.count += verified?.entries ?? 0
  }
  return result
}

/** Logs that count: each whole, in a chain, and only the newest that holds anything without an end. */
async function verifyLogs(fileSystem: FileSystem, inspection: DatabaseInspection, options: VerifyOptions): Promise<Verified> {
  const { folder, manifest, files } = inspection
  // Where the manifest cannot tell which logs count, none is missed.
  const first = manifest === undefined || manifest.ending === 'damaged' ? Number.POSITIVE_INFINITY : manifest.state.logNumber
  const result = { files: 0, bytes: 0, count: 0 }
  const numbers = files.filter(({ kind, status }) => kind === 'log' && status !== 'orphaned').map(({ number }) => number ?? 0)
  const closed = first === Number.POSITIVE_INFINITY ? undefined : manifest?.state.closedLog
  const chain = new LogChain(first, closed && { ...closed, path: joinPath(folder, logName(closed.number)) })
  let sequence = 0
  for (const number of numbers.sort((a, b) => a - b)) {
    const log = await orGone(fileSystem, inspection, joinPath(folder, logName(number)), options, (path) =>
      inspectLog(fileSystem, path, number),
    )
    if (log === undefined) {
      chain.skip()
      continue
    }
    const path = joinPath(folder, logName(number))
    result.files++
    result.bytes += log.bytes
    await options.onBytes?.(log.bytes)
    for (const damage of log.damages) options.onDamage(damage)
    if (log.ending === 'torn') options.onNote?.({ file: path, offset: log.end, what: `torn tail of ${log.bytes - log.end} bytes` })
    const content = log.records.filter(({ type }) => type !== 'mark')
    const { end, durableEnd: durable } = log
    const start = content[0]
    const previous = start?.type === 'start' ? start.previous : undefined
    const verdict = chain.next({ number, path, end, durable, previous, isEnded: log.ended || log.ending === 'damaged' })
    if (verdict.kind === 'damage' && !(await hasChanged(fileSystem, inspection)))
      options.onDamage({ file: verdict.path, offset: verdict.offset, what: verdict.what })
    // Nothing of it was durable: it was lost with the tail of the one before.
    if (verdict.kind === 'lost')
      options.onNote?.({ file: path, offset: 0, what: `lost, since the log before it ends at ${verdict.behind}` })
    if (verdict.kind === 'lost') continue
    for (const record of content) {
      if (record.type !== 'batches') continue
      const [batch] = record.batches
      if (batch !== undefined && batch.sequence <= sequence) {
        options.onDamage({ file: path, offset: record.offset, what: `sequence ${batch.sequence} after ${sequence}` })
      }
      sequence = record.batches.at(-1)?.sequence ?? sequence
      for (const { operations } of record.batches) result.count += operations.length
    }
  }
  const verdict = chain.finish()
  if (verdict.kind === 'damage' && !(await hasChanged(fileSystem, inspection)))
    options.onDamage({ file: verdict.path, offset: verdict.offset, what: verdict.what })
  return result
}

/** Runs `read`. A file that is gone is damage only where it still counts. */
async function orGone<T>(
  fileSystem: FileSystem,
  inspection: DatabaseInspection,
  path: string,
  options: VerifyOptions,
  read: (path: string) => Promise<T>,
): Promise<T | undefined> {
  try {
    return await read(path)
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error
    if (!(await hasChanged(fileSystem, inspection))) options.onDamage({ file: path, what: 'missing' })
    return undefined
  }
}

function noteLeftOvers({ folder, manifest, files }: DatabaseInspection, { onNote }: VerifyOptions): void {
  if (manifest?.ending === 'torn') {
    const path = joinPath(folder, files.find(({ kind, status }) => kind === 'manifest' && status === 'live')?.name ?? '')
    onNote?.({ file: path, offset: manifest.end, what: `torn tail of ${manifest.bytes - manifest.end} bytes` })
  }
  for (const { name, status, kind } of files) {
    const path = joinPath(folder, name)
    if (status === 'orphaned') onNote?.({ file: path, what: 'nothing refers to it; the next open removes it' })
    else if (status === 'foreign' && kind !== 'folder') onNote?.({ file: path, what: "not one of the engine's files" })
  }
}
