import { createHash } from 'node:crypto'
import { writeU32 } from '../base/bytes.ts'
import type { GroupStore, StoreSnapshot } from './group-store.ts'
import type { Pause } from './reads.ts'
import { groupPrefix, groupStateKey, isExpired, KeyKind, recordExpiry, shardOfKey } from './record.ts'

/**
 * The digest by which replicas are compared: SHA-256, the first 16 bytes in hexadecimal, over [key length u32][value length u32][key][value]
 * of everything in the store as of `snapshot`, in key order: the records with revision and expiry, the shards' states, their sessions. Left
 * out: records that the shard's time has passed (`timeOf`, taken in the turn of the snapshot), and the group's own record, whose time says
 * nothing about data.
 */
export async function hashSnapshot(
  store: GroupStore,
  snapshot: StoreSnapshot,
  timeOf: ReadonlyMap<number, number>,
  pause: Pause,
): Promise<string> {
  const hash = createHash('sha256')
  const iterator = store.iterate({ snapshot })
  const lengths = new Uint8Array(8)
  try {
    for (;;) {
      const step = iterator.next()
      if (!(step instanceof Promise ? await step : step)) break
      const { key, value } = iterator
      if (!isLeftOut(key, value, timeOf)) {
        writeU32(lengths, 0, key.length)
        writeU32(lengths, 4, value.length)
        hash.update(lengths).update(key).update(value)
      }
      const paused = pause()
      if (paused !== undefined) await paused
    }
  } finally {
    iterator.close()
    snapshot.release()
  }
  return hash.digest('hex').slice(0, 32)
}

function isLeftOut(key: Uint8Array, value: Uint8Array, timeOf: ReadonlyMap<number, number>): boolean {
  const shard = shardOfKey(key)
  if (shard === groupPrefix) return key.length === groupStateKey.length && key[2] === groupStateKey[2]
  return key[2] === KeyKind.Record && isExpired(recordExpiry(value), timeOf.get(shard) ?? 0)
}
