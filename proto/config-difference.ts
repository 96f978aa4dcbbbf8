import { Config, checkedEpoch, decodeGroup, decodePins, encodeGroup, type Group, type Member, sortedGroups } from './config.ts'
import type { pb } from './messages.ts'

/**
 * What changed from one config to another, as a message: groups by uid, shards by number. For any two configs of one cluster
 * `applyDifference(from, difference(from, to))` is `to`.
 */
export type ConfigDifference = pb.v1.ConfigDifference.$Properties

export function difference(from: Config, to: Config): ConfigDifference {
  if (from.shardCount !== to.shardCount) throw new RangeError(`configs of ${from.shardCount} and ${to.shardCount} shards`)
  const positions = positionsIn(from.groups, to.groups)
  const shards: pb.v1.ShardChange.$Properties[] = []
  for (let shard = 0; shard < to.shardCount; shard++) {
    if (to.assignment[shard] === positions[from.assignment[shard] ?? 0] && to.epochs[shard] === from.epochs[shard]) continue
    shards.push({ shard, group: to.groupOf(shard)?.uid ?? '', epoch: to.epochOf(shard) })
  }
  return {
    from: from.number,
    to: { number: to.number, atMs: to.atMs, cause: to.cause, author: to.author, shardCount: to.shardCount },
    groups: to.groups.filter((group) => !sameGroup(from.groupByUid(group.uid), group)).map(encodeGroup),
    removedGroups: from.groups.filter((group) => to.groupByUid(group.uid) === undefined).map((group) => group.uid),
    shards,
    pins: [...to.pins]
      .filter(([shard, group]) => from.pins.get(shard) !== group)
      .map(([shard, group]) => ({ shard, group }))
      .sort((a, b) => a.shard - b.shard),
    unpinned: [...from.pins.keys()].filter((shard) => !to.pins.has(shard)).sort((a, b) => a - b),
  }
}

/** The config that results. Throws RangeError where the difference does not build on `config` or does not fit it. */
export function applyDifference(config: Config, change: ConfigDifference): Config {
  const to = change.to ?? {}
  if (change.from !== config.number) throw new RangeError(`difference from config ${change.from} laid over ${config.number}`)
  if (to.shardCount !== config.shardCount) throw new RangeError(`difference of ${to.shardCount} shards laid over ${config.shardCount}`)
  const changed = (change.groups ?? []).map(decodeGroup)
  const gone = new Set([...(change.removedGroups ?? []), ...changed.map((group) => group.uid)])
  const groups = sortedGroups([...config.groups.filter((group) => !gone.has(group.uid)), ...changed])
  const pins = new Map(config.pins)
  for (const shard of change.unpinned ?? []) pins.delete(shard)
  for (const [shard, group] of decodePins(change.pins)) pins.set(shard, group)
  return new Config({
    number: to.number ?? 0,
    atMs: to.atMs ?? 0,
    cause: to.cause ?? '',
    author: to.author ?? '',
    shardCount: config.shardCount,
    groups,
    pins,
    ...changedShards(config, groups, change.shards ?? []),
  })
}

function changedShards(
  config: Config,
  groups: readonly Group[],
  changes: readonly pb.v1.ShardChange.$Properties[],
): { assignment: Uint16Array; epochs: Float64Array } {
  const moved = positionsIn(config.groups, groups)
  const { shardCount } = config
  const assignment = new Uint16Array(shardCount)
  for (let shard = 0; shard < shardCount; shard++) assignment[shard] = moved[config.assignment[shard] ?? 0] ?? absent
  const positions = new Map(groups.map((group, at) => [group.uid, at + 1]))
  const epochs = changes.length === 0 ? config.epochs : config.epochs.slice()
  for (const { shard: number, group, epoch } of changes) {
    const shard = number ?? 0
    const position = group ? positions.get(group) : 0
    if (position === undefined || shard >= shardCount) throw new RangeError(`no config: shard ${shard} goes to ${group}`)
    assignment[shard] = position
    epochs[shard] = checkedEpoch(shard, epoch ?? 0, position !== 0)
  }
  const orphan = assignment.indexOf(absent)
  if (orphan >= 0) throw new RangeError(`no config: shard ${orphan} was left to a group that is no more`)
  return { assignment, epochs }
}

/** No position: a group that is no more. Above every position that a config has. */
const absent = 65_535

/** Position plus 1 among `from` → position plus 1 among `to`, both sorted by name. */
function positionsIn(from: readonly Group[], to: readonly Group[]): Uint16Array {
  const positions = new Uint16Array(from.length + 1)
  for (let at = 0, next = 0; at < from.length; at++) {
    const group = from[at]
    while (group !== undefined && (to[next]?.name ?? group.name) < group.name) next++
    positions[at + 1] = to[next]?.uid === group?.uid ? next + 1 : absent
  }
  return positions
}

function sameGroup(a: Group | undefined, b: Group): boolean {
  if (a === b) return true
  if (a === undefined || a.name !== b.name || a.weight !== b.weight || a.state !== b.state) return false
  return a.members.length === b.members.length && a.members.every((member, i) => sameMember(member, b.members[i]))
}

function sameMember(a: Member, b: Member | undefined): boolean {
  return b !== undefined && a.node === b.node && a.replica === b.replica && a.state === b.state
}
