import { must } from '../base/assert.ts'
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import type { WriteBatch } from '../lsm/index.ts'
import { encodeKey, groupStateKey, KeyKind, migrationKey } from './record.ts'
import { clientBytes, SessionTable } from './session.ts'
import type { LocalMigration } from './shard-migrations.ts'
import {
  encodeShardRecord,
  type ShardEvent,
  type ShardRecord,
  type ShardStateName,
  serves,
  type Transition,
  transition,
  unbornShard,
} from './shard-state.ts'
import { decodeShardState, encodeShardState } from './shard-state-bytes.ts'

/**
 * What a group keeps in memory: its time, the config number that it has seen, and of each shard that it ever knew the state, epoch,
 * revision, time and sessions. It is written into the memtable only when that is sealed, and in slices right before (`writeSome`, `writeDirty`), so a put is one record in the LSM.
 */
export class ShardSmallState {
  readonly shard: number
  /** The migration record: belongs to the group, outlives the shard's range. */
  record: ShardRecord = unbornShard
  /** Of the newest write. Only rises. */
  revision = 0
  /** The shard's time is the group's plus this, ms; where it stands still (`timeStands`) it is this. */
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

  /** As at birth, but for its time: it was never written to, so its range holds no record and no session. Follows from the entries, on every replica alike. */
  get isUntouched(): boolean {
    return this.revision === 0 && this.sessions.size === 0 && this.sessions.sweptAtMs === 0
  }
}

export class GroupSmallState {
  /** By shard; only those that the group ever knew. */
  readonly shards = new Map<number, ShardSmallState>()
  /** Largest time that an entry carried, ms. Only rises. */
  timeMs = 0
  /** Newest config number that an entry carried. Only rises. */
  configNumber = 0
  /** Only ever set by the deliberate break of that name: a released shard is read. */
  servesReleased = false
  readonly #dirty = new Set<ShardSmallState>()
  /** Until a shard's record becomes another one: what asks looks often, and there may be thousands of shards. */
  #migrations: readonly LocalMigration[] | undefined

  /** Those that are moving here, by id. */
  migrations(): readonly LocalMigration[] {
    this.#migrations ??= this.#findMigrations()
    return this.#migrations
  }

  #findMigrations(): readonly LocalMigration[] {
    const found = new Map<number, LocalMigration & { shards: number[] }>()
    const moving = [...this.shards.values()].filter(({ record }) => movingState(record.state) !== undefined)
    for (const { shard, record } of moving.sort((a, b) => a.shard - b.shard)) {
      const { newestId: id, attempt, ingested, cursor, cut, releasedAt, digest } = record
      const state = movingState(record.state)
      if (state === undefined) continue
      const known = found.get(id)
      if (known === undefined) found.set(id, { id, attempt, state, shards: [shard], ingested, cursor, cut, releasedAt, digest })
      else known.shards.push(shard)
    }
    return [...found.values()].sort((a, b) => a.id - b.id)
  }

  /** Reads of the shard are served. */
  isReadable(shard: ShardSmallState): boolean {
    return shard.isServing || (this.servesReleased && shard.record.state === 'released')
  }

  /** Continuous over every change of the shard's state; never goes back while the group holds the shard. */
  timeOf(shard: ShardSmallState): number {
    return timeStands(shard.record.state) ? shard.timeOffsetMs : this.timeMs + shard.timeOffsetMs
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
    this.become(shard, result.next)
    return result
  }

  /** Gives a shard its next record. An absent one keeps nothing else. */
  become(number: number, next: ShardRecord): ShardSmallState {
    let shard = this.shards.get(number)
    if (shard === undefined) {
      shard = new ShardSmallState(number)
      this.shards.set(number, shard)
    }
    const timeMs = this.timeOf(shard)
    shard.record = next
    this.#migrations = undefined
    if (next.state === 'absent') {
      shard.revision = 0
      shard.timeOffsetMs = 0
      shard.sessions = new SessionTable()
    } else shard.timeOffsetMs = timeStands(next.state) ? timeMs : timeMs - this.timeMs
    this.touch(shard)
    return shard
  }

  /** A shard that is being filled becomes what the source's was at a cut of nothing. Its time begins at 0: what is replayed, and the activation, bring the source's. */
  makeUntouched(number: number): void {
    const shard = must(this.shards.get(number), 'a shard that is being filled')
    shard.revision = 0
    shard.timeOffsetMs = 0
    shard.sessions = new SessionTable()
    this.touch(shard)
  }

  /** Puts into `batch` all that differs from what was written last. */
  writeDirty(batch: WriteBatch): void {
    batch.put(groupStateKey, encodeGroupState(this))
    this.writeSome(batch, never)
  }

  /**
   * Puts into `batch` some of that, the group's own state left out, until `isOver`, which is asked behind each session and each shard. True: nothing of it is left. Written
   * so before a seal, which writes again what has changed since.
   */
  writeSome(batch: WriteBatch, isOver: () => boolean): boolean {
    for (const shard of this.#dirty) {
      if (shard.record.state !== 'absent' && !writeSessions(batch, shard, isOver)) return false
      this.#dirty.delete(shard)
      this.#writeShard(batch, shard)
      if (isOver()) break
    }
    return this.#dirty.size === 0
  }

  #writeShard(batch: WriteBatch, state: ShardSmallState): void {
    batch.put(migrationKey(state.shard), encodeShardRecord(state.record))
    if (state.record.state === 'absent') return
    batch.put(encodeKey(state.shard, KeyKind.ShardState), shardStateBytes(state, state.epoch, state.timeOffsetMs))
  }
}

function never(): boolean {
  return false
}

/** False: more is to come. */
function writeSessions(batch: WriteBatch, { shard, sessions }: ShardSmallState, isOver: () => boolean): boolean {
  return sessions.takeDirty((client, bytes) => {
    const key = encodeKey(shard, KeyKind.Session, clientBytes(client))
    if (bytes === undefined) batch.delete(key)
    else batch.put(key, bytes)
  }, isOver)
}

function movingState(state: ShardStateName): LocalMigration['state'] | undefined {
  return state === 'exporting' || state === 'released' || state === 'importing' || state === 'refused' ? state : undefined
}

/**
 * The shard's time does not go on with the group's: while it is filled it is that of the last command that was replayed, and once released
 * that of the release.
 */
function timeStands(state: ShardStateName): boolean {
  return state === 'released' || state === 'importing' || state === 'refused'
}

const groupStateFormat = 1

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

/** A shard's state as an export holds it: with the shard's own time, as an importing shard keeps it, and no epoch. */
export function exportedShardState(state: ShardSmallState, timeMs: number): Uint8Array {
  return shardStateBytes(state, unbornShard.epoch, timeMs)
}

function shardStateBytes({ revision, sessions }: ShardSmallState, epoch: number, timeOffsetMs: number): Uint8Array {
  return encodeShardState({ epoch, revision, timeOffsetMs, sweptAtMs: sessions.sweptAtMs })
}

/** RangeError on what is no shard's state. Sessions are loaded after it. */
export function loadShardState(state: ShardSmallState, bytes: Uint8Array): void {
  const { epoch, revision, timeOffsetMs, sweptAtMs } = decodeShardState(bytes)
  // Version 0.1 kept it here alone.
  if (state.record.epoch === 0) state.record = { ...state.record, epoch }
  state.revision = revision
  state.timeOffsetMs = timeOffsetMs
  state.sessions = new SessionTable(sweptAtMs)
}
