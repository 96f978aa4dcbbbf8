import { emptyBytes } from '../base/bytes.ts'
import { encodeGroup, type Group } from '../proto/config.ts'
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
  mustBeWanted(group, report)
  const steps = new Steps(config)
  const made = { cause: causeOf(group), author: authorOf(view, group), atMs: view.atMs }
  steps.add(made, { groups: [encodeGroup({ ...group, members: changed(group.members) })] })
  return { kind: 'change', change: { base: config.number, steps: steps.all }, note: '' }
}

/** The same of the controllers themselves. */
export function computeControllersReport(view: LeaderView, report: CheckedMembersReport): Outcome {
  const { controllers, state } = view
  if (!isChanging(controllers)) return nothing
  mustBeWanted(controllers, report)
  const { version, members } = state.controllerMembers
  const after = staying(members).map((member) => ({ ...member, state: 'voter' as const, nonce: nonceOf(members, member.replica) }))
  return { kind: 'controllers', change: { base: version, members: encodeControllers(after) }, note: '' }
}

function nonceOf(members: readonly ControllerMember[], replica: number): Uint8Array {
  return members.find((member) => member.replica === replica)?.nonce ?? emptyBytes
}

const nothing: Outcome = { kind: 'nothing', note: '' }

function mustBeWanted({ name, members }: Pick<Group, 'name' | 'members'>, { voters, learners }: CheckedMembersReport): void {
  const wanted = staying(members).map(({ replica }) => replica)
  if (learners.length === 0 && voters.length === wanted.length && wanted.every((replica) => voters.includes(replica))) return
  const told = `${voters.join(', ')}${learners.length === 0 ? '' : `; ${learners.join(', ')} learn`}`
  throw refused(`replicas ${wanted.join(', ')} of ${name} are to vote, and none to learn; told of were ${told}`)
}

/** 'members of g1: n4 joined, n1 left'. */
function causeOf({ name, members }: Group): string {
  const came = members.flatMap(({ node, state }) => (state === 'joining' ? [`${node} joined`] : []))
  const went = members.flatMap(({ node, state }) => (state === 'leaving' ? [`${node} left`] : []))
  return `members of ${name}: ${[...came, ...went].join(', ')}`
}

/** Who asked for the change, as far as the newest configs tell. */
function authorOf({ state }: LeaderView, { uid }: Group): string {
  return state.recent.findLast(({ groups }) => groups?.some((group) => group.uid === uid))?.to?.author ?? ''
}
