import { type FileSystem, joinPath, readFile } from '../base/file-system.ts'
import { type Damage, type DatabaseInspection, inspectDatabase } from '../lsm/index.ts'
import { decodeIdentity, identityName } from '../raft/data-directory.ts'
import { decodeExportList } from '../shardserver/export-list.ts'
import { readOr } from './damage-report.ts'
import { findStores, type Store } from './data-tree.ts'
import { usageError } from './exit-code.ts'
import { printState, stateJson } from './inspect-manifest.ts'
import type { Printer } from './printer.ts'
import { byteText } from './units.ts'

/** Prints for people what lies in a folder and below; returns it for `--json`. */
export async function inspectFolder(fileSystem: FileSystem, folder: string, printer: Printer, damages: Damage[]): Promise<object> {
  const stores = await findStores(fileSystem, folder)
  if (!stores.some(({ kind }) => kind !== 'other')) throw usageError(`${folder} holds neither a database nor a data directory`)
  const described: object[] = []
  for (const [i, store] of stores.entries()) {
    if (i > 0) await printer.line(() => '')
    described.push(await inspectStore(fileSystem, store, printer, damages))
  }
  return { kind: 'folder', path: folder, stores: described }
}

async function inspectStore(fileSystem: FileSystem, store: Store, printer: Printer, damages: Damage[]): Promise<object> {
  const { kind, folder, names } = store
  if (kind === 'database') return inspectDatabaseFolder(fileSystem, folder, printer, damages)
  if (kind === 'data') return inspectDataDirectory(fileSystem, store, printer, damages)
  if (kind === 'moving') return inspectMoving(fileSystem, store, printer, damages)
  const what = {
    log: 'shared log of a node',
    part: 'a snapshot or moving shards on their way in or out, not whole: the next start removes it or goes on',
    other: 'other files',
  }[kind]
  await printer.line(() => `${folder}: ${what}`)
  for (const name of names) await printer.line(() => `  ${name}`)
  return { kind, folder, files: names }
}

async function inspectDatabaseFolder(fileSystem: FileSystem, folder: string, printer: Printer, damages: Damage[]): Promise<object> {
  const database = await inspectDatabase(fileSystem, folder)
  damages.push(...database.damages)
  const { manifest, files } = database
  await printer.line(() => `${folder}: database${manifest === undefined ? ', whose state cannot be read' : ''}`)
  for (const { name, kind, status, bytes } of files) {
    await printer.line(() => `  ${name.padEnd(20)} ${kind.padEnd(9)} ${status.padEnd(8)} ${bytes === undefined ? '' : byteText(bytes)}`)
  }
  if (manifest !== undefined) await printState(manifest, printer)
  const totals = totalsOf(database)
  await printer.line(
    () =>
      `${totals.tables} tables, ${totals.entries} entries, ${totals.tombstones} of them tombstones; ${byteText(totals.liveBytes)} live, ${byteText(totals.orphanedBytes)} orphaned`,
  )
  return {
    kind: 'database',
    folder,
    manifest: manifest?.number ?? null,
    files,
    state: manifest === undefined ? null : stateJson(manifest),
    totals,
  }
}

function totalsOf({ manifest, files }: DatabaseInspection) {
  const byFile = new Map((manifest?.state.levels.flat() ?? []).map((table) => [table.file, table]))
  const bytesOf = (wanted: string) => files.filter(({ status }) => status === wanted).reduce((sum, { bytes = 0 }) => sum + bytes, 0)
  let entries = 0
  let tombstones = 0
  for (const table of byFile.values()) {
    entries += table.entries
    tombstones += table.tombstones
  }
  return { tables: byFile.size, entries, tombstones, liveBytes: bytesOf('live'), orphanedBytes: bytesOf('orphaned') }
}

async function inspectDataDirectory(
  fileSystem: FileSystem,
  { folder, names }: Store,
  printer: Printer,
  damages: Damage[],
): Promise<object> {
  const path = joinPath(folder, identityName)
  const bytes = await readFile(fileSystem, path)
  const identity = readOr(damages, () => decodeIdentity(path, bytes))
  const others = names.filter((name) => name !== identityName)
  if (identity === undefined) await printer.line(() => `${folder}: data directory, whose identity cannot be read`)
  else {
    const { role, id, nonce, clusterId, replicas, retired = [] } = identity
    await printer.line(() => `${folder}: data directory of ${role} ${id}, nonce ${nonce}, cluster ${clusterId || 'none yet'}`)
    for (const [group, replica] of Object.entries(replicas)) await printer.line(() => `  replica ${replica} of ${group}`)
    for (const { group, replica, reason } of retired) await printer.line(() => `  replica ${replica} of ${group} is retired: ${reason}`)
  }
  if (others.length > 0) await printer.line(() => `  other files: ${others.join(', ')}`)
  return { kind: 'data', folder, identity: identity ?? null, otherFiles: others }
}

async function inspectMoving(fileSystem: FileSystem, { folder, names }: Store, printer: Printer, damages: Damage[]): Promise<object> {
  const path = joinPath(folder, names[0] ?? '')
  const bytes = await readFile(fileSystem, path)
  const list = readOr(damages, () => decodeExportList(bytes, path))
  await printer.line(() =>
    list === undefined
      ? `${folder}: moving shards, whose list cannot be read`
      : `${folder}: shards ${list.shards.join(', ')} of migration ${list.id}, attempt ${list.attempt}, cut at ${list.cut}: ${list.records} records`,
  )
  for (const { name, size } of list?.files ?? []) await printer.line(() => `  ${name.padEnd(20)} ${byteText(size)}`)
  if (list === undefined) return { kind: 'moving', folder, list: null }
  const { digest, ...rest } = list
  return { kind: 'moving', folder, list: { ...rest, digest: Buffer.from(digest).toString('hex') } }
}
