import { assert } from '../base/assert.ts'
import type { Space } from '../base/disk-space.ts'
import { isShardCount } from '../base/slot.ts'
import { type BlockCache, Database, type MemtableBudget, type TableFiles } from '../lsm/index.ts'
import { ExpiryHorizons } from './expiry-horizons.ts'
import { type GroupStateMachine, type LoadOptions, loadGroupStateMachine } from './group-state-machine.ts'

export interface GroupStateMachineOptions extends Omit<LoadOptions, 'horizons'> {
  /** Of this replica; made if absent. */
  readonly folder: string
  /** May be shared. */
  readonly blockCache: BlockCache
  /** May be shared. */
  readonly tableFiles?: TableFiles
  /** May be shared. */
  readonly memtableBudget: MemtableBudget
  /** A full disk is waited for. Not given: it is a failed one. */
  readonly space?: Space
  readonly shardCount: number
  /** Called when the store takes no more writes (its disk failed, its files are damaged, or it has met a bug of ours) and for each read that meets damage. */
  readonly onFailure?: (error: Error) => void
}

/** Opens or makes a replica's state. CorruptionError where its files are damaged. */
export async function openGroupStateMachine(options: GroupStateMachineOptions): Promise<GroupStateMachine> {
  const { fileSystem, executor, clock, logger, folder, blockCache, tableFiles, memtableBudget, space, onFailure } = options
  assert(isShardCount(options.shardCount), `shard count ${options.shardCount}`)
  const horizons = new ExpiryHorizons()
  const database = await Database.open({
    fileSystem,
    executor,
    clock,
    logger,
    folder,
    wal: false,
    memtableBudget,
    blockCache,
    boundaryOf: { prefixBytes: 2 },
    expiry: horizons,
    ...(tableFiles === undefined ? {} : { tableFiles }),
    ...(space === undefined ? {} : { space }),
    ...(onFailure === undefined ? {} : { onFailure }),
  })
  try {
    return await loadGroupStateMachine(database, { ...options, horizons })
  } catch (error) {
    await database.close()
    throw error
  }
}
