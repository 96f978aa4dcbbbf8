import type { FileSystem } from '../base/file-system.ts'
import type { Logger } from '../base/logger.ts'

/** Removes a file that nothing refers to any more. One that cannot be removed is an orphan, which the next open tries to remove: no failure. */
export async function removeUnused(fileSystem: FileSystem, path: string, logger: Logger): Promise<void> {
  try {
    await fileSystem.unlink(path)
  } catch (error) {
    logger.warn({ error, path }, 'a file that is needed no more could not be removed')
  }
}
