import { pb } from '../proto/messages.ts'
import type { RaftHost } from './raft-host.ts'
import type { Replica } from './replica.ts'

/** What every replica, of whatever state machine, tells of itself. */
export function replicaStatus<Result>(replica: Replica<Result>, host: RaftHost): pb.v1.ReplicaStatus {
  return new pb.v1.ReplicaStatus({
    group: groupName(replica.group),
    uid: replica.group,
    role: replica.role,
    term: replica.term,
    leader: host.nodeOf(replica.group, replica.leader) ?? '',
    commit: replica.commit,
    applied: replica.applied,
    lastIndex: replica.log.lastIndex,
    firstIndex: replica.log.firstIndex,
    logBytes: replica.log.bytes,
    snapshotIndex: replica.stateMachine.durable.index,
    failure: replica.failure?.message ?? '',
  })
}

/** The name that people gave the group with this uid: 'g1' of 'g1@12'. */
export function groupName(uid: string): string {
  const at = uid.lastIndexOf('@')
  return at < 0 ? uid : uid.slice(0, at)
}
