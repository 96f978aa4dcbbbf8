import type { pb } from '../proto/messages.ts'
import type { Asked } from './leader-view.ts'
import { type CheckedMember, check, checkAsked, checkMember, checkName, checkUid, membersMax, mustDiffer } from './request-checks.ts'

/** Requests about the replicas of groups, checked as in `request-checks.ts`. Whether a group or node is there only the state tells. */

export interface CheckedChangeMembers extends Asked {
  readonly group: string
  readonly add: readonly CheckedMember[]
  /** Node ids. */
  readonly remove: readonly string[]
}

export interface CheckedReplaceNode extends Asked {
  /** Id of the node. */
  readonly old: string
  /** Who takes its place. */
  readonly member: CheckedMember
}

export interface CheckedMembersReport {
  /** Uid. */
  readonly group: string
  /** Replica numbers. */
  readonly voters: readonly number[]
  readonly learners: readonly number[]
}

export function checkChangeMembers(request: pb.v1.ChangeMembersRequest.$Properties): CheckedChangeMembers {
  const group = checkName(request.group, 'group name')
  const add = (request.add ?? []).map(checkMember)
  const remove = (request.remove ?? []).map((node) => checkName(node, 'node id'))
  check(add.length + remove.length > 0, `no replica of ${group} given to add or remove`)
  check(add.length <= membersMax && remove.length <= membersMax, `more than ${membersMax} replicas of ${group}`)
  mustDiffer(
    add.map(({ node }) => node),
    'node to add',
  )
  mustDiffer(remove, 'node to remove')
  return { group, add, remove, ...checkAsked(request) }
}

export function checkReplaceNode(request: pb.v1.ReplaceNodeRequest.$Properties): CheckedReplaceNode {
  return { old: checkName(request.old, 'id to replace'), member: checkMember(request.new ?? {}), ...checkAsked(request) }
}

export function checkMembersReport(request: pb.v1.ReportMembersRequest.$Properties): CheckedMembersReport {
  const [voters, learners] = [request.voters ?? [], request.learners ?? []]
  check(
    voters.length > 0 && voters.length <= membersMax && learners.length <= membersMax,
    `${voters.length} voters, ${learners.length} learners`,
  )
  return { group: checkUid(request.group), voters, learners }
}
