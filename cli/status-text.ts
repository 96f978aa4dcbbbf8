import type { pb } from '../proto/messages.ts'
import { changeOf, changesText, isVoter, stateOf } from './status-json.ts'
import { drawTable } from './table.ts'
import { byteText, rateText } from './units.ts'

/** The cluster and its processes, for people. */

export async function clusterText(status: pb.v1.ClusterStatusReply): Promise<string> {
  const row = (id = '', address = '', pid = 0, role = '', live = false) => [
    id,
    address,
    pid === 0 ? '' : String(pid),
    role,
    live ? 'yes' : 'NO',
  ]
  const controllers = status.controllers.map(({ id, address, pid, role, live, state }) => {
    const what = `controller, ${role}${isVoter(state) ? '' : `, ${changeOf(state)}`}`
    return row(id ?? '', address ?? '', pid ?? 0, what, live ?? false)
  })
  const nodes = status.nodes.map(({ id, address, pid, live }) => row(id ?? '', address ?? '', pid ?? 0, 'node', live ?? false))
  const processes = await drawTable(['id', 'address', 'pid', 'role', 'live'], [...controllers, ...nodes])
  const groups = status.groups.map((group) => {
    const state = [stateOf(group), group.waitsFor ?? '', changesText(group)].filter((text) => text !== '').join('; ')
    const load = [rateText(group.readsPerSecond ?? 0), rateText(group.writesPerSecond ?? 0), byteText(group.bytes ?? 0)]
    return [group.name ?? '', group.leader || '?', String(group.shards ?? 0), ...load, state]
  })
  return `config ${status.configNumber}\n${processes}\n${await drawTable(['group', 'leader', 'shards', 'reads/s', 'writes/s', 'bytes', 'state'], groups)}`
}

const replicaHead = ['group', 'role', 'term', 'leader', 'commit', 'applied', 'log', 'log bytes', 'config', 'shards', 'hash']

export async function nodeText(status: pb.v1.NodeStatusReply): Promise<string> {
  const rows = status.replicas.map((replica) => {
    const serving = (replica.shards ?? []).filter((shard) => shard.state === 'serving').length
    const others = (replica.shards ?? []).length - serving
    return [
      replica.group ?? '',
      replica.failure ? `stopped: ${replica.failure}` : (replica.role ?? ''),
      String(replica.term ?? 0),
      replica.leader || '?',
      String(replica.commit ?? 0),
      String(replica.applied ?? 0),
      `${replica.firstIndex ?? 0}–${replica.lastIndex ?? 0}`,
      String(replica.logBytes ?? 0),
      String(replica.configNumber ?? 0),
      others === 0 ? String(serving) : `${serving} + ${others}`,
      replica.stateHash ?? '',
    ]
  })
  return `${status.id}\n${await drawTable(replicaHead, rows)}`
}
