import { unreachable } from '../base/assert.ts'
import { OstrakaError } from '../proto/errors.ts'
import type { CheckedSteer } from './admin-checks.ts'
import { configToChange, type LeaderView, mustBeShard, noteOfParts, type Outcome, ranges, refused } from './leader-view.ts'
import { encodeRecord, type MigrationRecord } from './migration-record.ts'
import { type MigrationEvent, transition } from './migration-transition.ts'

/** What pausing, resuming or cancelling the migration of a shard would do, computed by the leader. Pure. Refusals are thrown as OstrakaErrors. */
export function computeSteer(view: LeaderView, steer: CheckedSteer): Outcome {
  const { shard, steering, author, requestId } = steer
  const config = configToChange(view, steer)
  mustBeShard(config, shard)
  const record = view.state.migrations.openOf(shard)
  if (record === undefined) throw new OstrakaError('NOT_FOUND', `shard ${shard} does not move`, true)
  const after = transition(record, eventOf(view, steering, author))
  if (after === undefined) return unchanged(record, steering, shard)
  const pinned = steering === 'cancel' ? record.shards.filter((one) => config.pins.has(one)) : []
  const pins = pinned.length === 0 ? '' : `pinned still: ${ranges(pinned)}`
  const others = record.shards.length > 1 ? `, with shards ${ranges(record.shards)}` : ''
  const change = { base: config.number, steps: [], requestId, changed: [encodeRecord(after)], concerned: [record.id] }
  return { kind: 'change', change, note: noteOfParts(`migration ${record.id}${others}`, pins, steering === 'pause' ? costOfPause : '') }
}

/** A paused migration may stand for any time: its source must not forget anything, and no clock ends it. */
const costOfPause = 'until it is resumed or cancelled its source keeps each write to these shards twice, and the tables that it has cut'

function eventOf(view: LeaderView, steering: CheckedSteer['steering'], author: string): MigrationEvent {
  switch (steering) {
    case 'pause':
      return { kind: 'pause', author, atMs: view.atMs }
    case 'resume':
      return { kind: 'resume' }
    case 'cancel':
      return { kind: 'abort', reason: author === '' ? 'cancelled' : `cancelled by ${author}`, atMs: view.atMs }
    default:
      return unreachable(steering)
  }
}

function unchanged(record: MigrationRecord, steering: CheckedSteer['steering'], shard: number): Outcome {
  if (record.phase === 'committed' && steering !== 'resume') {
    throw refused(`migration ${record.id} of shard ${shard} is committed: it can only be completed now`)
  }
  const by = record.pausedBy === '' ? '' : ` by ${record.pausedBy}`
  const note = `nothing to do: migration ${record.id} is ${record.paused ? `paused${by}` : 'not paused'}`
  return { kind: 'nothing', note, migrations: [record.id] }
}
