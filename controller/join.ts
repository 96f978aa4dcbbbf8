import { must } from '../base/assert.ts'
import { type Config, encodeGroup, type Group } from '../proto/config.ts'
import type { pb } from '../proto/messages.ts'
import { guessedNodes } from './guesses.ts'
import { configToChange, counted, type LeaderView, noteOfParts, type Outcome, refused } from './leader-view.ts'
import { encodeRecord } from './migration-record.ts'
import { type MovesPlan, placeShards, planMoves } from './planning.ts'
import type { CheckedGroup, CheckedJoin } from './request-checks.ts'
import type { Slices } from './slices.ts'
import { Steps } from './step.ts'
import { waitingEnds } from './takers.ts'

/** What a join would do to a state, computed by the leader. Pure. Refusals are thrown as OstrakaErrors. */

/** As many as docs/scaling.md shows figures for. */
export const groupsMax = 1024

/** Each new group is a config of its own; the last one also gives births to the shards that nobody owns yet. Shards that have owners migrate. */
export function* computeJoin(view: LeaderView, join: CheckedJoin): Slices<Outcome> {
  const { state, atMs } = view
  const base = configToChange(view, join)
  const { requestId, author } = join
  const added = newGroups(view, base, join)
  if (added.length === 0) return { kind: 'nothing', note: 'nothing to do: the groups are there' }
  const guesses = guessedNodes(
    view,
    added.flatMap((group) => group.members),
  )
  const steps = new Steps(base)
  let replica = state.nextReplica
  for (const [at, group] of added.entries()) {
    const made = { cause: `join ${group.name}`, author, atMs }
    const members = group.members.map((member) => ({ node: member.node, replica: replica++, state: 'voter' as const }))
    const uid = `${group.name}@${steps.number + 1}`
    const entry: Group = { uid, name: group.name, weight: group.weight, state: 'active', members }
    const contents = { groups: [encodeGroup(entry)] }
    const isLast = at === added.length - 1
    steps.add(made, isLast ? { ...contents, shards: yield* births(view, steps.config, entry) } : contents)
    yield isLast ? base.shardCount : added.length
  }
  const made = { cause: `join ${added.map((group) => group.name).join(', ')}`, author, atMs }
  // Where shards were without owners they were all dealt out above.
  const isFirst = base.assignment.includes(0)
  const plan = isFirst ? noMoves : yield* planMoves(steps.config, (yield* placeShards(steps.config, state.migrations)).owners, view, made)
  const change = {
    base: base.number,
    steps: steps.all,
    requestId,
    guesses,
    planned: plan.planned.map(encodeRecord),
    changed: plan.aborted.map(encodeRecord),
  }
  const note = noteOfParts(noteOf(steps.config, added, plan), waitingEnds(view, steps.config, plan.planned))
  return { kind: 'change', change, note }
}

const noMoves: MovesPlan = { planned: [], aborted: [] }

/** The groups of the join that are not there yet. */
function newGroups({ state }: LeaderView, config: Config, join: CheckedJoin): CheckedGroup[] {
  const added = join.groups.filter((group) => {
    if (join.once && state.joined.has(group.name)) return false
    const present = config.groupByName(group.name)
    if (present === undefined) return true
    mustBeSame(present, group)
    return false
  })
  if (config.groups.length + added.length > groupsMax) throw refused(`a cluster has at most ${groupsMax} groups`)
  return added
}

function mustBeSame(present: Group, wanted: CheckedGroup): void {
  if (present.state === 'draining') throw refused(`group ${present.name} is being drained: wait until it is gone, or choose another name`)
  const nodes = present.members.map((member) => member.node).sort()
  const given = wanted.members.map((member) => member.node).sort()
  if (nodes.length !== given.length || !nodes.every((node, at) => node === given[at])) {
    throw refused(`group ${present.name} is there with other nodes (${nodes.join(', ')}): choose another name`)
  }
  if (!wanted.isWeightGiven || wanted.weight === present.weight) return
  const command = `ostraka admin weight ${present.name} ${wanted.weight}`
  throw refused(`group ${present.name} is there with the weight ${present.weight}: '${command}' changes it`)
}

/** The shards that nobody owns yet, dealt out among all groups, `joiner` included. */
function* births({ state, atMs }: LeaderView, config: Config, joiner: Group): Slices<pb.v1.ShardChange.$Properties[]> {
  if (!config.assignment.includes(0)) return []
  const steps = new Steps(config)
  steps.add({ cause: '', author: '', atMs }, { groups: [encodeGroup(joiner)] })
  const { moves } = yield* placeShards(steps.config, state.migrations)
  yield moves.length
  return moves
    .filter((move) => move.from === undefined)
    .map(({ shard, to }) => ({ shard, group: must(steps.config.groupByName(to), 'a shard goes to a group').uid, epoch: 1 }))
}

function noteOf(config: Config, added: readonly CheckedGroup[], { planned }: MovesPlan): string {
  const shards = planned.reduce((sum, record) => sum + record.shards.length, 0)
  if (shards > 0) return `${counted(shards, 'shard')} will move, in ${counted(planned.length, 'migration')}`
  const counts = config.shardCounts()
  const idle = new Set(config.groups.flatMap(({ name }, at) => (counts[at] === 0 ? [name] : [])))
  const empty = added.filter(({ name }) => idle.has(name))
  if (empty.length === 0) return ''
  const names = empty.map((group) => group.name).join(', ')
  return `${names} ${empty.length === 1 ? 'gets' : 'get'} no shards: there are none to spare`
}
