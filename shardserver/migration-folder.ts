import { CorruptionError, systemErrorCode } from '../base/errors.ts'
import { type FileSystem, joinPath, readFile } from '../base/file-system.ts'
import type { Logger } from '../base/logger.ts'
import { decodeExportList, type ExportList } from './export-list.ts'

/** What lies in a folder of exports or imports: one subfolder for each attempt, named `<id>.<attempt>`. */
export interface FoundAttempt {
  readonly id: number
  readonly attempt: number
  readonly folder: string
  /** Undefined: it is not whole. */
  readonly list: ExportList | undefined
}

export function attemptName(id: number, attempt: number): string {
  return `${id}.${attempt}`
}

/** What `folder` holds; `marker` is the name of the list that is written last. A damaged list counts as none. */
export async function findAttempts(fileSystem: FileSystem, folder: string, marker: string): Promise<readonly FoundAttempt[]> {
  const found: FoundAttempt[] = []
  for (const { id, attempt, folder: path } of await listAttempts(fileSystem, folder)) {
    const list = await readList(fileSystem, joinPath(path, marker))
    found.push({ id, attempt, folder: path, list: list?.id === id && list.attempt === attempt ? list : undefined })
  }
  return found
}

/** The same by their names alone. */
export async function listAttempts(fileSystem: FileSystem, folder: string): Promise<readonly Omit<FoundAttempt, 'list'>[]> {
  const names = await listOf(fileSystem, folder)
  return names.flatMap((name) => {
    const match = /^(\d+)\.(\d+)$/.exec(name)
    return match === null ? [] : [{ id: Number(match[1]), attempt: Number(match[2]), folder: joinPath(folder, name) }]
  })
}

async function readList(fileSystem: FileSystem, path: string): Promise<ExportList | undefined> {
  if (!(await fileSystem.exists(path))) return undefined
  try {
    return decodeExportList(await readFile(fileSystem, path), path)
  } catch (error) {
    // It may have gone meanwhile.
    if (error instanceof CorruptionError || systemErrorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

async function listOf(fileSystem: FileSystem, folder: string): Promise<readonly string[]> {
  try {
    return await fileSystem.list(folder)
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return []
    throw error
  }
}

/** Removes a folder; where that fails it stays until the next open. */
export async function removeAttempt(fileSystem: FileSystem, folder: string, logger: Logger): Promise<void> {
  await fileSystem.removeFolder(folder).catch((error: unknown) => {
    logger.warn({ error, folder }, 'files of a migration that is over could not be removed')
  })
}
