import type { GroupReplica } from '../proto/controller-client.ts'
import type { ConfigState } from './config-state.ts'

/** Of what a data directory holds: what is to be deleted there, by the word of the controllers' log, never because something is absent. Pure. */

type Known = Pick<ConfigState, 'config' | 'migrations' | 'nextReplica'>

/** Those that were removed for good. One that is only missing may be new to this controller. */
export function removedGroups({ migrations }: Known, uids: readonly string[]): string[] {
  return uids.filter((uid) => migrations.tombstones.has(uid))
}

/** Those whose number was handed out here already, and is no member's any more; it never comes back. */
export function removedReplicas(state: Known, named: readonly GroupReplica[]): GroupReplica[] {
  return named.filter(({ group: uid, replica }) => {
    const group = state.config?.groupByUid(uid)
    const wasHandedOut = replica > 0 && replica < state.nextReplica
    if (!wasHandedOut || (group === undefined && !state.migrations.tombstones.has(uid))) return false
    return group?.members.some((member) => member.replica === replica) !== true
  })
}
