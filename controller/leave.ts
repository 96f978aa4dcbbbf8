import { must } from '../base/assert.ts'
import { type Config, encodeGroup, type Group } from '../proto/config.ts'
import { OstrakaError } from '../proto/errors.ts'
import type { ShardBirth } from '../proto/migration-list.ts'
import type { CheckedLeave } from './admin-checks.ts'
import { configToChange, counted, groupNamed, type LeaderView, type Outcome, ranges, refused } from './leader-view.ts'
import { hasMajority } from './members.ts'
import { encodeRecord, isSettled, type MigrationRecord } from './migration-record.ts'
import { transition } from './migration-transition.ts'
import { type Owners, placeDrained, placeShards, planMoves, takers } from './planning.ts'
import type { Slices } from './slices.ts'
import { type Made, Steps } from './step.ts'
import { unableTakers, unableText } from './takers.ts'
import { isStuck, stranded } from './upkeep.ts'

/** What a leave would do to a state, computed by the leader. Pure. Refusals are thrown as OstrakaErrors. */

/** Drains the group, or gives its data up. */
export function* computeLeave(view: LeaderView, leave: CheckedLeave): Slices<Outcome> {
  const config = configToChange(view, leave)
  const group = groupNamed(config, leave.group)
  if (leave.abandonData) return yield* abandon(view, config, group, leave)
  const shards = config.shardsOf(group.uid)
  if (group.state === 'draining') {
    const left = `nothing to do: ${group.name} is being drained, ${counted(shards.length, 'shard')} left`
    return { kind: 'nothing', note: `${left}${stuckNote(view, config, group)}`, ...running(view, group) }
  }
  mustNotBeLast(config, group)
  const steps = new Steps(config)
  const made = { cause: `leave ${group.name}`, author: leave.author, atMs: view.atMs }
  steps.add(made, { groups: [encodeGroup({ ...group, state: 'draining' })], unpinned: pinsOf(config, group) })
  const owners = yield* placeDrained(steps.config, view, unableTakers(view, steps.config))
  const { planned, aborted } = yield* planMoves(steps.config, owners, view, made)
  const change = {
    base: config.number,
    steps: steps.all,
    requestId: leave.requestId,
    planned: planned.map(encodeRecord),
    changed: aborted.map(encodeRecord),
  }
  return { kind: 'change', change, note: noteOf(view, steps.config, group, planned) }
}

function stuckNote(view: LeaderView, config: Config, group: Group): string {
  const isStranded = stranded(view).some(({ uid }) => uid === group.uid)
  return isStranded && isStuck(view) ? `; no group can take them now: ${unableText(view, config)}` : ''
}

function running({ state }: LeaderView, group: Group) {
  return { migrations: state.migrations.open().flatMap(({ id, from }) => (from === group.uid ? [id] : [])) }
}

function mustNotBeLast(config: Config, group: Group): void {
  const others = takers(config).filter(({ uid }) => uid !== group.uid)
  if (others.length === 0 && config.assignment.some((position) => position > 0)) {
    throw refused(`${group.name} is the last group that takes shards: join another one first`)
  }
}

/** A pin is a group's name, and must not wait for a later group of the name. */
function pinsOf(config: Config, group: Group): number[] {
  return [...config.pins].flatMap(([shard, name]) => (name === group.name ? [shard] : [])).sort((a, b) => a - b)
}

/** `config`: in which the group is being drained. */
function noteOf(view: LeaderView, config: Config, group: Group, planned: readonly MigrationRecord[]): string {
  const shards = config.shardsOf(group.uid)
  if (shards.length === 0) return `${group.name} owns no shards: it will be removed at once`
  if (!hasMajority(view, group)) {
    return `${group.name} has lost its majority: shards ${ranges(shards)} wait for it; start its nodes, or give the data up (--abandon-data)`
  }
  const unable = unableText(view, config)
  if (unableTakers(view, config).size === takers(config).length) {
    return `no group can take the ${counted(shards.length, 'shard')} of ${group.name} now: ${unable}; they move when one can, then ${group.name} is removed`
  }
  const rest = unable === '' ? '' : `; not to groups that cannot take shards now: ${unable}`
  return `${counted(shards.length, 'shard')} will move, in ${counted(planned.length, 'migration')}; then ${group.name} is removed${rest}`
}

/**
 * The group is lost. Its shards are born anew and empty elsewhere, but those that a living source was just handing over: they stay at their
 * source, which has them whole. The group's uid gets its tombstone at once.
 */
function* abandon(view: LeaderView, config: Config, group: Group, leave: CheckedLeave): Slices<Outcome> {
  const shards = config.shardsOf(group.uid)
  mustBeLost(view, config, group, shards, leave.confirmShards)
  const { state, atMs } = view
  const made = { cause: `leave ${group.name}, giving up its data (${counted(shards.length, 'shard')})`, author: leave.author, atMs }
  const steps = new Steps(config)
  const draining = new Steps(config)
  draining.add(made, { groups: [encodeGroup({ ...group, state: 'draining' })], unpinned: pinsOf(config, group) })
  const owners = yield* placeAbandoned(view, draining.config)
  const ended = endedBy(view, config, group, made)
  const returned = new Map(ended.flatMap((record) => returnedBy(record, state.migrations.byId.get(record.id))))
  const births: ShardBirth[] = shards.flatMap((shard) => {
    if (returned.has(shard)) return []
    const to = must(config.groupByName(owners[shard] ?? ''), 'another group takes the shard')
    return [{ shard, group: to.uid, epoch: config.epochOf(shard) + 1 }]
  })
  const handed = [...returned].map(([shard, uid]) => ({ shard, group: uid, epoch: config.epochOf(shard) + 1 }))
  const changes = [...births, ...handed].sort((a, b) => a.shard - b.shard)
  steps.add(made, { removedGroups: [group.uid], shards: changes, unpinned: pinsOf(config, group) })
  // Of shards that went on before the group had told that they were born: nobody will tell any more.
  const born = [...state.migrations.births.values()].filter((birth) => birth.group === group.uid && !shards.includes(birth.shard))
  const change = { base: config.number, steps: steps.all, requestId: leave.requestId, births, born, changed: ended.map(encodeRecord) }
  const kept = handed.length === 0 ? '' : `; ${counted(handed.length, 'shard')} kept by the source of a migration`
  return { kind: 'change', change, note: `${counted(births.length, 'shard')} made empty elsewhere${kept}` }
}

/** They are born where somebody can serve them; where nobody can, wherever they belong. */
function* placeAbandoned(view: LeaderView, config: Config): Slices<Owners> {
  const unable = unableTakers(view, config)
  if (unable.size === takers(config).length) return (yield* placeShards(config, view.state.migrations)).owners
  return yield* placeDrained(config, view, unable)
}

function mustBeLost(view: LeaderView, config: Config, group: Group, shards: readonly number[], confirmed: number): void {
  if (hasMajority(view, group)) {
    // Who asks is to ask again, as the controllers' client does by itself.
    if (!view.isLivenessKnown)
      throw new OstrakaError('UNAVAILABLE', `the controllers' new leader does not know yet whether ${group.name} is lost`, true)
    throw refused(`${group.name} has its majority: let it leave without giving its data up`)
  }
  if (takers(config).every(({ uid }) => uid === group.uid))
    throw refused(`${group.name} is the last group that takes shards: join another one first`)
  if (confirmed === shards.length) return
  throw refused(
    `${group.name} owns ${counted(shards.length, 'shard')}: confirm with that number that their data is given up, not with ${confirmed}`,
  )
}

/** All migrations that still wait for the group, as they are without it. */
function endedBy({ state }: LeaderView, config: Config, group: Group, { cause: reason, atMs }: Made): MigrationRecord[] {
  return [...state.migrations.byId.values()].flatMap((record) => {
    const concerned = record.from === group.uid || record.to === group.uid
    if (!concerned || isSettled(record)) return []
    let after = record
    if (record.phase === 'copying') after = must(transition(record, { kind: 'abort', reason, atMs }), 'it is copying')
    if (record.phase === 'committed' && record.to === group.uid) {
      const epochs = record.shards.map((shard) => config.epochOf(shard) + 1)
      const event = { kind: 'give-back' as const, configNumber: config.number + 1, epochs, reason, atMs }
      after = must(transition(record, event), 'it is committed')
    }
    return [transition(after, { kind: 'confirm', group: group.uid }) ?? after]
  })
}

/** Shard → uid of the source that keeps it; none where that source is gone as well. */
function returnedBy(after: MigrationRecord, before: MigrationRecord | undefined): [number, string][] {
  if (after.phase !== 'given-back' || before?.phase === 'given-back' || after.fromConfirmed) return []
  return after.shards.map((shard) => [shard, after.from])
}
