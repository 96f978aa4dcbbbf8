import { assert } from '../base/assert.ts'
import type { Clock } from '../base/clock.ts'
import { encodeError } from '../proto/error-codec.ts'
import { OstrakaError } from '../proto/errors.ts'
import { pb } from '../proto/messages.ts'
import type { RaftHost } from '../raft/raft-host.ts'
import { groupName, replicaStatus } from '../raft/replica-status.ts'
import type { GroupHost } from './group-host.ts'
import type { ShardLoads } from './shard-loads.ts'
import { type ShardStateName, serves } from './shard-state.ts'

/** How long `status --at` waits for its index. */
const waitMsMax = 10_000

/** Of the node; undefined: it has not come so far yet. */
export interface NodeStatusParts {
  readonly id: string
  readonly groups: GroupHost | undefined
  readonly host: RaftHost | undefined
  readonly loads: ShardLoads | undefined
  readonly configNumber: number
  readonly clock: Clock
}

/** What a node tells of itself; with `hash`, after reading every record. */
export async function nodeStatus(
  { id, groups, host, loads, configNumber, clock }: NodeStatusParts,
  request: pb.v1.NodeStatusRequest.$Properties,
): Promise<pb.v1.NodeStatusReply> {
  const isAsked = (uid: string) => !request.group || groupName(uid) === request.group
  const asked = (groups?.all() ?? []).filter(({ replica }) => isAsked(replica.group))
  const lost = (groups?.missing ?? []).filter(({ group }) => isAsked(group))
  const replicas = lost.map(
    ({ group, reason }) => new pb.v1.ReplicaStatus({ uid: group, group: groupName(group), role: 'lost', failure: reason, configNumber }),
  )
  try {
    for (const { replica, stateMachine } of asked) {
      assert(host !== undefined, 'a hosted replica has a host')
      if (request.hash && request.at) await replica.whenApplied(request.at, clock, waitMsMax)
      const status = replicaStatus(replica, host)
      status.configNumber = configNumber
      status.shards = stateMachine.status().shards.map(({ shard, state }) => shardStatus(shard, state, loads))
      if (request.hash) {
        const { index, hash } = await stateMachine.stateHash()
        status.stateHash = hash
        status.hashIndex = index
      }
      replicas.push(status)
    }
  } catch (error) {
    if (!(error instanceof OstrakaError)) throw error
    return new pb.v1.NodeStatusReply({ id, error: encodeError(error) })
  }
  return new pb.v1.NodeStatusReply({ id, replicas })
}

/** What is served of a shard counts where it is served now, also what another group of this node served of it a moment ago. */
function shardStatus(shard: number, state: ShardStateName, loads: ShardLoads | undefined): pb.v1.ShardStatus {
  if (loads === undefined || !serves(state)) return new pb.v1.ShardStatus({ shard, state })
  return new pb.v1.ShardStatus({ shard, state, readsPerSecond: loads.readsOf(shard), writesPerSecond: loads.writesOf(shard) })
}
