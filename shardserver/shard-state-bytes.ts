import { ByteReader, ByteWriter } from '../base/bytes.ts'

/** What is written of a shard's small state beside its sessions. */
export interface ShardStateFields {
  readonly epoch: number
  readonly revision: number
  /** See `ShardSmallState`; in an export the shard's own time. */
  readonly timeOffsetMs: number
  readonly sweptAtMs: number
}

const shardStateFormat = 1

/** [format u8 = 1][epoch][revision][time offset ms, zigzag][swept at ms], numbers as varints. */
export function encodeShardState({ epoch, revision, timeOffsetMs, sweptAtMs }: ShardStateFields): Uint8Array {
  const writer = new ByteWriter(32)
  writer.u8(shardStateFormat)
  writer.varint(epoch)
  writer.varint(revision)
  writer.varint(timeOffsetMs >= 0 ? 2 * timeOffsetMs : -2 * timeOffsetMs - 1)
  writer.varint(sweptAtMs)
  return writer.finish()
}

/** RangeError on what is no shard's state. */
export function decodeShardState(bytes: Uint8Array): ShardStateFields {
  const reader = new ByteReader(bytes)
  const format = reader.u8()
  if (format !== shardStateFormat) throw new RangeError(`unknown format ${format} of a shard's state`)
  const epoch = reader.varint()
  const revision = reader.varint()
  const zigzag = reader.varint()
  const timeOffsetMs = zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2
  return { epoch, revision, timeOffsetMs, sweptAtMs: reader.varint() }
}
