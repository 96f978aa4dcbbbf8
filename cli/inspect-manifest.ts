import { toHex } from '../base/bytes.ts'
import type { FileSystem } from '../base/file-system.ts'
import { type Damage, inspectManifest, type ManifestInspection, type ManifestRecord } from '../lsm/index.ts'
import { type TableMetadata, tableName } from '../lsm/table-metadata.ts'
import type { ClosedLog } from '../lsm/version-edit.ts'
import { endingText } from './inspect-log.ts'
import { type Printer, quoted } from './printer.ts'
import { bytesJson } from './text.ts'
import { byteText } from './units.ts'

/** Prints a manifest for people; returns it for `--json`. */
export async function inspectManifestFile(
  fileSystem: FileSystem,
  path: string,
  number: number,
  printer: Printer,
  damages: Damage[],
): Promise<object> {
  const manifest = await inspectManifest(fileSystem, path, number)
  damages.push(...manifest.damages)
  await printer.line(() => `manifest ${path}, number ${number}, ${manifest.bytes} bytes`)
  await printer.line(() => '      offset     bytes  edit')
  for (const record of manifest.records) {
    await printer.line(() => `${String(record.offset).padStart(12)}  ${String(record.bytes).padStart(8)}  ${editText(record)}`)
    for (const table of record.edit?.added ?? []) await printer.line(() => `                        adds ${tableText(table)}`)
  }
  await printer.line(() => endingText(manifest))
  await printState(manifest, printer)
  return {
    kind: 'manifest',
    path,
    number,
    bytes: manifest.bytes,
    edits: manifest.records.map(editJson),
    ending: { state: manifest.ending, end: manifest.end, durableEnd: manifest.durableEnd },
    state: stateJson(manifest),
  }
}

export async function printState({ state }: ManifestInspection, printer: Printer): Promise<void> {
  const { nextNumber, lastSequence, logNumber, closedLog, mark } = state
  const parts = [`next number ${nextNumber}`, `last sequence ${lastSequence}`, `logs from ${logNumber} on count`]
  if (closedLog !== undefined) parts.push(closedText(closedLog))
  if (mark !== undefined) parts.push(`mark ${quoted(mark)}`)
  await printer.line(() => parts.join(', '))
  for (const [level, tables] of state.levels.entries()) {
    if (tables.length === 0) continue
    await printer.line(() => `level ${level}: ${tables.length} tables, ${byteText(tables.reduce((sum, { size }) => sum + size, 0))}`)
    for (const table of tables) await printer.line(() => `  ${tableText(table)}`)
  }
}

export function stateJson({ state }: ManifestInspection): object {
  const { nextNumber, lastSequence, logNumber, closedLog, mark } = state
  return {
    nextNumber,
    lastSequence,
    logNumber,
    ...(closedLog === undefined ? {} : { closedLog }),
    mark: mark === undefined ? null : toHex(mark),
    levels: state.levels.map((tables, level) => ({
      level,
      bytes: tables.reduce((sum, { size }) => sum + size, 0),
      tables: tables.map(tableJson),
    })),
  }
}

function closedText({ number, end }: ClosedLog): string {
  return `log ${number} closed at ${end}`
}

function editText({ edit }: ManifestRecord): string {
  if (edit === undefined) return 'no edit: a mark of what is durable'
  const parts: string[] = []
  if (edit.nextNumber !== undefined) parts.push(`next number ${edit.nextNumber}`)
  if (edit.lastSequence !== undefined) parts.push(`last sequence ${edit.lastSequence}`)
  if (edit.logNumber !== undefined) parts.push(`log number ${edit.logNumber}`)
  if (edit.closedLog !== undefined) parts.push(closedText(edit.closedLog))
  if (edit.mark !== undefined) parts.push(`mark ${quoted(edit.mark)}`)
  if (edit.dropped.length > 0) parts.push(`drops ${edit.dropped.join(', ')}`)
  return parts.join('; ')
}

function editJson({ offset, bytes, edit }: ManifestRecord): object {
  if (edit === undefined) return { offset, bytes }
  const { mark, added, ...rest } = edit
  return { offset, bytes, ...rest, ...(mark === undefined ? {} : { mark: toHex(mark) }), added: added.map(tableJson) }
}

function tableText(table: TableMetadata): string {
  const { id, file, level, size, entries, tombstones, lower, upper, clipped } = table
  const counts = `${entries} entries${tombstones > 0 ? `, ${tombstones} tombstones` : ''}${clipped ? ', clipped' : ''}`
  return `table ${id} (${tableName(file)}), level ${level}, ${byteText(size)}, ${counts}, ${quoted(lower)} to ${quoted(upper)}`
}

function tableJson({ lower, upper, ...rest }: TableMetadata): object {
  return { ...rest, ...bytesJson('lower', lower), ...bytesJson('upper', upper) }
}
