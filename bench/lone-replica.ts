import type { Seams } from '../base/seams.ts'
import { BlockCache, MemtableBudget } from '../lsm/index.ts'
import { firstStanding } from '../raft/standing.ts'
import { encodeMigration } from '../shardserver/entry.ts'
import type { GroupStateMachine } from '../shardserver/group-state-machine.ts'
import type { MigrationStep } from '../shardserver/migration-entry.ts'
import { openGroupStateMachine } from '../shardserver/open-group.ts'

const cacheBytes = 64 * 1024 * 1024

/** One replica of a group without others and without a network: what is applied to it is committed. */
export class LoneReplica {
  readonly machine: GroupStateMachine
  #index = 0

  private constructor(machine: GroupStateMachine) {
    this.machine = machine
  }

  static async open(seams: Seams, folder: string): Promise<LoneReplica> {
    const machine = await openGroupStateMachine({
      ...seams,
      folder,
      blockCache: new BlockCache(cacheBytes),
      memtableBudget: new MemtableBudget(cacheBytes),
      shardCount: 16,
      first: () => firstStanding(new Map([[1, 'n1']])),
    })
    return new LoneReplica(machine)
  }

  async apply(...entries: readonly Uint8Array[]): Promise<void> {
    await this.machine.apply(entries.map((data) => ({ term: 1, index: ++this.#index, kind: 0, data })))
  }

  step(step: MigrationStep): Promise<void> {
    return this.apply(encodeMigration(0, step))
  }
}
