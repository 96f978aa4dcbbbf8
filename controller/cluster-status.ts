import { type Config, encodeMember, memberStates } from '../proto/config.ts'
import { addressUnder } from '../proto/directory.ts'
import { pb } from '../proto/messages.ts'
import type { ConfigState } from './config-state.ts'
import type { Liveness } from './liveness.ts'

/** The cluster as the controllers' leader sees it. */
export function clusterStatus(view: {
  readonly state: ConfigState
  readonly config: Config
  readonly liveness: Liveness
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
  const counts = config.shardCounts()
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
    groups: config.groups.map(({ name, uid, state: groupState, members }, at) => ({
      name,
      leader: liveness.leaderOf(uid),
      shards: counts[at] ?? 0,
      state: groupState === 'draining' ? pb.v1.GroupState.DRAINING : pb.v1.GroupState.ACTIVE,
      changes: members.filter(({ state }) => state !== 'voter').map(encodeMember),
    })),
  })
}
