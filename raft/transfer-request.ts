import type { Logger } from '../base/logger.ts'
import { encodeError } from '../proto/error-codec.ts'
import { OstrakaError } from '../proto/errors.ts'
import { pb } from '../proto/messages.ts'
import type { TransferOutcome } from './leader-transfer.ts'
import type { RaftHost } from './raft-host.ts'
import type { Replica } from './replica.ts'
import { groupName } from './replica-status.ts'

/** Answers `Node.TransferLeader`. Never rejects: what fails is in the reply. `host` undefined: nothing runs here yet. */
export async function transferLeader(
  host: RaftHost | undefined,
  request: pb.v1.TransferLeaderRequest.$Properties,
): Promise<pb.v1.TransferLeaderReply> {
  try {
    await transfer(host, request.group ?? '', request.node ?? '')
    return new pb.v1.TransferLeaderReply({ leader: request.node ?? '' })
  } catch (error) {
    if (!(error instanceof OstrakaError)) throw error
    return new pb.v1.TransferLeaderReply({ error: encodeError(error) })
  }
}

/** Hands the leadership of the group with this uid over to `node` where that can be done; what becomes of it is only logged. */
export function maybeTransferLeader(host: RaftHost, logger: Logger, uid: string, node: string): void {
  const replica = host.replicas().find(({ group }) => group === uid)
  const target = replica === undefined ? undefined : replicaOn(replica, node)
  if (replica === undefined || target === undefined) return
  replica.transferLeadership(target, (outcome) => {
    logger.info({ group: uid, node, outcome: outcome.kind === 'done' ? 'done' : outcome.reason }, 'leadership handed over to even out')
  })
}

async function transfer(host: RaftHost | undefined, group: string, node: string): Promise<void> {
  // Of several incarnations of a name the newest was started last.
  const replica = host?.replicas().findLast(({ group: uid }) => groupName(uid) === group)
  if (host === undefined || replica === undefined) throw new OstrakaError('NOT_FOUND', `no replica of ${group} runs here`, true)
  const target = replicaOn(replica, node)
  if (target === undefined) {
    const known = [...new Set(replica.members.nodes.values())].join(', ')
    throw new OstrakaError('NOT_FOUND', `${node} holds no replica of ${group}; its nodes are ${known}`, true)
  }
  const outcome = await new Promise<TransferOutcome>((resolve) => replica.transferLeadership(target, resolve))
  if (outcome.kind === 'refused') throw refusal(replica, node, outcome.reason, host.nodeOf(replica.group, outcome.leader) ?? '')
}

/** The replica of the group on `node`: the one that votes, where one leaves and one joins there. */
function replicaOn({ members }: Replica<unknown>, node: string): number | undefined {
  const held = [...members.nodes].filter(([, member]) => member === node).map(([number]) => number)
  return held.find((number) => members.conf.voters.includes(number)) ?? held[0]
}

function refusal(
  replica: Replica<unknown>,
  node: string,
  reason: Extract<TransferOutcome, { kind: 'refused' }>['reason'],
  leaderHint: string,
): OstrakaError {
  const group = groupName(replica.group)
  const leads = leaderHint === '' ? 'no leader is known here' : `${leaderHint} leads`
  switch (reason) {
    case 'not-leader':
      return new OstrakaError('NOT_LEADER', `this node does not lead ${group}: ${leads}`, true, { leaderHint })
    case 'not-a-voter':
      return new OstrakaError('FAILED_PRECONDITION', `${node} is no voter of ${group}: ${leads} on`, true)
    case 'gave-up':
      // Told to campaign, the target may still do so.
      return new OstrakaError('FAILED_PRECONDITION', `${node} did not take over ${group}: ${leads}; is ${node} up?`, false)
    case 'stopped':
      return new OstrakaError('UNAVAILABLE', `the replica of ${group} here has stopped`, false)
  }
}
