/** What the files of a node take on disk, by what they are for. */
import { lstat, readdir } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'

export interface NodeFiles {
  /** Of its replicas: tables and what names them. */
  tables: number
  /** Cuts of shards that leave, as far as their files are no tables. */
  exports: number
  /** What is fetched of shards that come, and of snapshots. */
  staging: number
  /** The shared log. */
  log: number
}

const kinds: Readonly<Record<string, keyof NodeFiles>> = { exports: 'exports', imports: 'staging', fetch: 'staging', snapshots: 'staging' }

/** Bytes. A file with several names counts once, as a table if it is one. */
export async function filesOfNode(data: string): Promise<NodeFiles> {
  const files: NodeFiles = { tables: 0, exports: 0, staging: 0, log: 0 }
  const found: { readonly kind: keyof NodeFiles; readonly inode: number; readonly bytes: number }[] = []
  for (const path of await readdir(data, { recursive: true })) {
    const stats = await lstat(join(data, path)).catch(gone)
    const kind = kindOf(path)
    if (kind !== undefined && stats?.isFile()) found.push({ kind, inode: stats.ino, bytes: stats.size })
  }
  const counted = new Set<number>()
  for (const { kind, inode, bytes } of [...found.filter(({ kind }) => kind === 'tables'), ...found]) {
    if (counted.has(inode)) continue
    counted.add(inode)
    files[kind] += bytes
  }
  return files
}

/** `path`: within the data directory. A replica's folder is groups/UID.NUMBER. */
function kindOf(path: string): keyof NodeFiles | undefined {
  const [top, , below] = relative('', path).split(sep)
  if (top === 'log') return 'log'
  return top === 'groups' ? (kinds[below ?? ''] ?? 'tables') : undefined
}

/** It was removed since it was listed. */
function gone(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
  return undefined
}
