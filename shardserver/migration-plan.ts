import { emptyBytes } from '../base/bytes.ts'
import { continues } from './delta.ts'
import type { MigrationBreak } from './migration-break.ts'
import type { MigrationStep } from './migration-entry.ts'
import { digestOfNothing } from './record-digest.ts'
import { calm, type ShardEffect, type ShardEvent, type ShardRecord, type Transition, transition, unbornShard } from './shard-state.ts'
import type { GroupSmallState } from './small-state.ts'

/** What a step would do to the record of one shard. */
export interface ShardMove {
  readonly shard: number
  readonly next: ShardRecord
  readonly effect: ShardEffect
}

export type StepPlan =
  | { readonly kind: 'planned'; readonly moves: readonly ShardMove[] }
  | { readonly kind: 'refused'; readonly reason: string }

/**
 * What a step does to the records of its shards: to all of them, or nothing. Changes nothing itself. `index`: of the entry. `disagrees`: what an
 * activation has replayed did not come to the source's revisions.
 */
export function planStep(
  state: GroupSmallState,
  step: MigrationStep,
  index: number,
  breaks: ReadonlySet<MigrationBreak>,
  disagrees = false,
): StepPlan {
  const agrees = !disagrees && agreesWith(state, step, breaks)
  const digest = step.kind === 'export' && isOfNothing(state, step.shards) ? digestOfNothing : emptyBytes
  const moves: ShardMove[] = []
  for (let i = 0; i < step.shards.length; i++) {
    const shard = step.shards[i] as number
    const record = state.shards.get(shard)?.record ?? unbornShard
    const result = lateExcise(record, step, breaks) ?? transition(record, eventOf(step, i, record, { index, agrees, digest }, breaks))
    if (result.kind === 'refused') return { kind: 'refused', reason: `shard ${shard} is ${result.reason}` }
    const next = result.effect === 'excise' && breaks.has('fence-forgotten') ? { ...result.next, newestId: 0 } : result.next
    moves.push({ shard, next, effect: result.effect })
  }
  return { kind: 'planned', moves }
}

/** Whether a cut of these shards holds nothing but what every shard has at birth: then it has no files. */
export function isOfNothing({ shards }: GroupSmallState, wanted: readonly number[]): boolean {
  return wanted.every((shard) => shards.get(shard)?.isUntouched === true)
}

/** Whether what a replay or an activation brings goes on where each shard stands, and ends where the source says. */
function agreesWith(state: GroupSmallState, step: MigrationStep, breaks: ReadonlySet<MigrationBreak>): boolean {
  if (step.kind !== 'replay' && step.kind !== 'activate') return false
  if (breaks.has('replay-without-cursor')) return true
  return step.deltas.every((delta) => {
    const shard = state.shards.get(delta.shard ?? 0)
    if (shard === undefined || !continues(delta, shard.record, step.after, step.upTo)) return false
    return step.kind === 'replay' || (delta.timeMs ?? 0) >= state.timeOf(shard)
  })
}

function eventOf(
  step: MigrationStep,
  place: number,
  record: ShardRecord,
  { index, agrees, digest }: { readonly index: number; readonly agrees: boolean; readonly digest: Uint8Array },
  breaks: ReadonlySet<MigrationBreak>,
): ShardEvent {
  if (step.kind === 'export') return { ...step, index, digest }
  if (step.kind === 'release') return { ...step, index }
  if (step.kind === 'outcome') return { ...step, epoch: step.epochs[place] ?? 0 }
  if (step.kind !== 'replay' && step.kind !== 'activate') return step
  const delta = step.deltas[place]
  const anywhere = breaks.has('replay-without-cursor')
  const after = anywhere ? record.cursor : step.after
  const upTo = anywhere ? Math.max(step.upTo, record.cursor + 1) : step.upTo
  const commands = { after, upTo, agrees, count: delta?.count ?? 0, checksum: delta?.checksum ?? 0 }
  if (step.kind === 'replay') return { kind: step.kind, id: step.id, ...commands }
  return { kind: step.kind, id: step.id, ...commands, epoch: step.epochs[place] ?? 0 }
}

/** The deliberate break of that name: an outcome of an older id is obeyed. */
function lateExcise(record: ShardRecord, step: MigrationStep, breaks: ReadonlySet<MigrationBreak>): Transition | undefined {
  if (!breaks.has('late-excise') || step.kind !== 'outcome' || step.id >= record.newestId || step.outcome === 'given-back') return undefined
  return { kind: 'moved', next: calm(record, 'absent'), effect: 'excise' }
}
