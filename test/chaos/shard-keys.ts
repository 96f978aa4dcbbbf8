import { utf8 } from '../../base/bytes.ts'
import { shardOf, slotOf } from '../../base/slot.ts'

/** A key for each shard, in their order. */
export function keysOfShards(shardCount: number): string[] {
  const keys: string[] = []
  for (let i = 0, found = 0; found < shardCount; i++) {
    const key = `of-shard-${i}`
    const shard = shardOf(slotOf(utf8(key)), shardCount)
    if (keys[shard] !== undefined) continue
    keys[shard] = key
    found++
  }
  return keys
}
