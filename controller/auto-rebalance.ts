import type { pb } from '../proto/messages.ts'
import type { CheckedAutoRebalance } from './admin-checks.ts'
import { type BalanceRules, encodeRules, isSameRules, rulesAfter, rulesText, wrongRules } from './balance-rules.ts'
import { type BalanceStep, findStep } from './balance-step.ts'
import type { Measure, ShardTable } from './balance-totals.ts'
import { configOf, configToChange, counted, type LeaderView, type Outcome } from './leader-view.ts'
import { hasMajority, isChanging } from './members.ts'
import { encodeRecord } from './migration-record.ts'
import { newMigrations, takers } from './planning.ts'
import { check } from './request-checks.ts'
import { autoAuthor } from './resting-shards.ts'
import type { Slices } from './slices.ts'
import { Steps } from './step.ts'
import type { ShardRates } from './told-loads.ts'

/** Moving shards without being asked for: the setting, and the moves, computed by the leader. Pure. */

/** Sets the rules; a config number of its own, so that the history tells who did. Refusals are thrown as OstrakaErrors. */
export function computeAutoRebalance(view: LeaderView, asked: CheckedAutoRebalance): Outcome {
  const config = configToChange(view, asked)
  const before = view.state.balanceRules
  const after = rulesAfter(before, asked.wanted)
  const wrong = wrongRules(after)
  check(wrong === undefined, wrong ?? '')
  const text = after.on ? `on: ${rulesText(after)}` : 'off'
  if (isSameRules(before, after)) return { kind: 'nothing', note: `nothing to do: auto-rebalance is ${text}` }
  const steps = new Steps(config)
  steps.add({ cause: `auto-rebalance ${text}`, author: asked.author, atMs: view.atMs }, {})
  const change: pb.v1.ConfigChange.$Properties = {
    base: config.number,
    steps: steps.all,
    requestId: asked.requestId,
    autoRebalance: encodeRules(after),
  }
  return { kind: 'change', change, note: `auto-rebalance is ${text}` }
}

/** What the leader has been told, and what it remembers, beside the state. */
export interface BalanceKnowledge {
  readonly rates: ShardRates
  readonly isResting: (shard: number) => boolean
}

/** undefined: the size of some shard is not known, or some shard's owner takes none. */
export function shardTable(view: LeaderView, { rates, isResting }: BalanceKnowledge): ShardTable | undefined {
  const config = configOf(view)
  const groups = takers(config)
  const positions = new Map(groups.map(({ uid }, at) => [uid, at]))
  const owners = new Int32Array(config.shardCount)
  const load = new Float64Array(config.shardCount)
  const size = new Float64Array(config.shardCount)
  const held = new Uint8Array(config.shardCount)
  const counts = groups.map(() => 0)
  const pins = groups.map(() => 0)
  for (let shard = 0; shard < config.shardCount; shard++) {
    const owner = positions.get(config.groupOf(shard)?.uid ?? '')
    const bytes = view.sizeOf(shard)
    if (owner === undefined || bytes === undefined) return undefined
    const isPinned = config.pins.has(shard)
    owners[shard] = owner
    counts[owner] = (counts[owner] ?? 0) + 1
    if (isPinned) pins[owner] = (pins[owner] ?? 0) + 1
    load[shard] = (rates.reads[shard] ?? 0) + (rates.writes[shard] ?? 0)
    size[shard] = bytes
    held[shard] = isPinned || isResting(shard) ? 1 : 0
  }
  return { groups, owners, load, size, held, counts, pins }
}

/** What goes on that moves must not be added to; undefined: nothing. */
export function busyWith(view: LeaderView): string | undefined {
  const config = configOf(view)
  const { migrations } = view.state
  for (const group of config.groups) {
    if (!hasMajority(view, group)) return `${group.name} has lost its majority`
    if (isChanging(group)) return `the members of ${group.name} change`
    if (group.state === 'draining') return `${group.name} is being drained`
  }
  if (takers(config).length < 2) return 'there is no second group'
  const open = migrations.open().length
  if (open > 0) return `${counted(open, 'migration')} under way`
  return migrations.births.size > 0 ? `${counted(migrations.births.size, 'shard')} to be made empty` : undefined
}

/** The migrations of the next step by this measure, if one is worth its cost: as a plan that somebody made. */
export function* computeBalanceStep(view: LeaderView, knowledge: BalanceKnowledge, rules: BalanceRules, measure: Measure): Slices<Outcome> {
  const config = configOf(view)
  const table = shardTable(view, knowledge)
  const step = table === undefined || busyWith(view) !== undefined ? undefined : yield* findStep(table, rules, measure)
  if (table === undefined || step === undefined) return { kind: 'nothing', note: '' }
  const groups = takers(config)
  const [from, to] = [groups[step.source]?.uid ?? '', groups[step.target]?.uid ?? '']
  const moves = [...step.out.map((shard) => ({ shard, from, to })), ...step.back.map((shard) => ({ shard, from: to, to: from }))]
  const made = { cause: `auto-rebalance: ${reasonOf(step, groups[step.source]?.name ?? '')}`, author: autoAuthor, atMs: view.atMs }
  const planned = yield* newMigrations(moves, view, made)
  return { kind: 'change', change: { base: config.number, planned: planned.map(encodeRecord) }, note: '' }
}

function reasonOf({ measure, ratioBefore, ratioAfter }: BalanceStep, group: string): string {
  const what = measure === 'load' ? 'load' : 'bytes'
  return `${group} has ${ratioBefore.toFixed(2)} times its share of the ${what}, then ${ratioAfter.toFixed(2)}`
}
