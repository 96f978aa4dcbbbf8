import { systemErrorCode } from './errors.ts'

/**
 * Files as a seam. Production: `base/node-file-system.ts`; simulator: a disk that, when its process crashes, keeps what was synced and a
 * random part of the rest; and `base/memory-file-system.ts`. One contract suite (`test/base/file-system-contract.ts`) runs over all.
 *
 * The durability rules are POSIX's, read strictly:
 * 1. Bytes written are durable only after `sync` of that file has resolved.
 * 2. A file's name (after create, rename, link, unlink) is durable only after `syncFolder` of its folder has resolved.
 * 3. A `sync` that fails is final: nothing may be assumed of what it covered, and the caller must not try again (DiskError, exit 74).
 * Paths are absolute or relative as the caller likes, joined with '/'. Errors carry the system's `code` (ENOENT, EEXIST, ENOSPC, EIO).
 */

export interface File {
  readonly path: string
  /** Fills `target` from `position`; returns the bytes read, less than asked only at the end of the file. */
  read(target: Uint8Array, position: number): Promise<number>
  /**
   * The same at once, where reads have been fast of late (they come from the page cache), this turn has not read much yet, and `target` takes at most
   * 64 KiB; else undefined: use `read`. Throws what `read` would reject with.
   */
  readNow(target: Uint8Array, position: number): number | undefined
  /** Where `readNow` refuses for no other reason than that this turn has read its share: resolves in the next, for all who wait. Undefined elsewhere. */
  nextTurn?(): Promise<void> | undefined
  /** The same at once, however long the disk takes: nothing else of this thread runs until then. Throws what `read` would reject with. */
  readSync(target: Uint8Array, position: number): number
  /** Writes all of `chunks`, one after the other, at `position` (which may lie behind the end). Resolves when all are written, not durable. */
  write(chunks: readonly Uint8Array[], position: number): Promise<void>
  /** fdatasync: resolves when all bytes written before the call, and the file's length, are durable. */
  sync(): Promise<void>
  truncate(length: number): Promise<void>
  /** Bytes. */
  size(): Promise<number>
  close(): Promise<void>
}

export interface FileSystem {
  /** `read`: must exist. `write`: for reading and writing, must exist. `create`: made anew, EEXIST if it is there. */
  open(path: string, mode: 'read' | 'write' | 'create'): Promise<File>
  /** `open` for reading at once, however long the disk takes. Throws what it would reject with. */
  openSync(path: string): File
  /** Replaces `to` if it is there. Atomic. */
  rename(from: string, to: string): Promise<void>
  /** A hard link. EEXIST if `to` is there. */
  link(from: string, to: string): Promise<void>
  /** ENOENT if it is not there. */
  unlink(path: string): Promise<void>
  /** With parents; nothing happens if it is there. The new names are durable after `syncFolder` of each parent. */
  makeFolder(path: string): Promise<void>
  /** Removes a folder and all in it; nothing happens if it is not there. */
  removeFolder(path: string): Promise<void>
  /** Names (not paths) of files and folders, sorted. ENOENT if it is not there. */
  list(path: string): Promise<string[]>
  exists(path: string): Promise<boolean>
  syncFolder(path: string): Promise<void>
  /** Bytes that this process can still write in the file system that holds `path`, which is there. */
  freeBytes(path: string): Promise<number>
}

export function joinPath(...parts: string[]): string {
  return parts.join('/')
}

/** The folder that holds `path` ('.' for a bare name). */
export function parentFolder(path: string): string {
  const slash = path.lastIndexOf('/')
  return slash < 0 ? '.' : slash === 0 ? '/' : path.slice(0, slash)
}

/**
 * Makes `path` with its parents and syncs the folder of each, so that the names survive a crash. Also where they are there already: a process
 * may have been killed between making and syncing them. A folder above that may not be opened was not made by us.
 */
export async function makeFolderDurably(fileSystem: FileSystem, path: string): Promise<void> {
  await fileSystem.makeFolder(path)
  let folder = path
  do {
    folder = parentFolder(folder)
    try {
      await fileSystem.syncFolder(folder)
    } catch (error) {
      if (systemErrorCode(error) !== 'EACCES') throw error
      return
    }
  } while (folder !== '.' && folder !== '/')
}

/** Bytes of a file; undefined where it is not there. */
export async function fileSize(fileSystem: FileSystem, path: string): Promise<number | undefined> {
  try {
    const file = await fileSystem.open(path, 'read')
    try {
      return await file.size()
    } finally {
      await file.close()
    }
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Reads a whole file. */
export async function readFile(fileSystem: FileSystem, path: string): Promise<Uint8Array> {
  const file = await fileSystem.open(path, 'read')
  try {
    const bytes = new Uint8Array(await file.size())
    const count = await file.read(bytes, 0)
    return bytes.subarray(0, count)
  } finally {
    await file.close()
  }
}

/** Puts `bytes` under `path` so that after a crash either the old or the new content is there, whole: temporary file, sync, rename, sync of the folder. */
export async function replaceFile(fileSystem: FileSystem, path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.tmp`
  if (await fileSystem.exists(temporary)) await fileSystem.unlink(temporary)
  const file = await fileSystem.open(temporary, 'create')
  try {
    await file.write([bytes], 0)
    await file.sync()
  } finally {
    await file.close()
  }
  await fileSystem.rename(temporary, path)
  await fileSystem.syncFolder(parentFolder(path))
}
