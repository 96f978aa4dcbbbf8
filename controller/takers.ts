import type { Config, Group } from '../proto/config.ts'
import type { Migration } from '../proto/migration.ts'
import type { LeaderView } from './leader-view.ts'
import { hasMajority } from './members.ts'
import { takers } from './planning.ts'

/** Which groups can take shards as things stand, as far as the controllers' leader hears. Pure. */

/** Why it cannot take shards now, for people; undefined: it can. */
export function cannotTake(view: LeaderView, group: Group): string | undefined {
  if (!hasMajority(view, group)) return withoutMajority(view, group)
  return view.hasNoRoom(group.uid) ? 'has no room' : undefined
}

/** Of a group without a majority of live nodes. */
export function withoutMajority(view: LeaderView, group: Group): string {
  return hasLived(view, group) ? 'has lost its majority' : 'has not come to life yet'
}

/** Whether most of its replicas have begun a log at some time. */
export function hasLived({ state }: LeaderView, { members }: Group): boolean {
  return members.filter(({ replica }) => state.claims.has(replica)).length * 2 > members.length
}

/** Names of the groups that are meant to take shards and cannot now. */
export function unableTakers(view: LeaderView, config: Config): ReadonlySet<string> {
  return new Set(takers(config).flatMap((group) => (cannotTake(view, group) === undefined ? [] : [group.name])))
}

/** 'g4 has not come to life yet, g5 has no room'; '': all can take. */
export function unableText(view: LeaderView, config: Config): string {
  const unable = takers(config).flatMap((group) => {
    const why = cannotTake(view, group)
    return why === undefined ? [] : [`${group.name} ${why}`]
  })
  return unable.length > 5 ? `${unable.slice(0, 5).join(', ')}, and ${unable.length - 5} more` : unable.join(', ')
}

/** Which ends of migrations that begin have no majority now: 'g4 has not come to life yet: what goes there waits'; '': all have one. */
export function waitingEnds(view: LeaderView, config: Config, planned: readonly Pick<Migration, 'from' | 'to'>[]): string {
  const without = (uids: readonly string[], what: string) =>
    [...new Set(uids)].flatMap((uid) => {
      const group = config.groupByUid(uid)
      return group === undefined || hasMajority(view, group) ? [] : [`${group.name} ${withoutMajority(view, group)}: ${what}`]
    })
  const targets = planned.map(({ to }) => to)
  const sources = planned.map(({ from }) => from)
  return [...without(targets, 'what goes there waits'), ...without(sources, 'what comes from there waits')].slice(0, 5).join('; ')
}
