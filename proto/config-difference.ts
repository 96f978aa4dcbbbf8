import { Config, decodeGroup, decodePins, encodeGroup, type Group } from './config.ts'
import type { pb } from './messages.ts'

/**
 * What changed from one config to another, as a message: groups by uid, shards by number. For any two configs of one cluster
 * `applyDifference(from, difference(from, to))` is `to`.
 */
export type ConfigDifference = pb.v1.ConfigDifference.$Properties

export function difference(from: Config, to: Config): ConfigDifference {
  if (from.shardCount !== to.shardCount) throw new RangeError(`configs of ${from.shardCount} and ${to.shardCount} shards`)
  const shards: pb.v1.ShardChange.$Properties[] = []
  for (let shard = 0; shard < to.shardCount; shard++) {
    const group = to.groupOf(shard)?.uid ?? ''
    if (group !== (from.groupOf(shard)?.uid ?? '') || to.epochOf(shard) !== from.epochOf(shard)) {
      shards.push({ shard, group, epoch: to.epochOf(shard) })
    }
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
  const groups = new Map(config.groups.map((group) => [group.uid, group]))
  for (const uid of change.removedGroups ?? []) groups.delete(uid)
  for (const message of change.groups ?? []) groups.set(message.uid ?? '', decodeGroup(message))
  const pins = new Map(config.pins)
  for (const shard of change.unpinned ?? []) pins.delete(shard)
  for (const [shard, group] of decodePins(change.pins)) pins.set(shard, group)
  const changed = new Map((change.shards ?? []).map((shard) => [shard.shard ?? 0, shard]))
  return new Config({
    number: to.number ?? 0,
    atMs: to.atMs ?? 0,
    cause: to.cause ?? '',
    author: to.author ?? '',
    shardCount: config.shardCount,
    groups: [...groups.values()],
    owner: (shard) => {
      const uid = changed.has(shard) ? changed.get(shard)?.group : config.groupOf(shard)?.uid
      return uid === '' || uid === null ? undefined : uid
    },
    epoch: (shard) => (changed.has(shard) ? (changed.get(shard)?.epoch ?? 0) : config.epochOf(shard)),
    pins,
  })
}

function sameGroup(a: Group | undefined, b: Group): boolean {
  if (a === undefined || a.name !== b.name || a.weight !== b.weight || a.state !== b.state) return false
  return a.members.length === b.members.length && a.members.every((member, i) => sameMember(member, b.members[i]))
}

function sameMember(a: { node: string; replica: number }, b: { node: string; replica: number } | undefined): boolean {
  return b !== undefined && a.node === b.node && a.replica === b.replica
}
