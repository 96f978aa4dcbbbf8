import { must } from '../base/assert.ts'
import type { Config } from '../proto/config.ts'
import { applyDifferences } from '../proto/config-difference.ts'
import type { pb } from '../proto/messages.ts'
import { copyRate, estimatedMs } from './estimate.ts'
import { type LeaderView, migrationsMark, type Outcome } from './leader-view.ts'
import { decodeRecord, type MigrationRecord } from './migration-record.ts'
import { imbalanceOf, intendedOwners, type Owners, ownersAfter } from './planning.ts'

/** What an outcome would do, for people. Pure. */
export function planReply(view: LeaderView, outcome: Outcome): Omit<pb.v1.PlanReply.$Properties, 'error'> {
  const { state } = view
  const config = must(state.config, 'a plan before the cluster is formed')
  const before = intendedOwners(config, state.migrations)
  const imbalanceBefore = imbalanceOf(config, before)
  const base = { configNumber: config.number, migrationsMark: migrationsMark(state), imbalanceBefore }
  if (outcome.kind !== 'change') return { ...base, moves: [], imbalanceAfter: imbalanceBefore }
  const after = applyDifferences(config, outcome.change.steps ?? [])
  const planned = (outcome.change.planned ?? []).map(decodeRecord)
  const ended = new Set((outcome.change.changed ?? []).map(({ id }) => id))
  const owners = ownersAfter(after, staying(view, after, ended), planned)
  return {
    ...base,
    moves: movesOf(view, config, after, owners, planned),
    imbalanceAfter: imbalanceOf(after, owners),
    estimatedMs: durationOf(view, planned),
  }
}

/** 0: nothing is copied, or it is not known how much. */
function durationOf(view: LeaderView, planned: readonly MigrationRecord[]): number {
  const sizes = planned.map(({ shards }) => shards.map((shard) => view.sizeOf(shard)))
  if (sizes.some((known) => known.includes(undefined))) return 0
  const copies = planned.map(({ from, to }, at) => ({
    from,
    to,
    bytes: (sizes[at] ?? []).reduce<number>((sum, size) => sum + (size ?? 0), 0),
  }))
  return estimatedMs(copies, copyRate(view.state.migrations.byId.values()))
}

/** Owners by the config and by the migrations that go on. */
function staying({ state }: LeaderView, config: Config, ended: ReadonlySet<number | null | undefined>): (string | undefined)[] {
  const owners = Array.from({ length: config.shardCount }, (_, shard) => config.groupOf(shard)?.name)
  for (const { id, shards, to } of state.migrations.open()) {
    if (!ended.has(id)) for (const shard of shards) owners[shard] = config.groupByUid(to)?.name
  }
  return owners
}

/** Shards that get another owner by it, at once or by a migration of it. */
function movesOf(
  view: LeaderView,
  before: Config,
  after: Config,
  owners: Owners,
  planned: readonly MigrationRecord[],
): pb.v1.PlannedMove.$Properties[] {
  const moving = new Set(planned.flatMap(({ shards }) => shards))
  const moves: pb.v1.PlannedMove.$Properties[] = []
  for (let shard = 0; shard < before.shardCount; shard++) {
    const from = before.groupOf(shard)
    if (!moving.has(shard) && after.groupOf(shard)?.uid === from?.uid) continue
    moves.push({ shard, from: from?.name ?? '', to: owners[shard] ?? '', bytes: view.sizeOf(shard) ?? 0 })
  }
  return moves
}
