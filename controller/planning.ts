import { must } from '../base/assert.ts'
import type { Config, Group } from '../proto/config.ts'
import type { LeaderView } from './leader-view.ts'
import { type MigrationRecord, newMigration } from './migration-record.ts'
import { transition } from './migration-transition.ts'
import type { Migrations } from './migrations.ts'
import { packMoves, type ShardMove } from './packing.ts'
import { type Placement, placing } from './placement.ts'
import { imbalance } from './quotas.ts'
import { type Slices, Work } from './slices.ts'
import type { Made } from './step.ts'

/** From where shards are to be, to migrations. Pure, and in slices where all shards are looked at. */

export type Owners = readonly (string | undefined)[]

/** The groups that take shards. */
export function takers(config: Config): Group[] {
  return config.groups.filter((group) => group.state === 'active')
}

/** For each shard the name of its owner once all open migrations are through. */
export function intendedOwners(config: Config, migrations: Migrations): (string | undefined)[] {
  const owners = Array.from({ length: config.shardCount }, (_, shard) => config.groupOf(shard)?.name)
  for (const { shards, to } of migrations.open()) for (const shard of shards) owners[shard] = config.groupByUid(to)?.name
  return owners
}

/** Where shards belong, starting from where they are to be. What is committed stays there: it moves on when it has arrived. */
export function* placeShards(config: Config, migrations: Migrations): Slices<Placement> {
  const pins = new Map(config.pins)
  for (const { phase, shards, to } of migrations.open()) {
    const name = config.groupByUid(to)?.name
    if (phase === 'committed' && name !== undefined) for (const shard of shards) pins.set(shard, name)
  }
  const groups = takers(config).map(({ name, weight }) => ({ name, weight }))
  const current = intendedOwners(config, migrations)
  yield current.length
  return yield* placing({ shardCount: config.shardCount, groups, current, pins })
}

/** Below any share that rounding would raise to a shard: a group of this weight has what is pinned to it. */
const noShare = Number.MIN_VALUE

/**
 * Where shards belong while a group is drained: groups that cannot take shards now (`unable`, names) are left as they are, and neither give nor take; a later
 * rebalance evens out. What is on its way from a group that drains to one of them and is not driven goes elsewhere. Where nobody can take, shards stay.
 */
export function* placeDrained(
  config: Config,
  { state: { migrations }, isDriven }: LeaderView,
  unable: ReadonlySet<string>,
): Slices<Owners> {
  const groups = takers(config)
  if (unable.size === 0) return (yield* placeShards(config, migrations)).owners
  const owners = intendedOwners(config, migrations)
  yield owners.length
  if (unable.size === groups.length) return owners.map((name, shard) => (isTaker(config, name) ? name : config.groupOf(shard)?.name))
  const current = owners.map((name, shard) => {
    const owner = config.groupOf(shard)
    if (owner?.state !== 'draining') return owner !== undefined && unable.has(owner.name) && !isTaker(config, name) ? owner.name : name
    const open = migrations.openOf(shard)
    const isStanding = open?.phase === 'copying' && !isDriven(open.id)
    return isStanding && name !== undefined && unable.has(name) ? undefined : name
  })
  yield current.length
  const pins = new Map([...config.pins].filter(([, name]) => !unable.has(name)))
  for (const { phase, shards, to } of migrations.open()) {
    const name = config.groupByUid(to)?.name
    if (phase === 'committed' && name !== undefined) for (const shard of shards) pins.set(shard, name)
  }
  for (const [shard, name] of current.entries()) if (name !== undefined && unable.has(name)) pins.set(shard, name)
  const placed = groups.map(({ name, weight }) => ({ name, weight: unable.has(name) ? noShare : weight }))
  return (yield* placing({ shardCount: config.shardCount, groups: placed, current, pins })).owners
}

function isTaker(config: Config, name: string | undefined): boolean {
  return name !== undefined && config.groupByName(name)?.state === 'active'
}

export interface MovesPlan {
  readonly planned: readonly MigrationRecord[]
  /** Open migrations that are not wanted any more. */
  readonly aborted: readonly MigrationRecord[]
}

/** Migrations that bring the shards of `config` where `wanted` says. Those that are on their way there go on; other ones are aborted if they still can be. */
export function* planMoves(config: Config, wanted: Owners, view: LeaderView, made: Made): Slices<MovesPlan> {
  const { migrations } = view.state
  const uids = new Map(config.groups.map((group) => [group.name, group.uid]))
  const targetOf = (shard: number) => uids.get(wanted[shard] ?? '')
  const aborted: MigrationRecord[] = []
  const kept = new Set<number>()
  const work = new Work()
  for (const record of migrations.open()) {
    if (work.add(record.shards.length)) yield work.take()
    const isWanted = record.shards.every((shard) => targetOf(shard) === record.to)
    const after = isWanted
      ? undefined
      : transition(record, { kind: 'abort', reason: `not wanted any more: ${made.cause}`, atMs: made.atMs })
    if (after !== undefined) aborted.push(after)
    else for (const shard of record.shards) kept.add(shard)
  }
  const moves: ShardMove[] = []
  for (let shard = 0; shard < config.shardCount; shard++) {
    if (work.add(1)) yield work.take()
    const from = config.groupOf(shard)?.uid
    const to = targetOf(shard)
    if (!kept.has(shard) && from !== undefined && to !== undefined && from !== to) moves.push({ shard, from, to })
  }
  return { planned: yield* newMigrations(moves, view, made), aborted }
}

/** The migrations of these moves; their ids are the next ones. */
export function* newMigrations(moves: readonly ShardMove[], view: LeaderView, { cause, author, atMs }: Made): Slices<MigrationRecord[]> {
  const sets = yield* packMoves(moves, view.sizeOf)
  return sets.map((set, at) => newMigration({ ...set, id: view.state.migrations.next + at, startedAtMs: atMs, cause, author }))
}

/** The largest relative distance of a group that takes shards from its share. */
export function imbalanceOf(config: Config, owners: Owners): number {
  const counts = new Map<string, number>()
  for (const owner of owners) if (owner !== undefined) counts.set(owner, (counts.get(owner) ?? 0) + 1)
  return imbalance(
    config.shardCount,
    takers(config).map(({ name, weight }) => ({ weight, owned: counts.get(name) ?? 0 })),
  )
}

/** Owners once the migrations are through; `owners` are those without them. */
export function ownersAfter(config: Config, owners: Owners, planned: readonly MigrationRecord[]): (string | undefined)[] {
  const after = [...owners]
  for (const { shards, to } of planned)
    for (const shard of shards) after[shard] = must(config.groupByUid(to), 'a target in the config').name
  return after
}
