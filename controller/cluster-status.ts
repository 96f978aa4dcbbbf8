import { type Config, encodeMember, memberStates } from '../proto/config.ts'
import { addressUnder } from '../proto/directory.ts'
import { pb } from '../proto/messages.ts'
import type { ConfigState } from './config-state.ts'
import type { Liveness } from './liveness.ts'
import type { ShardRates } from './told-loads.ts'

/** The cluster as the controllers' leader sees it. */
export function clusterStatus(view: {
  readonly state: ConfigState
  readonly config: Config
  readonly liveness: Liveness
  /** Bytes of a shard as its group last told; undefined: not known. */
  readonly sizeOf: (shard: number) => number | undefined
  readonly rates: ShardRates
  readonly autoRebalance: pb.v1.AutoRebalanceStatus.$Properties
  /** Uid → why shards of a group that drains do not move. */
  readonly waiting: ReadonlyMap<string, string>
  /** Tell of each shard. */
  readonly shards: boolean
  /** Ids of those that are and those that are to be. */
  readonly controllers: readonly string[]
  /** Id of the controller that leads: this one. */
  readonly leader: string
  /** Where the caller reaches a controller. */
  readonly addressOf: (id: string) => string
  /** The listener through which the caller came. */
  readonly listener: string
}): pb.v1.ClusterStatusReply {
  const { state, config, liveness } = view
  const groups = new Map(config.groups.map(({ uid }) => [uid, { shards: 0, readsPerSecond: 0, writesPerSecond: 0, bytes: 0 }]))
  const shards = shardSummaries(view)
  for (const shard of shards) {
    const group = groups.get(shard.uid)
    if (group === undefined) continue
    group.shards++
    group.readsPerSecond += shard.readsPerSecond
    group.writesPerSecond += shard.writesPerSecond
    group.bytes += shard.bytes
  }
  return new pb.v1.ClusterStatusReply({
    configNumber: config.number,
    controllers: view.controllers.map((id) => {
      const live = id === view.leader || (state.controllers.has(id) && liveness.isLive('controller', id))
      const role = id === view.leader ? 'leader' : live ? 'follower' : 'unknown'
      const member = state.controllerMembers.members.findLast(({ node }) => node === id)
      const wanted = memberStates[member?.state ?? 'voter']
      return { id, address: view.addressOf(id), pid: state.controllers.get(id)?.entry.pid ?? 0, role, live, state: wanted }
    }),
    nodes: state.directory.nodes.map(({ id, addresses, pid, http }) => ({
      id,
      address: addressUnder(addresses, view.listener) ?? '',
      pid,
      // Who was only named in a join has never lived.
      live: (state.nodes.get(id)?.nonce.length ?? 0) > 0 && liveness.isLive('node', id),
      http,
    })),
    groups: config.groups.map(({ name, uid, state: groupState, members }) => ({
      ...groups.get(uid),
      name,
      leader: liveness.leaderOf(uid),
      state: groupState === 'draining' ? pb.v1.GroupState.DRAINING : pb.v1.GroupState.ACTIVE,
      waitsFor: view.waiting.get(uid) ?? '',
      changes: members.filter(({ state }) => state !== 'voter').map(encodeMember),
    })),
    autoRebalance: view.autoRebalance,
    shards: view.shards ? shards.map(({ uid, ...summary }) => summary) : [],
  })
}

interface Summary {
  readonly shard: number
  readonly uid: string
  readonly group: string
  readonly bytes: number
  readonly readsPerSecond: number
  readonly writesPerSecond: number
  readonly pinned: boolean
  readonly migration: number
}

/** Of all shards that have an owner, ascending. */
function shardSummaries({ state, config, sizeOf, rates }: Parameters<typeof clusterStatus>[0]): Summary[] {
  const summaries: Summary[] = []
  for (let shard = 0; shard < config.shardCount; shard++) {
    const owner = config.groupOf(shard)
    if (owner === undefined) continue
    summaries.push({
      shard,
      uid: owner.uid,
      group: owner.name,
      bytes: sizeOf(shard) ?? 0,
      readsPerSecond: rates.reads[shard] ?? 0,
      writesPerSecond: rates.writes[shard] ?? 0,
      pinned: config.pins.has(shard),
      migration: state.migrations.openOf(shard)?.id ?? 0,
    })
  }
  return summaries
}
