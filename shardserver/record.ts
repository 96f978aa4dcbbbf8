import { emptyBytes, readU64, writeU64 } from '../base/bytes.ts'
import { CorruptionError } from '../base/errors.ts'
import type { WriteBatch } from '../lsm/index.ts'
import { limits } from '../proto/limits.ts'

/**
 * How a group's state lies in its LSM. All of a shard is one key range:
 *
 *      0            2        3
 *      ┌────────────┬────────┬──────────────────────────────┐
 *      │ shard, u16 │ kind   │ rest: by kind                │
 *      │ big-endian │ u8     │                              │
 *      └────────────┴────────┴──────────────────────────────┘
 *      kind 1   the shard's small state         rest: none
 *      kind 2   a session                       rest: client id
 *      kind 16  a user's record                 rest: the user's key
 *      kind 32  delta (migration, reserved)     rest: index in the source's log, u64 big-endian
 *
 * What belongs to the group and to no shard lies under the prefix 0xffff (shards end at 16,383):
 *
 *      kind 1   the group's state               rest: none
 *      kind 2   a shard's migration record      rest: shard, u16 big-endian
 *
 * A user's record:
 *
 *      0        1                9                  17
 *      ┌────────┬────────────────┬──────────────────┬──────────────┐
 *      │ format │ expiry, ms of  │ revision of the  │ value        │
 *      │ u8 = 1 │ shard time, u64│ shard, u64       │              │
 *      └────────┴────────────────┴──────────────────┴──────────────┘
 *
 * Little-endian. Expiry 0: never. It has a fixed place so that the LSM's compaction may compare it without knowing more.
 */
export const keyPrefixBytes = 3
export const kindOffset = 2
export const recordHeaderBytes = 17
export const recordExpiryOffset = 1
const recordFormat = 1

export const KeyKind = { ShardState: 1, Session: 2, Record: 16, Delta: 32 } as const
export type KeyKind = (typeof KeyKind)[keyof typeof KeyKind]

export const groupPrefix = 0xffff
export const GroupKeyKind = { State: 1, Migration: 2 } as const

/** A record as commands and reads see it. `value` may be a view: copy what is kept. */
export interface RecordView {
  readonly value: Uint8Array
  /** Milliseconds of shard time; 0: never. */
  readonly expiry: number
  readonly revision: number
}

export function encodeKey(shard: number, kind: KeyKind, rest: Uint8Array = emptyBytes): Uint8Array {
  const key = new Uint8Array(keyPrefixBytes + rest.length)
  key[0] = shard >>> 8
  key[1] = shard & 0xff
  key[2] = kind
  key.set(rest, keyPrefixBytes)
  return key
}

export function recordKey(shard: number, userKey: Uint8Array): Uint8Array {
  return encodeKey(shard, KeyKind.Record, userKey)
}

/** The least key above all of `kind` in the shard. */
export function endOfKind(shard: number, kind: KeyKind): Uint8Array {
  return new Uint8Array([shard >>> 8, shard & 0xff, kind + 1])
}

/** All of a shard. */
export function shardRange(shard: number): { readonly lower: Uint8Array; readonly upper: Uint8Array } {
  return { lower: new Uint8Array([shard >>> 8, shard & 0xff]), upper: new Uint8Array([(shard + 1) >>> 8, (shard + 1) & 0xff]) }
}

export const groupStateKey: Uint8Array = new Uint8Array([groupPrefix >>> 8, groupPrefix & 0xff, GroupKeyKind.State])

export function migrationKey(shard: number): Uint8Array {
  return new Uint8Array([groupPrefix >>> 8, groupPrefix & 0xff, GroupKeyKind.Migration, shard >>> 8, shard & 0xff])
}

export function shardOfKey(key: Uint8Array): number {
  return ((key[0] as number) << 8) | (key[1] as number)
}

/** What follows the prefix: a view. */
export function restOfKey(key: Uint8Array): Uint8Array {
  return key.subarray(keyPrefixBytes)
}

export function encodeRecord(value: Uint8Array, expiry: number, revision: number): Uint8Array {
  const bytes = new Uint8Array(recordHeaderBytes + value.length)
  bytes[0] = recordFormat
  writeU64(bytes, 1, expiry)
  writeU64(bytes, 9, revision)
  bytes.set(value, recordHeaderBytes)
  return bytes
}

/** `value` is a view of `bytes`. CorruptionError on what is no record. */
export function decodeRecord(bytes: Uint8Array): RecordView {
  const expiry = recordExpiry(bytes)
  const revision = readU64(bytes, 9)
  if (Number.isNaN(revision)) throw new CorruptionError('record', undefined, 'revision out of range')
  return { value: bytes.subarray(recordHeaderBytes), expiry, revision }
}

/** Only the expiry, milliseconds of shard time; 0: never. */
export function recordExpiry(bytes: Uint8Array): number {
  if (bytes.length < recordHeaderBytes || bytes[0] !== recordFormat) throw new CorruptionError('record', undefined, 'unknown record format')
  const expiry = readU64(bytes, 1)
  if (Number.isNaN(expiry)) throw new CorruptionError('record', undefined, 'expiry out of range')
  return expiry
}

/** An expired record counts as absent; `timeMs` is the shard's. */
export function isExpired(expiry: number, timeMs: number): boolean {
  return expiry !== 0 && expiry <= timeMs
}

/** Values up to here are encoded in a buffer that is used again and again. */
const scratchValueBytes = 64 * 1024

/** Puts users' records into a batch, which copies them, without a new buffer for each key and value. */
export class RecordWriter {
  readonly #key = new Uint8Array(keyPrefixBytes + limits.keyBytesMax)
  readonly #record = new Uint8Array(recordHeaderBytes + scratchValueBytes)

  put(batch: WriteBatch, shard: number, userKey: Uint8Array, value: Uint8Array, expiry: number, revision: number): void {
    batch.put(
      this.#keyOf(shard, userKey),
      value.length > scratchValueBytes ? encodeRecord(value, expiry, revision) : this.#encode(value, expiry, revision),
    )
  }

  delete(batch: WriteBatch, shard: number, userKey: Uint8Array): void {
    batch.delete(this.#keyOf(shard, userKey))
  }

  #keyOf(shard: number, userKey: Uint8Array): Uint8Array {
    const key = this.#key
    key[0] = shard >>> 8
    key[1] = shard & 0xff
    key[2] = KeyKind.Record
    key.set(userKey, keyPrefixBytes)
    return key.subarray(0, keyPrefixBytes + userKey.length)
  }

  #encode(value: Uint8Array, expiry: number, revision: number): Uint8Array {
    const record = this.#record
    record[0] = recordFormat
    writeU64(record, 1, expiry)
    writeU64(record, 9, revision)
    record.set(value, recordHeaderBytes)
    return record.subarray(0, recordHeaderBytes + value.length)
  }
}
