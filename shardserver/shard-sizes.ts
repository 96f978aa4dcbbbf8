import type { Clock } from '../base/clock.ts'
import { CorruptionError, DiskError, systemErrorCode } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { pb } from '../proto/messages.ts'
import type { HostedReplica } from './group-host.ts'
import { serves } from './shard-state.ts'

/** Sizes asked for in one turn. */
const shardsPerTurn = 32

/** By state machine; those that are not empty. */
export type LookedUp = ReadonlyMap<HostedReplica['stateMachine'], readonly pb.v1.ShardSize.$Properties[]>

interface ShardSizesOptions {
  readonly clock: Clock
  readonly logger: Logger
  hosted(): readonly HostedReplica[]
}

/** How large the shards are that this node serves. There may be thousands, which takes seconds on a busy node. */
export class ShardSizes {
  readonly #options: ShardSizesOptions

  constructor(options: ShardSizesOptions) {
    this.#options = options
  }

  /** Those of the groups that are led here, one group after the other. */
  async lookUp(): Promise<LookedUp> {
    const sizes = new Map<HostedReplica['stateMachine'], readonly pb.v1.ShardSize.$Properties[]>()
    for (const hosted of this.#options.hosted())
      if (hosted.replica.role === 'leader') sizes.set(hosted.stateMachine, await this.#of(hosted))
    return sizes
  }

  async #of({ replica, stateMachine }: HostedReplica): Promise<readonly pb.v1.ShardSize.$Properties[]> {
    const sizes: pb.v1.ShardSize.$Properties[] = []
    let asked = 0
    const isHere = () => this.#options.hosted().some((hosted) => hosted.stateMachine === stateMachine)
    for (const { shard, state } of stateMachine.status().shards) {
      if (++asked % shardsPerTurn === 0) await new Promise<void>((resolve) => this.#options.clock.soon(resolve))
      // What is being imported too: by the time that this is heard it may be served here.
      const bytes = serves(state) || state === 'importing' ? await this.#sizeOf(stateMachine, replica.group, shard, isHere) : 0
      if (bytes > 0) sizes.push({ shard, bytes })
    }
    return sizes
  }

  /**
   * Damage that is met here is a matter of the replica, which meets it too, and not of the node's heartbeats; nor is what it says that was closed meanwhile.
   */
  async #sizeOf(stateMachine: HostedReplica['stateMachine'], group: string, shard: number, isHere: () => boolean): Promise<number> {
    try {
      return await stateMachine.shardBytes(shard)
    } catch (error) {
      const isOfDisk = error instanceof CorruptionError || error instanceof DiskError || systemErrorCode(error) !== undefined
      if (!isOfDisk && isHere()) throw error
      this.#options.logger.warn(
        { group, shard, error: error instanceof Error ? error.message : String(error) },
        'the size of a shard is not known',
      )
      return 0
    }
  }
}
