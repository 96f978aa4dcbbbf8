import { systemErrorCode } from '../base/errors.ts'
import { type FileSystem, joinPath } from '../base/file-system.ts'
import { databaseFileKind } from '../lsm/index.ts'
import { isFolder } from '../lsm/inspect-folder.ts'
import { identityName } from '../raft/data-directory.ts'
import { segmentNumber } from '../raft/log/format.ts'

/** Lists that make an export or import of moving shards whole (docs/formats-group.md). */
const listNames: ReadonlySet<string> = new Set(['LIST', 'HELD'])
const depthMax = 12

/** What lies somewhere under a folder. `part`: a set of tables that was not made whole: the next start removes it or goes on with it. */
export interface Store {
  readonly kind: 'data' | 'database' | 'log' | 'moving' | 'part' | 'other'
  readonly folder: string
  /** Of `moving`: the list's path. Of `other` and `part`: all names of files. */
  readonly names: readonly string[]
}

/** Every store in `folder` and below, from above. Folders that go away meanwhile are passed over. */
export async function findStores(fileSystem: FileSystem, folder: string, depth = 0): Promise<Store[]> {
  let names: string[]
  try {
    names = await fileSystem.list(folder)
  } catch (error) {
    if (depth > 0 && systemErrorCode(error) === 'ENOENT') return []
    throw error
  }
  const files: string[] = []
  const below: Store[] = []
  for (const name of names) {
    const path = joinPath(folder, name)
    if (!(await isFolder(fileSystem, path))) files.push(name)
    // `lock` holds sockets of the process that has the folder.
    else if (name !== 'lock' && depth < depthMax) below.push(...(await findStores(fileSystem, path, depth + 1)))
  }
  const found = kindOf(folder, files)
  return found === undefined ? below : [found, ...below]
}

function kindOf(folder: string, files: readonly string[]): Store | undefined {
  const kinds = files.map((name) => databaseFileKind(name).kind)
  if (files.includes(identityName)) return { kind: 'data', folder, names: files }
  if (kinds.includes('current') || kinds.includes('manifest')) return { kind: 'database', folder, names: files }
  if (files.some((name) => segmentNumber(name) !== undefined)) return { kind: 'log', folder, names: files }
  const lists = files.filter((name) => listNames.has(name))
  if (lists.length > 0) return { kind: 'moving', folder, names: lists }
  if (/(^|\/)(fetch|imports\/[^/]+|exports\/[^/]+)$/.test(folder)) return { kind: 'part', folder, names: files }
  // Tables without a manifest: a database that lost it.
  if (kinds.includes('table') || kinds.includes('log')) return { kind: 'database', folder, names: files }
  return files.length === 0 ? undefined : { kind: 'other', folder, names: files }
}
