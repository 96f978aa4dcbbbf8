import { ByteReader, ByteWriter, readU64, writeU64 } from '../base/bytes.ts'
import { crc32 } from '../base/checksum.ts'
import { CorruptionError } from '../base/errors.ts'
import type { KeyRange } from '../lsm/index.ts'
import { encoded } from '../proto/encode.ts'
import { pb } from '../proto/messages.ts'
import { encodeKey, endOfKind, KeyKind, restOfKey } from './record.ts'

/**
 * What the entries of the source's log did in a shard since its cut. Each is kept in the shard's range under its index:
 *
 *      [format u8 = 1][cost][count][checksum][ostraka.v1.DeltaRecord]      numbers as varints
 *
 * cost: about what replaying it writes and reads, bytes; count and checksum: of all records since the cut, this one included.
 */
const deltaFormat = 1
/** A command that compares a whole value may bring 4 MiB into memory without writing any. */
export const comparedValueCost = 256 * 1024

/** Numbers of `WriteBatch.commands` and `Command.batch`. */
const commandsField = 2
const batchField = 11
/** An operation takes as much of the turn that replays it as the writing of so many bytes. */
export const operationCost = 32 * 1024

export interface StoredDelta {
  readonly cost: number
  readonly count: number
  readonly checksum: number
  readonly record: pb.v1.DeltaRecord.$Properties
}

/** What a record counts where bounds and rates of deltas are in bytes. `writes`: length of its own. */
export function deltaBytes(writes: number): number {
  return 32 + writes
}

/** The same of all that an answer brings. */
export function bytesOfDeltas(shards: readonly pb.v1.ShardDelta.$Properties[]): number {
  let bytes = 0
  for (const { records } of shards) for (const { writes } of records ?? []) bytes += deltaBytes(writes?.length ?? 0)
  return bytes
}

/**
 * The operations of a record's writes, 1 at the least: a command, or each check and write of one that is a batch. Counted in the encoding, since a source that
 * reads its delta may pass over thousands. What is no write batch counts as far as it is one.
 */
export function operationsOf(writes: Uint8Array): number {
  let operations = 0
  eachPart(writes, commandsField, (command) => {
    let parts = 0
    eachPart(command, batchField, (batch) => {
      eachPart(batch, undefined, () => parts++)
    })
    operations += Math.max(1, parts)
  })
  return Math.max(1, operations)
}

/** The fields of a message that have a length: those of that number, or all. */
function eachPart(bytes: Uint8Array, field: number | undefined, receive: (part: Uint8Array) => void): void {
  const reader = new ByteReader(bytes)
  try {
    while (!reader.done) {
      const tag = reader.varint()
      const wire = tag % 8
      if (wire === 0) reader.varint()
      else if (wire === 2) {
        const part = reader.bytes()
        if (field === undefined || field === (tag - wire) / 8) receive(part)
      } else reader.raw(wire === 1 ? 8 : 4)
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
  }
}

/** The checksum with one more record: crc32 over [index u64][time u64][writes], little-endian, continuing the last. */
export function chainDelta(checksum: number, record: pb.v1.DeltaRecord.$Properties): number {
  const head = new Uint8Array(16)
  writeU64(head, 0, record.index ?? 0)
  writeU64(head, 8, record.timeMs ?? 0)
  const sum = crc32(head, checksum)
  return record.writes ? crc32(record.writes, sum) : sum
}

export function deltaKey(shard: number, index: number): Uint8Array {
  const rest = new Uint8Array(8)
  writeU64(rest, 0, index)
  return encodeKey(shard, KeyKind.Delta, rest.reverse())
}

/** The index in the source's log. */
export function indexOfDelta(key: Uint8Array): number {
  return readU64(Uint8Array.from(restOfKey(key)).reverse(), 0)
}

/** All of a shard's delta. */
export function deltaRange(shard: number): { readonly lower: Uint8Array; readonly upper: Uint8Array } & KeyRange {
  return { lower: encodeKey(shard, KeyKind.Delta), upper: endOfKind(shard, KeyKind.Delta) }
}

export function encodeDelta(delta: StoredDelta): Uint8Array {
  const record = encoded(pb.v1.DeltaRecord, delta.record)
  const writer = new ByteWriter(24 + record.length)
  writer.u8(deltaFormat)
  writer.varint(delta.cost)
  writer.varint(delta.count)
  writer.varint(delta.checksum)
  writer.raw(record)
  return writer.finish()
}

/** A copy. CorruptionError on what is none. */
export function decodeDelta(bytes: Uint8Array): StoredDelta {
  try {
    const reader = new ByteReader(bytes)
    const format = reader.u8()
    if (format !== deltaFormat) throw new RangeError(`unknown format ${format}`)
    const cost = reader.varint()
    const count = reader.varint()
    const checksum = reader.varint()
    return { cost, count, checksum, record: pb.v1.DeltaRecord.decode(Uint8Array.from(bytes.subarray(reader.offset))) }
  } catch (error) {
    throw new CorruptionError('delta', undefined, error instanceof Error ? error.message : String(error))
  }
}

/** Whether `delta` goes on from (count, checksum) to its own without a gap, its records rising within (after, upTo]. */
export function continues(
  delta: pb.v1.ShardDelta.$Properties,
  from: { readonly count: number; readonly checksum: number },
  after: number,
  upTo: number,
): boolean {
  const records = delta.records ?? []
  let { checksum } = from
  let last = after
  for (const record of records) {
    const index = record.index ?? 0
    if (index <= last || index > upTo) return false
    last = index
    checksum = chainDelta(checksum, record)
  }
  return (delta.count ?? 0) === from.count + records.length && (delta.checksum ?? 0) === checksum
}
