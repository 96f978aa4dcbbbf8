import type { Config, GroupState, MemberState } from '../proto/config.ts'
import type { Directory } from '../proto/directory.ts'
import { pb } from '../proto/messages.ts'
import { autoRebalanceJson } from './auto-rebalance-view.ts'
import { rounded } from './units.ts'

/** CONTRACT's JSON of configs and states. */

export function configJson(config: Config, directory: Directory): object {
  return {
    number: config.number,
    at: new Date(config.atMs).toISOString(),
    cause: config.cause,
    author: config.author,
    shardCount: config.shardCount,
    groups: Object.fromEntries(
      config.groups.map((group) => [
        group.name,
        {
          weight: group.weight,
          state: group.state,
          members: group.members.map(({ node, replica, state }) => ({
            id: node,
            address: directory.addressOf(node) ?? null,
            replica,
            ...(state === 'voter' ? {} : { state }),
          })),
        },
      ]),
    ),
    assignment: Array.from({ length: config.shardCount }, (_, shard) => config.groupOf(shard)?.name ?? null),
    pins: Object.fromEntries([...config.pins].sort(([a], [b]) => a - b).map(([shard, group]) => [String(shard), group])),
  }
}

export function clusterStatusJson(status: pb.v1.ClusterStatusReply): object {
  return {
    configNumber: status.configNumber,
    controllers: status.controllers.map(({ id, address, pid, role, live, state }) => ({
      id,
      address,
      pid,
      role,
      live,
      ...changeJson(state),
    })),
    nodes: status.nodes.map(({ id, address, pid, live, http }) => ({ id, address, pid, live, ...(http ? { http } : {}) })),
    groups: Object.fromEntries(
      status.groups.map((group) => [
        group.name,
        {
          leader: group.leader || null,
          shards: group.shards,
          state: stateOf(group),
          readsPerSecond: rounded(group.readsPerSecond),
          writesPerSecond: rounded(group.writesPerSecond),
          bytes: group.bytes ?? 0,
          ...(group.waitsFor ? { waitsFor: group.waitsFor } : {}),
          ...changesJson(group),
        },
      ]),
    ),
    autoRebalance: autoRebalanceJson(status.autoRebalance ?? {}),
  }
}

/** The change of its members that is under way. */
function changesJson({ changes }: pb.v1.GroupSummary.$Properties): object {
  if (!changes || changes.length === 0) return {}
  return { changes: changes.map(({ node, replica, state }) => ({ id: node, replica, state: changeOf(state) })) }
}

/** Nothing of one that votes. */
function changeJson(state: pb.v1.MemberState | null | undefined): { state?: MemberState } {
  return isVoter(state) ? {} : { state: changeOf(state) }
}

/** Of a controller: whether no change of it is under way. */
export function isVoter(state: pb.v1.MemberState | null | undefined): boolean {
  return (state ?? pb.v1.MemberState.VOTER) === pb.v1.MemberState.VOTER
}

export function changeOf(state: pb.v1.MemberState | null | undefined): MemberState {
  return state === pb.v1.MemberState.JOINING ? 'joining' : 'leaving'
}

/** 'n4 joining, n1 leaving'; empty: nothing. */
export function changesText({ changes }: pb.v1.GroupSummary.$Properties): string {
  return (changes ?? []).map(({ node, state }) => `${node} ${changeOf(state)}`).join(', ')
}

export function stateOf(group: pb.v1.GroupSummary.$Properties): GroupState {
  return group.state === pb.v1.GroupState.DRAINING ? 'draining' : 'active'
}

export function nodeStatusJson(status: pb.v1.NodeStatusReply): object {
  return {
    id: status.id,
    groups: Object.fromEntries(
      status.replicas.map((replica) => [
        replica.group,
        {
          role: replica.role,
          term: replica.term,
          leader: replica.leader || null,
          commit: replica.commit,
          applied: replica.applied,
          lastIndex: replica.lastIndex,
          firstIndex: replica.firstIndex,
          logBytes: replica.logBytes,
          snapshotIndex: replica.snapshotIndex,
          configNumber: replica.configNumber,
          shards: Object.fromEntries((replica.shards ?? []).map(({ shard, state }) => [String(shard), state])),
          loads: loadsJson(replica.shards ?? []),
          ...(replica.stateHash ? { stateHash: replica.stateHash, hashIndex: replica.hashIndex } : {}),
          ...(replica.failure ? { failure: replica.failure } : {}),
        },
      ]),
    ),
  }
}

/** Of the shards that this node serves something of, operations per second. */
function loadsJson(shards: readonly pb.v1.ShardStatus.$Properties[]): object {
  const busy = shards.filter(({ readsPerSecond, writesPerSecond }) => (readsPerSecond ?? 0) + (writesPerSecond ?? 0) > 0)
  const load = ({ readsPerSecond, writesPerSecond }: pb.v1.ShardStatus.$Properties) => ({
    readsPerSecond: rounded(readsPerSecond),
    writesPerSecond: rounded(writesPerSecond),
  })
  return Object.fromEntries(busy.map((shard) => [String(shard.shard), load(shard)]))
}
