import { systemErrorCode } from '../base/errors.ts'
import { type FileSystem, fileSize, joinPath } from '../base/file-system.ts'
import { type Damage, damageOf } from './damage.ts'
import { inspectManifest, type ManifestInspection, readCurrent } from './inspect-manifest.ts'
import { currentName, type DatabaseFileKind, databaseFileKind, isTableOrLog, manifestName, tableName } from './table-metadata.ts'

export interface DatabaseFile {
  readonly name: string
  readonly kind: DatabaseFileKind
  /** Of a manifest, table or log: that of its name. */
  readonly number?: number
  /** `orphaned`: nothing refers to it; the next open removes it. `unknown`: the manifest could not be read. `foreign`: not the engine's. */
  readonly status: 'live' | 'orphaned' | 'missing' | 'unknown' | 'foreign'
  /** Undefined for folders and what is missing. */
  readonly bytes?: number
}

export interface DatabaseInspection {
  readonly folder: string
  /** Undefined: CURRENT or what it names could not be read, or there is none. */
  readonly manifest: ManifestInspection | undefined
  readonly files: readonly DatabaseFile[]
  readonly damages: readonly Damage[]
}

const attemptsMax = 5

/** What is in a database's folder, and what of it counts. The database may be in use or damaged; nothing is changed. */
export async function inspectDatabase(fileSystem: FileSystem, folder: string): Promise<DatabaseInspection> {
  for (let attempt = 1; ; attempt++) {
    const inspection = await inspectOnce(fileSystem, folder)
    // Who uses it may have put new files in the place of those that were just listed.
    if (inspection.damages.length === 0 || attempt === attemptsMax || !(await hasChanged(fileSystem, inspection))) return inspection
  }
}

/** Whether another state counts by now than was read: what was found missing may just have been removed. */
export async function hasChanged(fileSystem: FileSystem, { folder, manifest }: DatabaseInspection): Promise<boolean> {
  try {
    const number = await readCurrent(fileSystem, folder)
    if (manifest === undefined) return await fileSystem.exists(joinPath(folder, manifestName(number)))
    if (number !== manifest.number) return true
    const now = await inspectManifest(fileSystem, joinPath(folder, manifestName(number)), number)
    return now.end !== manifest.end
  } catch {
    return false
  }
}

async function inspectOnce(fileSystem: FileSystem, folder: string): Promise<DatabaseInspection> {
  const damages: Damage[] = []
  const names = await fileSystem.list(folder)
  const manifest = await readManifest(fileSystem, folder, names, damages)
  const live = manifest === undefined ? undefined : new Set(manifest.state.levels.flat().map(({ file }) => tableName(file)))
  const files: DatabaseFile[] = []
  for (const name of names) {
    const { kind, number } = databaseFileKind(name)
    const bytes = await sizeOf(fileSystem, joinPath(folder, name))
    if (bytes === 'gone') continue
    if (bytes === 'folder') files.push({ name, kind: 'folder', status: 'foreign' })
    else {
      const status = statusOf(name, kind, number, manifest, live)
      files.push({ name, kind, ...(number === undefined ? {} : { number }), status, bytes })
    }
  }
  // Of a damaged manifest only the beginning is known: what it names there may have been dropped since.
  for (const name of manifest?.ending === 'damaged' ? [] : (live ?? [])) {
    if (files.some((file) => file.name === name)) continue
    files.push({ name, kind: 'table', number: Number.parseInt(name, 10), status: 'missing' })
    damages.push({ file: joinPath(folder, name), what: 'missing, though the manifest names it' })
  }
  return { folder, manifest, files, damages }
}

async function readManifest(
  fileSystem: FileSystem,
  folder: string,
  names: readonly string[],
  damages: Damage[],
): Promise<ManifestInspection | undefined> {
  if (!names.includes(currentName)) {
    const other = names.find(isTableOrLog)
    if (other !== undefined) damages.push({ file: joinPath(folder, currentName), what: `missing, though ${other} is there` })
    return undefined
  }
  try {
    const number = await readCurrent(fileSystem, folder)
    const path = joinPath(folder, manifestName(number))
    if (!(await fileSystem.exists(path))) {
      damages.push({ file: path, what: 'missing, though CURRENT names it' })
      return undefined
    }
    const manifest = await inspectManifest(fileSystem, path, number)
    damages.push(...manifest.damages)
    return manifest
  } catch (error) {
    // A manifest that was removed meanwhile is found out by who compares with CURRENT again.
    if (systemErrorCode(error) === 'ENOENT') damages.push({ file: joinPath(folder, currentName), what: 'removed while it was read' })
    else damages.push(damageOf(error))
    return undefined
  }
}

function statusOf(
  name: string,
  kind: DatabaseFileKind,
  number: number | undefined,
  manifest: ManifestInspection | undefined,
  live: ReadonlySet<string> | undefined,
): DatabaseFile['status'] {
  if (kind === 'foreign') return 'foreign'
  if (kind === 'temporary') return 'orphaned'
  if (kind === 'current') return 'live'
  if (manifest === undefined || live === undefined) return 'unknown'
  if (kind === 'manifest') return number === manifest.number ? 'live' : 'orphaned'
  if (kind === 'log') return (number ?? 0) >= manifest.state.logNumber ? 'live' : 'orphaned'
  return live.has(name) ? 'live' : manifest.ending === 'damaged' ? 'unknown' : 'orphaned'
}

async function sizeOf(fileSystem: FileSystem, path: string): Promise<number | 'folder' | 'gone'> {
  if (await isFolder(fileSystem, path)) return 'folder'
  return (await fileSize(fileSystem, path)) ?? 'gone'
}

/** Also false where nothing is there. */
export async function isFolder(fileSystem: FileSystem, path: string): Promise<boolean> {
  try {
    await fileSystem.list(path)
    return true
  } catch (error) {
    const code = systemErrorCode(error)
    if (code === 'ENOTDIR' || code === 'ENOENT') return false
    throw error
  }
}
