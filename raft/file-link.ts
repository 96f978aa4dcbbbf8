import { systemErrorCode } from '../base/errors.ts'
import { type FileSystem, joinPath, makeFolderDurably } from '../base/file-system.ts'
import { OstrakaError } from '../proto/errors.ts'
import type { FileSet } from './file-set.ts'
import type { Pace } from './pace.ts'

export interface LinkOptions {
  readonly fileSystem: FileSystem
  /** Whole and durable, in the same file system. May be removed meanwhile. */
  readonly set: FileSet
  /** As in FetchOptions. */
  readonly folder: string
  /** Files that are linked count as copied ones where there is a limit. */
  readonly pace: Pace
  readonly signal: AbortSignal
  onProgress(linked: number, total: number): void
}

/**
 * Has `folder` hold hard links to the files of a set that lies on this very node: no byte is read or written, however large they are. When it resolves the
 * names are durable; the files are as whole as those of the set, whose checksums are not looked at.
 *
 * Rejects with OstrakaError: UNAVAILABLE where the set has gone meanwhile, CANCELLED by `signal`; with DiskError or the file system's error where the disk refuses.
 */
export async function linkFiles({ fileSystem, set, folder, pace, signal, onProgress }: LinkOptions): Promise<FileSet> {
  const total = set.files.reduce((sum, { size }) => sum + size, 0)
  let linked = 0
  await makeFolderDurably(fileSystem, folder)
  // What was pulled from elsewhere before: another replica's files, which may be others under the same names.
  for (const name of await fileSystem.list(folder)) await fileSystem.unlink(joinPath(folder, name))
  onProgress(0, total)
  for (const { name, size } of set.files) {
    await link(fileSystem, joinPath(set.folder, name), joinPath(folder, name))
    for (let left = size; left > 0; ) {
      const bytes = Math.min(left, pace.pieceBytes)
      await pace.spend(bytes)
      if (signal.aborted) throw new OstrakaError('CANCELLED', 'the files are not wanted any more', true)
      left -= bytes
      linked += bytes
      onProgress(linked, total)
    }
  }
  await fileSystem.syncFolder(folder)
  return { ...set, folder }
}

async function link(fileSystem: FileSystem, from: string, to: string): Promise<void> {
  try {
    await fileSystem.link(from, to)
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') throw new OstrakaError('UNAVAILABLE', `${from} has gone`, true)
    throw error
  }
}
