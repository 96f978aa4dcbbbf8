import type { Group } from '../proto/config.ts'
import type { ConfigDifference } from '../proto/config-difference.ts'
import { pb } from '../proto/messages.ts'
import { configOf, counted, type LeaderView, type Outcome } from './leader-view.ts'
import { hasMajority } from './members.ts'
import { encodeRecord, type MigrationRecord } from './migration-record.ts'
import { transition } from './migration-transition.ts'
import { newMigrations, placeDrained, takers } from './planning.ts'
import type { Slices } from './slices.ts'
import { Steps } from './step.ts'
import { hasLived, unableTakers, unableText, withoutMajority } from './takers.ts'

/** What the leader does by itself, computed from the state. Pure. */

/** Groups being drained that are empty, and of which nothing is left to be done. */
export function removable({ state }: LeaderView): Group[] {
  const { config } = state
  const draining = config?.groups.filter((group) => group.state === 'draining') ?? []
  return draining.filter(({ uid }) => config?.shardsOf(uid).length === 0 && !state.migrations.concerns(uid))
}

/** Groups being drained with shards that do not move: what took them was aborted, or they arrived late. */
export function stranded({ state }: LeaderView): Group[] {
  const { config } = state
  const draining = config?.groups.filter((group) => group.state === 'draining') ?? []
  return draining.filter(({ uid }) => config?.shardsOf(uid).some((shard) => state.migrations.openOf(shard) === undefined))
}

/** Whether no group can take shards now: whatever drains waits. */
export function isStuck(view: LeaderView): boolean {
  const { config } = view.state
  return config !== undefined && unableTakers(view, config).size === takers(config).length
}

/** Uid → why the shards of a group that is being drained, and that nothing moves, wait; for people. */
export function waitingDrains(view: LeaderView): ReadonlyMap<string, string> {
  const { config, migrations } = view.state
  if (config === undefined) return new Map()
  const why = isStuck(view) ? `no group can take them now: ${unableText(view, config)}` : 'they are planned again within minutes'
  return new Map(
    stranded(view).map(({ uid }) => {
      const waiting = config.shardsOf(uid).filter((shard) => migrations.openOf(shard) === undefined)
      return [uid, `${counted(waiting.length, 'shard')} to move: ${why}`]
    }),
  )
}

/**
 * Migrations that may still be aborted and whose target nobody leads, as far as is heard here: nothing drives them, and the source keeps for them
 * what it must not forget. A paused one waits as it was told to. A target that never came to life is waited for, since nothing is exported to it; but
 * not by a group that is being drained, where another one can take its shards.
 */
export function undriven(view: LeaderView): MigrationRecord[] {
  const { config, migrations } = view.state
  const isFree = !isStuck(view)
  return migrations.open().filter(({ id, phase, paused, from, to }) => {
    if (phase !== 'copying' || paused || view.isDriven(id)) return false
    const target = config?.groupByUid(to)
    if (target === undefined) return false
    return hasLived(view, target) || (isFree && config?.groupByUid(from)?.state === 'draining')
  })
}

/** Those of `ids` that are undriven still; they have been for `forMs`. */
export function computeAborts(view: LeaderView, ids: ReadonlySet<number>, forMs: number): Outcome {
  const config = configOf(view)
  const changed = undriven(view).flatMap((record) => {
    const target = config.groupByUid(record.to)
    if (!ids.has(record.id) || target === undefined) return []
    const why = hasMajority(view, target) ? 'has no leader that the controllers hear' : withoutMajority(view, target)
    const reason = `nobody has driven it for ${forMs / 1000} s: ${target.name} ${why}`
    const after = transition(record, { kind: 'abort', reason, atMs: view.atMs })
    return after === undefined ? [] : [encodeRecord(after)]
  })
  if (changed.length === 0) return { kind: 'nothing', note: '' }
  return { kind: 'change', change: { base: config.number, changed }, note: '' }
}

/** Each is a config of its own; their uids get tombstones. */
export function computeRemovals(view: LeaderView): Outcome {
  const config = configOf(view)
  const steps = new Steps(config)
  for (const group of removable(view)) {
    const made = { cause: `leave ${group.name}: it is empty and removed`, author: leaverOf(view, group), atMs: view.atMs }
    steps.add(made, { removedGroups: [group.uid] })
  }
  if (steps.all.length === 0) return { kind: 'nothing', note: '' }
  return { kind: 'change', change: { base: config.number, steps: steps.all }, note: '' }
}

/** New migrations for the shards of those of `uids` that are `stranded`, to groups that can take them; nothing else is planned anew. */
export function* computeDrains(view: LeaderView, uids: ReadonlySet<string>): Slices<Outcome> {
  const config = configOf(view)
  const groups = stranded(view).filter(({ uid }) => uids.has(uid))
  if (groups.length === 0) return { kind: 'nothing', note: '' }
  const owners = yield* placeDrained(config, view, unableTakers(view, config))
  const planned: MigrationRecord[] = []
  for (const group of groups) {
    const shards = config.shardsOf(group.uid).filter((shard) => view.state.migrations.openOf(shard) === undefined)
    const moves = shards.flatMap((shard) => {
      const to = config.groupByName(owners[shard] ?? '')
      return to === undefined || to.uid === group.uid ? [] : [{ shard, from: group.uid, to: to.uid }]
    })
    const made = { cause: `leave ${group.name}`, author: leaverOf(view, group), atMs: view.atMs }
    planned.push(...(yield* newMigrations(moves, view, made)))
  }
  const first = view.state.migrations.next
  const numbered = planned.map((record, at) => encodeRecord({ ...record, id: first + at }))
  if (numbered.length === 0) return { kind: 'nothing', note: '' }
  return { kind: 'change', change: { base: config.number, planned: numbered }, note: '' }
}

/** Who asked for the leave, as far as the newest configs tell. */
function leaverOf({ state }: LeaderView, group: Group): string {
  const isLeave = (step: ConfigDifference) =>
    (step.groups ?? []).some(({ uid, state: now }) => uid === group.uid && now === pb.v1.GroupState.DRAINING)
  return state.recent.findLast(isLeave)?.to?.author ?? ''
}
