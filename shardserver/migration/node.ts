import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/logger.ts'
import type { Random } from '../../base/random.ts'
import type { Config } from '../../proto/config.ts'
import type { ControllerClient } from '../../proto/controller-client.ts'
import type { ShardBirth } from '../../proto/migration-list.ts'
import type { ReplicaApi } from '../../raft/replica-api.ts'
import type { GroupResult } from '../apply-run.ts'
import type { GroupStatus } from '../group-state-machine.ts'
import type { MigrationBreak } from '../migration-break.ts'
import type { ShardMigrations } from '../shard-migrations.ts'
import type { MigrationBook } from './book.ts'
import type { Peers } from './peers.ts'

/** A replica that runs here, as those see it who move its shards. */
export interface MovingReplica {
  readonly replica: ReplicaApi<GroupResult>
  readonly stateMachine: ShardMigrations & { readonly timeMs: number; status(): GroupStatus }
}

/** What all that moves shards on one node shares. */
export interface MigrationNode {
  /** Id of this node. */
  readonly self: string
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly hosts: { get(group: string): MovingReplica | undefined; all(): readonly MovingReplica[] }
  readonly controllers: Pick<ControllerClient, 'report' | 'migrations'>
  readonly book: MigrationBook
  readonly peers: Peers
  /** Copies at once into groups that this node leads, and as many out of such groups. */
  readonly maxMigrations: number
  readonly breaks: ReadonlySet<MigrationBreak>
  clusterId(): Uint8Array
  config(): Config | undefined
  births(): readonly ShardBirth[]
  /** Node id; '' where it is not known. */
  nodeOf(group: string, replica: number): string
}
