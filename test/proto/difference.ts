import { type Config, encodeGroup, type Group, type Member } from '../../proto/config.ts'
import type { ConfigDifference } from '../../proto/config-difference.ts'
import type { pb } from '../../proto/messages.ts'

/** What differs between two configs of one cluster: for any two `applyDifference(from, difference(from, to))` is `to`. */
export function difference(from: Config, to: Config): ConfigDifference {
  if (from.shardCount !== to.shardCount) throw new RangeError(`configs of ${from.shardCount} and ${to.shardCount} shards`)
  const shards: pb.v1.ShardChange.$Properties[] = []
  for (let shard = 0; shard < to.shardCount; shard++) {
    if (to.groupOf(shard)?.uid === from.groupOf(shard)?.uid && to.epochOf(shard) === from.epochOf(shard)) continue
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

function sameGroup(a: Group | undefined, b: Group): boolean {
  if (a === b) return true
  if (a === undefined || a.name !== b.name || a.weight !== b.weight || a.state !== b.state) return false
  return a.members.length === b.members.length && a.members.every((member, i) => sameMember(member, b.members[i]))
}

function sameMember(a: Member, b: Member | undefined): boolean {
  return b !== undefined && a.node === b.node && a.replica === b.replica && a.state === b.state
}
