import { ByteReader, ByteWriter, readU64, writeU64 } from '../base/bytes.ts'
import { limits } from '../proto/limits.ts'
import { decodeStep, encodeStep, type MigrationStep, stepKinds } from './migration-entry.ts'

/**
 * An entry of a group's log:
 *
 *      0         1       2                  10
 *      ┌─────────┬───────┬──────────────────┬──────────────┐
 *      │ version │ kind  │ group time, ms,  │ body: by     │
 *      │ u8 = 1  │ u8    │ u64 little-endian│ kind         │
 *      └─────────┴───────┴──────────────────┴──────────────┘
 *      kind 1  write batch    body: an encoded ostraka.v1.WriteBatch, as the client sent it
 *      kind 2  birth          body: config number, count of shards, shards (varints)
 *      kind 3  time mark      body: none
 *      kind 4  rebirth        body: shard, epoch (varints)
 *      kinds 16 to 23: the steps of moving shards, `migration-entry.ts`
 *
 * Numbers, once given, keep their meaning. A version or kind that this program does not know stops the replica (`UnknownEntryError`): going on
 * without it would make this replica differ from those that do know it.
 */
export const entryVersion = 1
export const entryHeaderBytes = 10
/** So that a time and any time to live add up exactly. */
const timeMsMax = 2 ** 52

export const EntryCode = {
  Write: 1,
  Birth: 2,
  TimeMark: 3,
  Rebirth: 4,
  Import: 16,
  Export: 17,
  Ingest: 18,
  Replay: 19,
  Release: 20,
  Activate: 21,
  Refuse: 22,
  Outcome: 23,
} as const

const firstStepCode = EntryCode.Import

/** Thrown by `apply`: this replica stops, for good as long as it runs this version. */
export class UnknownEntryError extends Error {
  override readonly name = 'UnknownEntryError'
  readonly index: number

  constructor(index: number, what: string) {
    super(`log entry ${index}: ${what}; this node needs a newer version of ostraka`)
    this.index = index
  }
}

export type GroupEntry =
  | { readonly kind: 'write'; readonly timeMs: number; readonly body: Uint8Array }
  | { readonly kind: 'birth'; readonly timeMs: number; readonly configNumber: number; readonly shards: readonly number[] }
  | { readonly kind: 'time-mark'; readonly timeMs: number }
  | { readonly kind: 'rebirth'; readonly timeMs: number; readonly shard: number; readonly epoch: number }
  | (MigrationStep & { readonly timeMs: number })

/** `batch`: the client's bytes; they are copied. `timeMs`: the group's time, its fraction is cut off. */
export function encodeWrite(timeMs: number, batch: Uint8Array): Uint8Array {
  return withHeader(EntryCode.Write, timeMs, batch)
}

/** The shards' first epoch, in this group: each is made empty, unless the group has ever known it. */
export function encodeBirth(timeMs: number, configNumber: number, shards: readonly number[]): Uint8Array {
  const body = new ByteWriter(16 + 3 * shards.length)
  body.varint(configNumber)
  body.varint(shards.length)
  for (const shard of shards) body.varint(shard)
  return withHeader(EntryCode.Birth, timeMs, body.view())
}

/** Does nothing but carry the group's time into the log. */
export function encodeTimeMark(timeMs: number): Uint8Array {
  const bytes = new Uint8Array(entryHeaderBytes)
  putHeader(bytes, EntryCode.TimeMark, timeMs)
  return bytes
}

/** A birth above epoch 1: only ever by an order of the controllers that names shard, group and epoch. */
export function encodeRebirth(timeMs: number, shard: number, epoch: number): Uint8Array {
  const body = new ByteWriter(16)
  body.varint(shard)
  body.varint(epoch)
  return withHeader(EntryCode.Rebirth, timeMs, body.view())
}

/** A step of a migration. RangeError where its lists do not fit together. */
export function encodeMigration(timeMs: number, step: MigrationStep): Uint8Array {
  return withHeader(firstStepCode + stepKinds.indexOf(step.kind), timeMs, encodeStep(step))
}

function withHeader(code: number, timeMs: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(entryHeaderBytes + body.length)
  putHeader(bytes, code, timeMs)
  bytes.set(body, entryHeaderBytes)
  return bytes
}

function putHeader(bytes: Uint8Array, code: number, timeMs: number): void {
  bytes[0] = entryVersion
  bytes[1] = code
  writeU64(bytes, 2, Math.max(0, Math.floor(timeMs)))
}

/** `body` is a view. Throws UnknownEntryError on what this version cannot apply. */
export function decodeEntry(bytes: Uint8Array, index: number): GroupEntry {
  if (bytes.length < entryHeaderBytes) throw new UnknownEntryError(index, `${bytes.length} bytes are no entry`)
  if (bytes[0] !== entryVersion) throw new UnknownEntryError(index, `unknown version ${bytes[0]}`)
  const timeMs = readU64(bytes, 2)
  if (!(timeMs <= timeMsMax)) throw new UnknownEntryError(index, 'time out of range')
  switch (bytes[1]) {
    case EntryCode.Write:
      return { kind: 'write', timeMs, body: bytes.subarray(entryHeaderBytes) }
    case EntryCode.Birth:
      return decodeBirth(bytes, timeMs, index)
    case EntryCode.TimeMark:
      return { kind: 'time-mark', timeMs }
    case EntryCode.Rebirth:
      return { timeMs, ...whole(index, 'rebirth', () => decodeRebirth(new ByteReader(bytes, entryHeaderBytes))) }
  }
  const step = stepKinds[(bytes[1] as number) - firstStepCode]
  if (step === undefined) throw new UnknownEntryError(index, `unknown kind ${bytes[1]}`)
  return { timeMs, ...whole(index, step, () => decodeStep(step, new ByteReader(bytes, entryHeaderBytes))) }
}

/** What `decode` makes of a body, whatever it throws where that is malformed. */
function whole<T>(index: number, what: string, decode: () => T): T {
  try {
    return decode()
  } catch (error) {
    throw new UnknownEntryError(index, `malformed ${what}: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function decodeRebirth(reader: ByteReader): { kind: 'rebirth'; shard: number; epoch: number } {
  const shard = readShard(reader)
  const epoch = reader.varint()
  if (!reader.done) throw new RangeError('bytes behind the end')
  return { kind: 'rebirth', shard, epoch }
}

function decodeBirth(bytes: Uint8Array, timeMs: number, index: number): GroupEntry {
  try {
    const reader = new ByteReader(bytes, entryHeaderBytes)
    const configNumber = reader.varint()
    const count = reader.varint()
    const shards: number[] = []
    for (let i = 0; i < count; i++) shards.push(readShard(reader))
    if (!reader.done) throw new RangeError('bytes behind the last shard')
    return { kind: 'birth', timeMs, configNumber, shards }
  } catch (error) {
    if (error instanceof RangeError) throw new UnknownEntryError(index, `malformed birth: ${error.message}`)
    throw error
  }
}

function readShard(reader: ByteReader): number {
  const shard = reader.varint()
  if (shard >= limits.shardCountMax) throw new RangeError(`no shard ${shard}`)
  return shard
}
