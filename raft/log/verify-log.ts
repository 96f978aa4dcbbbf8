import type { Clock } from '../../base/clock.ts'
import { systemErrorCode } from '../../base/errors.ts'
import type { FileSystem } from '../../base/file-system.ts'
import { type Logger, silentLogger } from '../../base/logger.ts'
import { ReadOnlyFileSystem } from '../../base/read-only-file-system.ts'
import { EntryCache } from './entry-cache.ts'
import { type LogDamage, Recovery } from './recovery.ts'
import { Segments } from './segments.ts'

export interface VerifiedLog {
  readonly segments: number
  readonly bytes: number
  readonly damage: readonly LogDamage[]
  /** What was never acknowledged: the next start cuts it. */
  readonly torn: { readonly file: string; readonly offset: number } | undefined
}

const attemptsMax = 5

/** What a start would find in the shared log of `folder`. Nothing is changed; its node may be running. */
export async function verifyLog(fileSystem: FileSystem, clock: Clock, folder: string): Promise<VerifiedLog> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await verifyOnce(new ReadOnlyFileSystem(fileSystem), clock, folder)
    } catch (error) {
      // A node that runs frees segments, also between our listing and opening them.
      if (systemErrorCode(error) !== 'ENOENT' || attempt === attemptsMax) throw error
    }
  }
}

async function verifyOnce(fileSystem: FileSystem, clock: Clock, folder: string): Promise<VerifiedLog> {
  let torn: VerifiedLog['torn']
  const logger: Logger = {
    ...silentLogger,
    warn(fields) {
      if ('file' in fields && 'offset' in fields) torn = { file: String(fields.file), offset: Number(fields.offset) }
    },
  }
  const segments = new Segments()
  try {
    const { damage } = await new Recovery({ fileSystem, clock, logger, folder, noSync: true }, segments, new EntryCache(0)).run()
    let count = 0
    let bytes = 0
    for (const { file } of segments.all()) {
      count++
      bytes += await file.size()
    }
    return { segments: count, bytes, damage, torn }
  } finally {
    for (const { file } of segments.all()) await file.close()
  }
}
