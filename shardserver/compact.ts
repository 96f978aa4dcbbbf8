import { isOutOfSpace } from '../base/disk-space.ts'
import { encodeError } from '../proto/error-codec.ts'
import { OstrakaError } from '../proto/errors.ts'
import { pb } from '../proto/messages.ts'
import { groupName } from '../raft/replica-status.ts'
import type { GroupHost, HostedReplica } from './group-host.ts'

/** Answers `Node.Compact`. Never rejects: what fails is in the reply. One replica after the other: they share the threads that do it. */
export async function compactReplicas(
  id: string,
  groups: Pick<GroupHost, 'all'>,
  request: pb.v1.CompactRequest.$Properties,
): Promise<pb.v1.CompactReply> {
  const asked = groups.all().filter(({ replica }) => !request.group || groupName(replica.group) === request.group)
  const reply = new pb.v1.CompactReply({ id })
  try {
    if (request.group && asked.length === 0) throw new OstrakaError('NOT_FOUND', `no replica of ${request.group} runs here`, true)
    for (const hosted of asked) reply.replicas.push(await compact(hosted))
  } catch (error) {
    if (!(error instanceof OstrakaError)) throw error
    reply.error = encodeError(error)
  }
  return reply
}

async function compact({ replica, stateMachine }: HostedReplica): Promise<pb.v1.CompactedReplica> {
  const group = groupName(replica.group)
  const bytesBefore = stateMachine.bytes
  try {
    await stateMachine.compact()
  } catch (error) {
    // What else a store rejects with it has told its owner, who stops the replica or the process.
    const why = isOutOfSpace(error) ? 'the disk has no room for it' : error instanceof Error ? error.message : String(error)
    throw new OstrakaError('UNAVAILABLE', `${group} could not be compacted: ${why}`, false)
  }
  return new pb.v1.CompactedReplica({ group, bytesBefore, bytesAfter: stateMachine.bytes })
}
