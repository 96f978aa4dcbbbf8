import { encodeGroup, type Group, type Member } from '../proto/config.ts'
import { configOf, type LeaderView, type Outcome } from './leader-view.ts'
import { hasMajority, staying, willHaveMajority, withChange } from './members.ts'
import { Steps } from './step.ts'

/** Replicas that their nodes cannot hold any more, and what replaces them: new ones on the same nodes, under new numbers. Pure. */

/** Groups with lost replicas that can be replaced now. */
export function replaceable(view: LeaderView): Group[] {
  if (view.lost.length === 0) return []
  const uids = new Set(view.lost.map(({ group }) => group))
  return configOf(view).groups.filter((group) => uids.has(group.uid) && replacement(view, group, view.state.nextReplica) !== undefined)
}

/** A config for each of the groups of `uids` that are replaceable. */
export function computeReplacements(view: LeaderView, uids: ReadonlySet<string>): Outcome {
  const config = configOf(view)
  const steps = new Steps(config)
  let { nextReplica } = view.state
  for (const group of config.groups.filter(({ uid }) => uids.has(uid))) {
    const planned = replacement(view, group, nextReplica)
    if (planned === undefined) continue
    nextReplica += planned.lost.length
    const made = { cause: causeOf(view, group, planned.lost), author: '', atMs: view.atMs }
    steps.add(made, { groups: [encodeGroup({ ...group, members: planned.members })] })
  }
  if (steps.all.length === 0) return { kind: 'nothing', note: '' }
  return { kind: 'change', change: { base: config.number, steps: steps.all }, note: '' }
}

/**
 * Which of the group's members are replaced now, and its members then; undefined where none is. While another change runs only those that
 * join are: that change cannot end without them. Nothing is begun that the voters left could not decide.
 */
function replacement(view: LeaderView, group: Group, nextReplica: number): { lost: Member[]; members: Member[] } | undefined {
  const numbers = new Set(view.lost.flatMap((one) => (one.group === group.uid ? [one.replica] : [])))
  const all = staying(group.members).filter(({ replica }) => numbers.has(replica))
  const isFree = group.members.every((member) => member.state === 'voter' || all.includes(member))
  const lost = isFree ? all : all.filter(({ state }) => state === 'joining')
  if (lost.length === 0 || !hasMajority(view, group)) return undefined
  const change = { leaving: new Set(lost.map(({ replica }) => replica)), joining: lost.map(({ node }) => node) }
  const members = withChange(group.members, change, nextReplica)
  return willHaveMajority(view, { ...group, members }) ? { lost, members } : undefined
}

function causeOf({ lost }: LeaderView, group: Group, members: readonly Member[]): string {
  const told = members.map(({ node, replica }) => {
    const reason = lost.find((one) => one.group === group.uid && one.replica === replica)?.reason
    return `${node}${reason ? ` (${reason})` : ''}`
  })
  return `replace what is lost of ${group.name} on ${told.join(', ')}`
}
