import { CorruptionError } from '../base/errors.ts'
import type { GroupStore, StoreIterator } from './group-store.ts'
import type { Pause } from './reads.ts'
import { encodeKey, endOfKind, GroupKeyKind, groupPrefix, groupStateKey, KeyKind, restOfKey } from './record.ts'
import { clientText } from './session.ts'
import { decodeShardRecord } from './shard-state.ts'
import { GroupSmallState, loadGroupState, loadShardState, ShardSmallState } from './small-state.ts'

/** Builds the small state from what the newest durable seal wrote. Reads no user's record, and asks `pause` behind each that it reads. CorruptionError on bytes that no seal wrote. */
export async function loadSmallState(store: GroupStore, pause: Pause): Promise<GroupSmallState> {
  const state = new GroupSmallState()
  await each(store.iterate({ lower: new Uint8Array([groupPrefix >>> 8, groupPrefix & 0xff]) }), pause, (key, value) => {
    if (key.length === groupStateKey.length && key[2] === GroupKeyKind.State) loadGroupState(state, value)
    else if (key[2] === GroupKeyKind.Migration && key.length === 5) {
      const shard = new ShardSmallState(((key[3] as number) << 8) | (key[4] as number))
      shard.record = decodeShardRecord(value)
      state.shards.set(shard.shard, shard)
    } else throw new RangeError(`unknown kind ${key[2]} of a group's record`)
  })
  for (const shard of state.shards.values()) await loadShard(store, shard, pause)
  return state
}

/** What a seal or an ingest wrote of one shard: all but its migration record. CorruptionError as above. */
export async function loadShard(store: GroupStore, shard: ShardSmallState, pause: Pause): Promise<void> {
  try {
    const small = await store.get(encodeKey(shard.shard, KeyKind.ShardState))
    if (small !== undefined) loadShardState(shard, small)
  } catch (error) {
    throw error instanceof RangeError ? new CorruptionError('group state', undefined, error.message) : error
  }
  const lower = encodeKey(shard.shard, KeyKind.Session)
  await each(store.iterate({ lower, upper: endOfKind(shard.shard, KeyKind.Session) }), pause, (key, value) => {
    shard.sessions.load(clientText(restOfKey(key)), value)
  })
}

/** Passes on each entry; what its bytes make `receive` throw is damage. */
async function each(iterator: StoreIterator, pause: Pause, receive: (key: Uint8Array, value: Uint8Array) => void): Promise<void> {
  try {
    for (;;) {
      const step = iterator.next()
      const isThere = step instanceof Promise ? await step : step
      if (isThere) receive(iterator.key, iterator.value)
      // Also behind an empty table: there may be thousands of them.
      const paused = pause()
      if (paused !== undefined) await paused
      if (!isThere) return
    }
  } catch (error) {
    if (error instanceof RangeError) throw new CorruptionError('group state', undefined, error.message)
    throw error
  } finally {
    iterator.close()
  }
}
