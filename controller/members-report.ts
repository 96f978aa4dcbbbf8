import { emptyBytes } from '../base/bytes.ts'
import { encodeGroup, type Group, type Member } from '../proto/config.ts'
import { OstrakaError } from '../proto/errors.ts'
import { type ControllerMember, encodeControllers } from './controller-members.ts'
import { configOf, type LeaderView, type Outcome, refused } from './leader-view.ts'
import type { CheckedMembersReport } from './member-checks.ts'
import { changed, isChanging, staying } from './members.ts'
import { Steps } from './step.ts'

/**
 * What a group's word of its members does to a state, computed by the leader. Pure. It may come late or again: numbers are never used
 * twice, so once exactly those voted that are to vote, the change has been made. Refusals are thrown as OstrakaErrors.
 */
export function computeMembersReport(view: LeaderView, report: CheckedMembersReport): Outcome {
  const config = configOf(view)
  const group = config.groupByUid(report.group)
  if (group === undefined) {
    if (view.state.migrations.tombstones.has(report.group)) return nothing
    throw new OstrakaError('NOT_FOUND', `no group ${report.group}`, true)
  }
  if (!isChanging(group)) return nothing
  const after = { ...group, members: membersAfter(group, report) }
  const steps = new Steps(config)
  steps.add({ cause: causeOf(group, after), author: authorOf(view, group), atMs: view.atMs }, { groups: [encodeGroup(after)] })
  return { kind: 'change', change: { base: config.number, steps: steps.all }, note: '' }
}

/** The same of the controllers themselves. */
export function computeControllersReport(view: LeaderView, report: CheckedMembersReport): Outcome {
  const { controllers, state } = view
  if (!isChanging(controllers)) return nothing
  const { version, members } = state.controllerMembers
  const after = membersAfter(controllers, report).map((member) => ({ ...member, nonce: nonceOf(members, member.replica) }))
  return { kind: 'controllers', change: { base: version, members: encodeControllers(after) }, note: '' }
}

function nonceOf(members: readonly ControllerMember[], replica: number): Uint8Array {
  return members.find((member) => member.replica === replica)?.nonce ?? emptyBytes
}

const nothing: Outcome = { kind: 'nothing', note: '' }

/**
 * All that are to vote vote, and nobody else: the change is through. Or those that join learn, and who leaves where one of them is to come is
 * out: it is no member any more, and its node may hold the new one. What is out stays out: those that join came by this change.
 */
function membersAfter({ name, members }: Pick<Group, 'name' | 'members'>, { voters, learners }: CheckedMembersReport): Member[] {
  const wanted = staying(members).map(({ replica }) => replica)
  if (learners.length === 0 && isSame(voters, wanted)) return changed(members)
  const isIn = ({ replica }: Member) => voters.includes(replica) || learners.includes(replica)
  const joining = members.filter(({ state }) => state === 'joining')
  const makesRoom = (member: Member) => member.state === 'leaving' && joining.some(({ node }) => node === member.node) && !isIn(member)
  if (members.some(makesRoom) && joining.every(isIn)) return members.filter((member) => !makesRoom(member))
  const told = `${voters.join(', ')}${learners.length === 0 ? '' : `; ${learners.join(', ')} learn`}`
  throw refused(`replicas ${wanted.join(', ')} of ${name} are to vote, and none to learn; told of were ${told}`)
}

function isSame(some: readonly number[], others: readonly number[]): boolean {
  return some.length === others.length && others.every((replica) => some.includes(replica))
}

/** 'members of g1: n4 joined, n1 left'. */
function causeOf(before: Group, after: Group): string {
  const came = before.members.flatMap(({ node, replica, state }) => {
    const votes = after.members.some((member) => member.replica === replica && member.state === 'voter')
    return state === 'joining' && votes ? [`${node} joined`] : []
  })
  const went = before.members.flatMap(({ node, replica }) =>
    after.members.some((member) => member.replica === replica) ? [] : [`${node} left`],
  )
  return `members of ${before.name}: ${[...came, ...went].join(', ')}`
}

/** Who asked for the change, as far as the newest configs tell. */
function authorOf({ state }: LeaderView, { uid }: Group): string {
  return state.recent.findLast(({ groups }) => groups?.some((group) => group.uid === uid))?.to?.author ?? ''
}
