import { emptyBytes } from '../base/bytes.ts'
import { type Config, encodeGroup, type Group, type Member } from '../proto/config.ts'
import { OstrakaError } from '../proto/errors.ts'
import type { pb } from '../proto/messages.ts'
import { controllerGroup, encodeControllers } from './controller-members.ts'
import { guessedNodes } from './guesses.ts'
import { configToChange, groupNamed, type LeaderView, type Outcome, refused } from './leader-view.ts'
import type { CheckedChangeMembers, CheckedReplaceNode } from './member-checks.ts'
import { hasMajority, isChanging, staying, willHaveMajority, withChange } from './members.ts'
import { type CheckedMember, membersMax } from './request-checks.ts'
import { Steps } from './step.ts'

/**
 * What adding, removing and replacing replicas would do to a state (docs/membership.md), computed by the leader. Pure. Refusals are thrown as
 * OstrakaErrors and say what to do.
 */

/** Replicas that come to a group and that leave it, in one step. */
interface MemberChange {
  readonly group: Group
  readonly add: readonly CheckedMember[]
  readonly leaving: readonly Member[]
  /** As people would say it: 'add-replica g1 n4'. */
  readonly cause: string
}

/** One group, or by its name that of the controllers. */
export function computeChangeMembers(view: LeaderView, asked: CheckedChangeMembers): Outcome {
  const config = configToChange(view, asked)
  const group = asked.group === controllerGroup ? view.controllers : groupNamed(config, asked.group)
  const leaving = asked.remove.map((node) => memberOn(group, node))
  const change = { group, add: asked.add, leaving, cause: causeOf(asked) }
  return group === view.controllers ? controllersOutcome(view, change, asked) : outcome(view, config, [change], asked)
}

/** All groups of a node, each a config of its own, in one entry; or a controller. */
export function computeReplaceNode(view: LeaderView, asked: CheckedReplaceNode): Outcome {
  const config = configToChange(view, asked)
  const { old, member } = asked
  const changes = config.groups.flatMap((group) => {
    const leaving = staying(group.members).filter(({ node }) => node === old)
    return leaving.length === 0 ? [] : [{ group, add: [member], leaving, cause: `replace-node ${old} ${member.node} (${group.name})` }]
  })
  if (changes.length === 0) {
    if (isController(view, old)) {
      const leaving = [memberOn(view.controllers, old)]
      return controllersOutcome(view, { group: view.controllers, add: [member], leaving, cause: '' }, asked)
    }
    if (!view.state.nodes.has(old)) throw new OstrakaError('NOT_FOUND', `no node or controller ${old}: see 'ostraka admin status'`, true)
    const leaves = config.groups.some(({ members }) => members.some(({ node }) => node === old))
    return { kind: 'nothing', note: `nothing to do: ${leaves ? `what ${old} holds leaves already` : `${old} holds no replica`}` }
  }
  return outcome(view, config, changes, asked)
}

function outcome(
  view: LeaderView,
  config: Config,
  changes: readonly MemberChange[],
  { author, requestId }: { readonly author: string; readonly requestId: Uint8Array },
): Outcome {
  const guesses = guessedNodes(
    view,
    changes.flatMap(({ add }) => add),
  )
  const steps = new Steps(config)
  let { nextReplica } = view.state
  for (const change of changes) {
    const { group, add, leaving, cause } = change
    mustBeFree(change)
    const joining = add.map(({ node }) => node)
    const members = withChange(group.members, { leaving: new Set(leaving.map(({ replica }) => replica)), joining }, nextReplica)
    nextReplica += joining.length
    const after = { ...group, members }
    mustKeepQuorum(view, group, after)
    steps.add({ cause, author, atMs: view.atMs }, { groups: [encodeGroup(after)] })
  }
  const note = `replicas of ${changes.map(({ group }) => group.name).join(', ')} change: who joins votes once it has caught up`
  const joins = changes.some(({ add }) => add.length > 0)
  return { kind: 'change', change: { base: config.number, steps: steps.all, requestId, guesses }, note: joins ? note : '' }
}

function isController({ controllers }: LeaderView, id: string): boolean {
  return controllers.members.some(({ node }) => node === id)
}

/** The controllers are no part of a config: their list has a version of its own. */
function controllersOutcome(view: LeaderView, change: MemberChange, { requestId }: { readonly requestId: Uint8Array }): Outcome {
  const { controllers, state } = view
  mustBeFree(change)
  const { version, next } = state.controllerMembers
  const first = version > 0 ? next : Math.max(...controllers.members.map(({ replica }) => replica)) + 1
  const leaving = new Set(change.leaving.map(({ replica }) => replica))
  const joining = change.add.map(({ node }) => node)
  const members = withChange(controllers.members, { leaving, joining }, first)
  mustKeepQuorum(view, controllers, { ...controllers, members })
  const nonces = new Map(state.controllerMembers.members.map(({ replica, nonce }) => [replica, nonce]))
  const encoded = encodeControllers(members.map((member) => ({ ...member, nonce: nonces.get(member.replica) ?? emptyBytes })))
  const guesses = change.add.flatMap((member) => guessedController(view, member))
  return { kind: 'controllers', change: { base: version, members: encoded, guesses, requestId }, note: joining.length > 0 ? joinsNote : '' }
}

const joinsNote = 'start it with an empty --data and --peers of those that stay and itself; it votes once it has caught up'

/** Where a controller that joins is found by the others, whose --peers may not name it. */
function guessedController({ state }: LeaderView, { node, address }: CheckedMember): pb.v1.NodeEntry.$Properties[] {
  if (address !== '') return [{ id: node, addresses: [{ name: 'default', address }], pid: 0, http: '' }]
  if (state.controllers.has(node)) return []
  throw refused(`controller ${node} is not known: give ${node}=HOST:PORT`)
}

function causeOf({ group, add, remove }: CheckedChangeMembers): string {
  const added = add.map(({ node }) => node).join(', ')
  const removed = remove.join(', ')
  if (removed === '') return `add-replica ${group} ${added}`
  return added === '' ? `remove-replica ${group} ${removed}` : `replace ${removed} by ${added} in ${group}`
}

/** The replica that the node holds for good or is to hold. Throws NOT_FOUND. */
function memberOn(group: Group, node: string): Member {
  const member = staying(group.members).find((one) => one.node === node)
  if (member !== undefined) return member
  if (group.members.some((one) => one.node === node)) throw refused(`the replica of ${group.name} on ${node} leaves already`)
  throw new OstrakaError('NOT_FOUND', `${node} holds no replica of ${group.name}; its nodes are ${nodesOf(group)}`, true)
}

/**
 * One change at a time. But who joins may never come: while a change runs those that join may be taken out of it, alone or for others. Who
 * leaves leaves: it may be out already.
 */
function mustBeFree({ group, add, leaving }: MemberChange): void {
  const remaining = staying(group.members).filter((member) => !leaving.includes(member))
  const holder = add.find(({ node }) => remaining.some((member) => member.node === node))
  if (holder !== undefined) throw refused(`${holder.node} holds a replica of ${group.name} already: name a node that holds none`)
  const isAmendment = leaving.length > 0 && leaving.every(({ state }) => state === 'joining')
  if (isChanging(group) && !isAmendment)
    throw refused(`a change of ${group.name} runs (${underWay(group)}): wait until it is through${wayOut(group)}`)
  const count = remaining.length + add.length
  if (count === 0) throw refused(`this is the last replica of ${group.name}: add another one first, or let the group leave`)
  if (count > membersMax) throw refused(`${group.name} would have ${count} replicas: at most ${membersMax}`)
}

/** 'n4 joins, n1 leaves'. */
function underWay({ members }: Group): string {
  return members.flatMap(({ node, state }) => (state === 'voter' ? [] : [`${node} ${state === 'joining' ? 'joins' : 'leaves'}`])).join(', ')
}

function wayOut({ name, members }: Group): string {
  const joining = members.find(({ state }) => state === 'joining')
  return joining === undefined ? '' : `; if ${joining.node} never comes, take it out (remove-replica ${name} ${joining.node}) or replace it`
}

/** The group's log decides by majorities: of those that vote now, to begin with, and then of those that will. */
function mustKeepQuorum(view: LeaderView, before: Group, after: Group): void {
  const { name } = before
  if (!hasMajority(view, before)) {
    throw refused(`${name} has no majority (not live: ${notLive(view, before, staying(before.members))}): start its nodes first`)
  }
  if (!willHaveMajority(view, after)) {
    throw refused(
      `${name} would have no majority then (not live: ${notLive(view, after, staying(after.members))}): start or replace these first`,
    )
  }
  mustManageWithout(view, after)
}

/** Where a replica is to come in place of one on the same node, that one goes first: until it has come the other voters decide alone. */
function mustManageWithout(view: LeaderView, group: Group): void {
  const { name, members } = group
  const joining = members.filter(({ state }) => state === 'joining').map(({ node }) => node)
  const inPlace = members.filter(({ state, node }) => state === 'leaving' && joining.includes(node)).map(({ node }) => node)
  if (inPlace.length === 0) return
  const others = members.filter(({ state }) => state === 'voter')
  if (hasMajority(view, { ...group, members: others })) return
  const reason = others.length === 0 ? 'no other replica votes' : `not live: ${notLive(view, group, others)}`
  throw refused(`${name} would have no majority while ${inPlace.join(', ')} begins anew (${reason}): add a replica, or start these, first`)
}

function notLive(view: LeaderView, group: Group, members: readonly Member[]): string {
  return members.flatMap((member) => (member.state === 'joining' || view.isLive(group, member) ? [] : [member.node])).join(', ')
}

function nodesOf({ members }: Group): string {
  return [...new Set(staying(members).map(({ node }) => node))].join(', ')
}
