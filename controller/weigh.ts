import { encodeGroup } from '../proto/config.ts'
import type { CheckedWeigh } from './admin-checks.ts'
import { configToChange, counted, groupNamed, type LeaderView, noteOfParts, type Outcome, refused } from './leader-view.ts'
import { encodeRecord } from './migration-record.ts'
import { placeShards, planMoves } from './planning.ts'
import type { Slices } from './slices.ts'
import { Steps } from './step.ts'
import { waitingEnds } from './takers.ts'

/** Gives a group another weight, and what migrations that asks for, computed by the leader. Pure. Refusals are thrown as OstrakaErrors. */
export function* computeWeigh(view: LeaderView, weigh: CheckedWeigh): Slices<Outcome> {
  const { author, requestId, weight } = weigh
  const config = configToChange(view, weigh)
  const group = groupNamed(config, weigh.group)
  if (group.state === 'draining') throw refused(`group ${group.name} is being drained: it takes no shards`)
  if (group.weight === weight) return { kind: 'nothing', note: `nothing to do: ${group.name} has the weight ${weight}` }
  const made = { cause: `weight ${group.name} ${weight}`, author, atMs: view.atMs }
  const steps = new Steps(config)
  steps.add(made, { groups: [encodeGroup({ ...group, weight })] })
  const { owners } = yield* placeShards(steps.config, view.state.migrations)
  const { planned, aborted } = yield* planMoves(steps.config, owners, view, made)
  const change = {
    base: config.number,
    steps: steps.all,
    requestId,
    planned: planned.map(encodeRecord),
    changed: aborted.map(encodeRecord),
  }
  const shards = planned.reduce((sum, record) => sum + record.shards.length, 0)
  const note = shards === 0 ? 'no shard has to move' : `${counted(shards, 'shard')} will move, in ${counted(planned.length, 'migration')}`
  const ends = waitingEnds(view, steps.config, planned)
  return { kind: 'change', change, note: noteOfParts(`${group.name} had the weight ${group.weight}`, note, ends) }
}
