import { ByteReader, ByteWriter } from '../base/bytes.ts'
import type { WriteBatch } from '../lsm/index.ts'
import { encodeKey, groupStateKey, KeyKind, migrationKey } from './record.ts'
import { clientBytes, SessionTable } from './session.ts'
import { encodeShardRecord, type ShardEvent, type ShardRecord, serves, type Transition, transition, unbornShard } from './shard-state.ts'

/**
 * What a group keeps in memory: its time, the config number that it has seen, and of each shard that it ever knew the state, epoch,
 * revision, time and sessions. It is written into the memtable only when that is sealed (`writeDirty`), so a put is one record in the LSM.
 */
export class ShardSmallState {
  readonly shard: number
  /** The migration record: belongs to the group, outlives the shard's range. */
  record: ShardRecord = unbornShard
  /** Of the newest write. Only rises. */
  revision = 0
  /** The shard's time is the group's plus this, ms. */
  timeOffsetMs = 0
  sessions = new SessionTable()

  constructor(shard: number) {
    this.shard = shard
  }

  /** Raised by each change of owner; 1 at birth. */
  get epoch(): number {
    return this.record.epoch
  }

  get isServing(): boolean {
    return serves(this.record.state)
  }
}

export class GroupSmallState {
  /** By shard; only those that the group ever knew. */
  readonly shards = new Map<number, ShardSmallState>()
  /** Largest time that an entry carried, ms. Only rises. */
  timeMs = 0
  /** Newest config number that an entry carried. Only rises. */
  configNumber = 0
  readonly #dirty = new Set<ShardSmallState>()

  timeOf(shard: ShardSmallState): number {
    return this.timeMs + shard.timeOffsetMs
  }

  timeTo(timeMs: number): void {
    if (timeMs > this.timeMs) this.timeMs = timeMs
  }

  configTo(configNumber: number): void {
    if (configNumber > this.configNumber) this.configNumber = configNumber
  }

  touch(shard: ShardSmallState): void {
    this.#dirty.add(shard)
  }

  /** Moves a shard by an entry, or says why not. What the effect asks of the range is the caller's. */
  move(shard: number, event: ShardEvent): Transition {
    const present = this.shards.get(shard)
    const result = transition(present?.record ?? unbornShard, event)
    if (result.kind === 'refused') return result
    const state = present ?? new ShardSmallState(shard)
    this.shards.set(shard, state)
    state.record = result.next
    this.touch(state)
    return result
  }

  /** Puts into `batch` all that differs from what was written last. */
  writeDirty(batch: WriteBatch): void {
    batch.put(groupStateKey, encodeGroupState(this))
    for (const state of this.#dirty) {
      batch.put(migrationKey(state.shard), encodeShardRecord(state.record))
      batch.put(encodeKey(state.shard, KeyKind.ShardState), encodeShardState(state))
      state.sessions.takeDirty((client, bytes) => {
        const key = encodeKey(state.shard, KeyKind.Session, clientBytes(client))
        if (bytes === undefined) batch.delete(key)
        else batch.put(key, bytes)
      })
    }
    this.#dirty.clear()
  }
}

const groupStateFormat = 1
const shardStateFormat = 1

/** [format u8 = 1][time ms][config number], numbers as varints. */
function encodeGroupState(state: GroupSmallState): Uint8Array {
  const writer = new ByteWriter(24)
  writer.u8(groupStateFormat)
  writer.varint(state.timeMs)
  writer.varint(state.configNumber)
  return writer.finish()
}

/** RangeError on what is no group state. */
export function loadGroupState(state: GroupSmallState, bytes: Uint8Array): void {
  const reader = new ByteReader(bytes)
  const format = reader.u8()
  if (format !== groupStateFormat) throw new RangeError(`unknown format ${format} of a group's state`)
  state.timeMs = reader.varint()
  state.configNumber = reader.varint()
}

/** [format u8 = 1][epoch][revision][time offset ms, zigzag][swept at ms], numbers as varints. */
function encodeShardState(state: ShardSmallState): Uint8Array {
  const writer = new ByteWriter(32)
  writer.u8(shardStateFormat)
  writer.varint(state.epoch)
  writer.varint(state.revision)
  writer.varint(state.timeOffsetMs >= 0 ? 2 * state.timeOffsetMs : -2 * state.timeOffsetMs - 1)
  writer.varint(state.sessions.sweptAtMs)
  return writer.finish()
}

/** RangeError on what is no shard's state. Sessions are loaded after it. */
export function loadShardState(state: ShardSmallState, bytes: Uint8Array): void {
  const reader = new ByteReader(bytes)
  const format = reader.u8()
  if (format !== shardStateFormat) throw new RangeError(`unknown format ${format} of a shard's state`)
  const epoch = reader.varint()
  // Version 0.1 kept it here alone.
  if (state.record.epoch === 0) state.record = { ...state.record, epoch }
  state.revision = reader.varint()
  const zigzag = reader.varint()
  state.timeOffsetMs = zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2
  state.sessions = new SessionTable(reader.varint())
}
