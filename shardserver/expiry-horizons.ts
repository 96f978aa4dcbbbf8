import { compareBytes } from '../base/bytes.ts'
import type { Expiry, ExpiryHorizon } from '../lsm/index.ts'
import { encodeKey, endOfKind, KeyKind, kindOffset, recordExpiryOffset } from './record.ts'
import type { GroupSmallState } from './small-state.ts'

/** The shards that were served at one entry, with their times then. */
export interface ShardTimes {
  readonly state: GroupSmallState
  /** Ascending. */
  readonly shards: readonly { readonly shard: number; readonly epoch: number; readonly timeMs: number }[]
}

/**
 * Up to when a group's records have expired for good on this replica, for the compaction of its database: for each shard that is served, the shard's
 * time as of the newest state that is durable here.
 *
 *  - Not that of what is applied: after a crash the entries behind the durable state are applied again, at their own times, and find what lived then.
 *    A record that was dropped by a later time would be missing to them, and this replica would differ from the others for ever.
 *  - Replicas have different horizons. None of it shows: whoever reads a record, at whatever entry, does so at a time that no horizon of this replica has passed.
 *  - Only while the shard is served, under the same epoch: then its time goes on. One that comes in has no time before its files have; one that was
 *    given up and is born again begins with the group's, which may lie before that of its former life.
 */
export class ExpiryHorizons implements Expiry {
  readonly keyOffset = kindOffset
  readonly keyByte = KeyKind.Record
  readonly valueOffset = recordExpiryOffset
  #durable: ShardTimes | undefined

  /** The group's state is `state`, all of it durable. */
  begin(state: GroupSmallState): void {
    this.#durable = timesOf(state)
  }

  /** The group's state is about to be replaced: nothing holds for what comes in its place. What was taken before counts no more. */
  forget(): void {
    this.#durable = undefined
  }

  /** `times`, from `timesOf` in the turn in which a seal (or excise, or ingest) was begun, are those of the durable state: it has resolved. */
  becomeDurable(times: ShardTimes): void {
    if (this.#durable?.state === times.state) this.#durable = times
  }

  horizons({ lower, upper }: { readonly lower: Uint8Array; readonly upper: Uint8Array }): readonly ExpiryHorizon[] {
    const horizons: ExpiryHorizon[] = []
    if (this.#durable === undefined) return horizons
    const { state, shards } = this.#durable
    for (const { shard, epoch, timeMs } of shards) {
      const present = state.shards.get(shard)
      if (present === undefined || !present.isServing || present.epoch !== epoch) continue
      const records = { lower: encodeKey(shard, KeyKind.Record), upper: endOfKind(shard, KeyKind.Record) }
      if (compareBytes(records.upper, lower) <= 0) continue
      if (compareBytes(records.lower, upper) >= 0) break
      horizons.push({ ...records, moment: timeMs })
    }
    return horizons
  }
}

/** As of this turn. */
export function timesOf(state: GroupSmallState): ShardTimes {
  const served = [...state.shards.values()].filter((shard) => shard.isServing)
  const shards = served.map((shard) => ({ shard: shard.shard, epoch: shard.epoch, timeMs: state.timeOf(shard) }))
  return { state, shards: shards.sort((a, b) => a.shard - b.shard) }
}
