import { must } from '../base/assert.ts'
import type { CheckedMove, CheckedRebalance, CheckedUnpin } from './admin-checks.ts'
import { configToChange, counted, groupNamed, type LeaderView, mustBeShard, noteOfParts, type Outcome, refused } from './leader-view.ts'
import { encodeRecord } from './migration-record.ts'
import { newMigrations, placeShards, planMoves } from './planning.ts'
import type { Slices } from './slices.ts'
import { Steps } from './step.ts'
import { waitingEnds } from './takers.ts'

/** What moving and holding single shards, and evening out, would do to a state, computed by the leader. Pure. Refusals are thrown as OstrakaErrors. */

/** Pins the shard; where another group owns it, it migrates. */
export function* computeMove(view: LeaderView, move: CheckedMove): Slices<Outcome> {
  const { shard, group: name, author, requestId } = move
  const config = configToChange(view, move)
  mustBeShard(config, shard)
  const group = groupNamed(config, name)
  if (group.state === 'draining') throw refused(`group ${name} is being drained: it takes no shards`)
  const open = view.state.migrations.openOf(shard)
  if (open !== undefined) {
    const to = config.groupByUid(open.to)?.name ?? open.to
    throw refused(`shard ${shard} moves to ${to} now (migration ${open.id}): wait until it is through, or cancel it`)
  }
  const owner = must(config.groupOf(shard), 'where a group is there all shards have owners')
  const made = { cause: `move ${shard} to ${name}`, author, atMs: view.atMs }
  const steps = new Steps(config)
  if (config.pins.get(shard) !== name) steps.add(made, { pins: [{ shard, group: name }] })
  const planned = owner.uid === group.uid ? [] : yield* newMigrations([{ shard, from: owner.uid, to: group.uid }], view, made)
  if (steps.all.length + planned.length === 0) return { kind: 'nothing', note: `nothing to do: shard ${shard} is pinned to ${name}` }
  const note = planned.length > 0 ? waitingEnds(view, config, planned) : `shard ${shard} is at ${name} already: it is pinned there now`
  return { kind: 'change', change: { base: config.number, steps: steps.all, requestId, planned: planned.map(encodeRecord) }, note }
}

/** Moves nothing. */
export function computeUnpin(view: LeaderView, unpin: CheckedUnpin): Outcome {
  const { shard, author, requestId } = unpin
  const config = configToChange(view, unpin)
  mustBeShard(config, shard)
  if (!config.pins.has(shard)) return { kind: 'nothing', note: `nothing to do: shard ${shard} is not pinned` }
  const steps = new Steps(config)
  steps.add({ cause: `unpin ${shard}`, author, atMs: view.atMs }, { unpinned: [shard] })
  return { kind: 'change', change: { base: config.number, steps: steps.all, requestId }, note: '' }
}

/** Migrations until every group has its share. */
export function* computeRebalance(view: LeaderView, rebalance: CheckedRebalance): Slices<Outcome> {
  const { author, requestId } = rebalance
  const { state, atMs } = view
  const config = configToChange(view, rebalance)
  const { owners } = yield* placeShards(config, state.migrations)
  const { planned, aborted } = yield* planMoves(config, owners, view, { cause: 'rebalance', author, atMs })
  const ended = new Set(aborted.map(({ id }) => id))
  const running = state.migrations.open().flatMap(({ id }) => (ended.has(id) ? [] : [id]))
  if (planned.length + aborted.length === 0) {
    const note =
      running.length === 0
        ? 'nothing to do: every group has its share'
        : `nothing to add: ${counted(running.length, 'migration')} under way`
    return { kind: 'nothing', note, migrations: running }
  }
  const change = {
    base: config.number,
    steps: [],
    requestId,
    planned: planned.map(encodeRecord),
    changed: aborted.map(encodeRecord),
    concerned: running,
  }
  const note = aborted.length === 0 ? '' : `${counted(aborted.length, 'migration')} under way no longer wanted: aborted`
  return { kind: 'change', change, note: noteOfParts(note, waitingEnds(view, config, planned)) }
}
