import type { pb } from '../proto/messages.ts'
import { drawTable } from './table.ts'
import { byteText, rateText, rounded } from './units.ts'

type Shard = pb.v1.ShardSummary.$Properties

/** Those with most operations first, then those with most bytes. `group`: only of this one. */
export function busiest(shards: readonly Shard[], group: string | undefined): Shard[] {
  const operations = ({ readsPerSecond, writesPerSecond }: Shard) => (readsPerSecond ?? 0) + (writesPerSecond ?? 0)
  return shards
    .filter((shard) => group === undefined || shard.group === group)
    .sort((a, b) => operations(b) - operations(a) || (b.bytes ?? 0) - (a.bytes ?? 0) || (a.shard ?? 0) - (b.shard ?? 0))
}

export function shardJson({ shard, group, bytes, readsPerSecond, writesPerSecond, pinned, migration }: Shard): object {
  return {
    shard: shard ?? 0,
    group: group ?? '',
    bytes: bytes ?? 0,
    readsPerSecond: rounded(readsPerSecond),
    writesPerSecond: rounded(writesPerSecond),
    pinned: pinned ?? false,
    migration: migration || null,
  }
}

/** `of`: how many there are. */
export async function shardsText(shards: readonly Shard[], of: number): Promise<string> {
  const rows = shards.map(({ shard, group, bytes, readsPerSecond, writesPerSecond, pinned, migration }) => [
    String(shard ?? 0),
    group ?? '',
    byteText(bytes ?? 0),
    rateText(readsPerSecond ?? 0),
    rateText(writesPerSecond ?? 0),
    [...(pinned ? ['pinned'] : []), ...(migration ? [`moves (migration ${migration})`] : [])].join(', '),
  ])
  const table = await drawTable(['shard', 'group', 'bytes', 'reads/s', 'writes/s', ''], rows)
  return shards.length < of ? `${table}\n${shards.length} of ${of} shards` : table
}
