import type { Clock } from '../base/clock.ts'
import type { Space } from '../base/disk-space.ts'
import type { Executor } from '../base/executor.ts'
import type { FileSystem } from '../base/file-system.ts'
import type { Logger } from '../base/logger.ts'
import { Database } from '../lsm/index.ts'
import type { Standing } from '../raft/standing.ts'
import { type ConfigStateMachine, loadConfigStateMachine } from './config-state-machine.ts'

/** Configs are small: what lies behind the mark is replayed from the shared log, and must not pin much of it. */
export const memtableBytes = 4 * 1024 * 1024

/** Opens the controllers' state machine over the database in `folder`, made if absent. Throws as `loadConfigStateMachine` and `Database.open` do. */
export async function openConfigStateMachine(options: {
  readonly fileSystem: FileSystem
  readonly executor: Executor
  readonly clock: Clock
  readonly logger: Logger
  readonly folder: string
  /** Where the controllers stand before their first entry. */
  readonly first: Standing
  /** What the cluster is formed with if this controller forms it. */
  readonly shardCount: number
  /** Called once, when the database takes no more writes: its disk failed, its files are damaged, or it has met a bug of ours. */
  readonly onFailure: (error: Error) => void
  /** A full disk is waited for. Not given: it is a failed one. */
  readonly space?: Space
}): Promise<ConfigStateMachine> {
  const { fileSystem, executor, clock, logger, folder, space, onFailure } = options
  const database = await Database.open({
    fileSystem,
    executor,
    clock,
    logger,
    folder,
    wal: false,
    memtableBytes,
    onFailure,
    ...(space === undefined ? {} : { space }),
  })
  try {
    return await loadConfigStateMachine(database, options)
  } catch (error) {
    await database.close()
    throw error
  }
}
