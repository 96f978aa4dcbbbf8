import { must } from '../base/assert.ts'
import { type Config, encodeGroup, type Group } from '../proto/config.ts'
import { applyDifference, type ConfigDifference } from '../proto/config-difference.ts'
import { encodeNodeEntry } from '../proto/directory.ts'
import { OstrakaError } from '../proto/errors.ts'
import type { pb } from '../proto/messages.ts'
import type { ConfigState } from './config-state.ts'
import { type Placement, place } from './placement.ts'
import { imbalance } from './quotas.ts'
import type { CheckedGroup, CheckedJoin } from './request-checks.ts'

/** What a join would do to a state, computed by the leader. Pure. Refusals are thrown as OstrakaErrors. */

export type JoinOutcome =
  | { readonly kind: 'nothing'; readonly note: string }
  | { readonly kind: 'change'; readonly change: pb.v1.ConfigChange.$Properties; readonly note: string }

type JoinState = Pick<ConfigState, 'config' | 'nextReplica' | 'joined' | 'nodes'>

/** Placing shards among many more would keep the controllers' leader from its heartbeats for as long as an election takes (half a second here). */
const groupsMax = 256

/** Each new group is a config of its own; the last one also gives births to the shards that nobody owns yet. */
export function computeJoin(state: JoinState, join: CheckedJoin, atMs: number): JoinOutcome {
  const base = must(state.config, 'a join before the cluster is formed')
  const added = newGroups(state, base, join)
  if (added.length === 0) return { kind: 'nothing', note: 'nothing to do: the groups are there' }
  const guesses = guessedNodes(state, added)
  const steps: ConfigDifference[] = []
  let config = base
  let replica = state.nextReplica
  for (const [at, group] of added.entries()) {
    const number = config.number + 1
    const members = group.members.map((member) => ({ node: member.node, replica: replica++ }))
    const entry: Group = { uid: `${group.name}@${number}`, name: group.name, weight: group.weight, state: 'active', members }
    const step = stepOf(config, entry, { number, atMs, author: join.author }, at === added.length - 1)
    steps.push(step)
    config = applyDifference(config, step)
  }
  const change = { base: base.number, steps, requestId: join.requestId, guesses: guesses.map(encodeNodeEntry) }
  return { kind: 'change', change, note: noteOf(config, added) }
}

/** Where every shard would be if shards were dealt out anew with the groups of the join. */
export function computePlan(state: JoinState, join: CheckedJoin): Omit<pb.v1.PlanReply.$Properties, 'error'> {
  const config = must(state.config, 'a plan before the cluster is formed')
  const added = newGroups(state, config, join)
  guessedNodes(state, added)
  const groups = [...takers(config), ...added]
  const placement = placed(config, groups)
  return {
    configNumber: config.number,
    moves: placement.moves.map(({ shard, from, to }) => ({ shard, from: from ?? '', to })),
    imbalanceBefore: imbalanceOf(config.shardCount, takers(config), ownerNames(config)),
    imbalanceAfter: imbalanceOf(config.shardCount, groups, placement.owners),
  }
}

/** The groups of the join that are not there yet. */
function newGroups(state: JoinState, config: Config, join: CheckedJoin): CheckedGroup[] {
  const added = join.groups.filter((group) => {
    if (join.once && state.joined.has(group.name)) return false
    const present = config.groupByName(group.name)
    if (present === undefined) return true
    mustBeSame(present, group)
    return false
  })
  if (config.groups.length + added.length > groupsMax) {
    throw new OstrakaError('FAILED_PRECONDITION', `a cluster has at most ${groupsMax} groups`, true)
  }
  return added
}

function mustBeSame(present: Group, wanted: CheckedGroup): void {
  const nodes = present.members.map((member) => member.node).sort()
  const given = wanted.members.map((member) => member.node).sort()
  if (nodes.length === given.length && nodes.every((node, at) => node === given[at])) return
  const text = `group ${present.name} is there with other nodes (${nodes.join(', ')}): choose another name`
  throw new OstrakaError('FAILED_PRECONDITION', text, true)
}

/** First guesses of where nodes are that have not registered yet. Throws where there is none. */
function guessedNodes(state: JoinState, added: readonly CheckedGroup[]) {
  const guesses = new Map<
    string,
    { id: string; addresses: { name: string; address: string }[]; pid: number; http: string; version: number }
  >()
  for (const { node, address } of added.flatMap((group) => group.members)) {
    if (state.nodes.has(node) || guesses.has(node)) continue
    const elsewhere = added.flatMap((group) => group.members).find((member) => member.node === node && member.address !== '')
    const guess = address || elsewhere?.address
    if (guess === undefined) {
      throw new OstrakaError('FAILED_PRECONDITION', `node ${node} is not known: start it first, or give ${node}=HOST:PORT`, true)
    }
    guesses.set(node, { id: node, addresses: [{ name: 'default', address: guess }], pid: 0, http: '', version: 0 })
  }
  return [...guesses.values()]
}

function stepOf(config: Config, group: Group, made: { number: number; atMs: number; author: string }, births: boolean): ConfigDifference {
  const uids = new Map([...config.groups, group].map((one) => [one.name, one.uid]))
  // Shards that have an owner stay: moving them is another change.
  const born = births && config.assignment.includes(0) ? placed(config, [...takers(config), group]).moves : []
  return {
    from: config.number,
    to: { ...made, cause: `join ${group.name}`, shardCount: config.shardCount },
    groups: [encodeGroup(group)],
    removedGroups: [],
    shards: born
      .filter((move) => move.from === undefined)
      .map(({ shard, to }) => ({ shard, group: must(uids.get(to), 'a shard goes to a group'), epoch: 1 })),
    pins: [],
    unpinned: [],
  }
}

function takers(config: Config): Group[] {
  return config.groups.filter((group) => group.state === 'active')
}

function ownerNames(config: Config): (string | undefined)[] {
  return Array.from({ length: config.shardCount }, (_, shard) => config.groupOf(shard)?.name)
}

function placed(config: Config, groups: readonly { name: string; weight: number }[]): Placement {
  const list = groups.map(({ name, weight }) => ({ name, weight }))
  return place({ shardCount: config.shardCount, groups: list, current: ownerNames(config), pins: config.pins })
}

function imbalanceOf(
  shardCount: number,
  groups: readonly { name: string; weight: number }[],
  owners: readonly (string | undefined)[],
): number {
  const counts = new Map<string, number>()
  for (const owner of owners) if (owner !== undefined) counts.set(owner, (counts.get(owner) ?? 0) + 1)
  return imbalance(
    shardCount,
    groups.map(({ name, weight }) => ({ weight, owned: counts.get(name) ?? 0 })),
  )
}

function noteOf(config: Config, added: readonly CheckedGroup[]): string {
  const counts = config.shardCounts()
  const empty = added.filter((group) => counts[config.groups.findIndex((one) => one.name === group.name)] === 0)
  if (empty.length === 0) return ''
  const names = empty.map((group) => group.name).join(', ')
  return `${names} ${empty.length === 1 ? 'owns' : 'own'} no shards: all of them have owners, and this version does not move shards`
}
