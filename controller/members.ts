import type { Group, Member } from '../proto/config.ts'

/** Lists of members as they follow each other (docs/membership.md). Pure. */

export interface Liveliness {
  /** Whether the node of a group's replica is live and holds it. */
  readonly isLive: (group: Group, member: Member) => boolean
}

/** Whether a change of the group is under way. */
export function isChanging({ members }: Pick<Group, 'members'>): boolean {
  return members.some(({ state }) => state !== 'voter')
}

/** Those that are members once the change under way is through. */
export function staying(members: readonly Member[]): Member[] {
  return members.filter(({ state }) => state !== 'leaving')
}

/** The members with `leaving` (replica numbers) on their way out and one more on each of the nodes `joining`, numbered from `firstReplica`. */
export function withChange(
  members: readonly Member[],
  change: { readonly leaving: ReadonlySet<number>; readonly joining: readonly string[] },
  firstReplica: number,
): Member[] {
  const kept = members.map((member) => (change.leaving.has(member.replica) ? { ...member, state: 'leaving' as const } : member))
  const added = change.joining.map((node, at) => ({ node, replica: firstReplica + at, state: 'joining' as const }))
  return [...kept, ...added]
}

/** The members once the change under way is through: all of them vote. */
export function changed(members: readonly Member[]): Member[] {
  return staying(members).map((member) => ({ ...member, state: 'voter' as const }))
}

/**
 * Whether a majority of those that vote now is on live nodes. Of one that leaves nobody knows here: it votes still, or is out already, or
 * never came so far. It counts where it is live.
 */
export function hasMajority({ isLive }: Liveliness, group: Group): boolean {
  const live = group.members.filter((member) => member.state !== 'joining' && isLive(group, member))
  const dead = group.members.filter((member) => member.state === 'voter' && !isLive(group, member))
  return live.length > dead.length
}

/** The same once the change under way is through. Who joins votes only when it has caught up, so it counts as live. */
export function willHaveMajority({ isLive }: Liveliness, group: Group): boolean {
  const voters = staying(group.members)
  return voters.filter((member) => member.state === 'joining' || isLive(group, member)).length * 2 > voters.length
}

/**
 * Whether `after` may follow `before`, undefined for a group that is made: whoever comes is handed out the next number and joins; who joins
 * becomes a voter or leaves; who leaves goes, and comes never back; a node has at most one that does not leave. Returns the next number to
 * hand out, undefined where it may not.
 */
export function nextReplicaAfter(before: readonly Member[] | undefined, after: readonly Member[], nextReplica: number): number | undefined {
  const old = new Map((before ?? []).map((member) => [member.replica, member]))
  const nodes = staying(after).map(({ node }) => node)
  if (nodes.length === 0 || new Set(nodes).size < nodes.length) return undefined
  let next = nextReplica
  for (const member of after) {
    const known = old.get(member.replica)
    old.delete(member.replica)
    if (known !== undefined ? !mayBecome(known, member) : !mayCome(member, before === undefined, next++)) return undefined
  }
  return [...old.values()].every(({ state }) => state === 'leaving') ? next : undefined
}

function mayBecome(before: Member, after: Member): boolean {
  return before.node === after.node && (before.state === after.state || (before.state !== 'leaving' && after.state !== 'joining'))
}

/** Numbers are handed out in order, so that none is ever handed out twice. */
function mayCome(member: Member, groupIsNew: boolean, next: number): boolean {
  return member.replica === next && member.state === (groupIsNew ? 'voter' : 'joining')
}
