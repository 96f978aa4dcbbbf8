/**
 * Key → slot → shard. Slots are those of Redis Cluster (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/, "Key
 * distribution model" and "Hash tags"), so a stock Redis Cluster client routes as we do.
 */
import { assert } from './assert.ts'

export const SLOT_COUNT = 16_384

const OPENING_BRACE = 0x7b
const CLOSING_BRACE = 0x7d

/** CRC16/XMODEM: polynomial 0x1021, initial value 0, not reflected. */
const TABLE = (() => {
  const table = new Uint16Array(256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte << 8
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1
    table[byte] = crc
  }
  return table
})()

/** CRC16/XMODEM of `bytes[start, end)`. */
export function crc16(bytes: Uint8Array, start = 0, end = bytes.length): number {
  let crc = 0
  for (let i = start; i < end; i++) crc = ((crc << 8) & 0xffff) ^ (TABLE[(crc >>> 8) ^ (bytes[i] as number)] as number)
  return crc
}

/**
 * The slot of a key, in [0, 16384). Where the key holds a '{' and behind it a '}' with at least one byte between the first '{' and the
 * first '}' after it, only the bytes between count: keys with the same tag share a slot.
 */
export function slotOf(key: Uint8Array): number {
  const open = key.indexOf(OPENING_BRACE)
  if (open >= 0) {
    const close = key.indexOf(CLOSING_BRACE, open + 1)
    if (close > open + 1) return crc16(key, open + 1, close) % SLOT_COUNT
  }
  return crc16(key) % SLOT_COUNT
}

/** A power of two from 16 to 16384. */
export function isShardCount(count: number): boolean {
  return Number.isInteger(count) && count >= 16 && count <= SLOT_COUNT && (count & (count - 1)) === 0
}

/** The shard of a slot, in [0, shardCount): a shard is one run of slots. */
export function shardOf(slot: number, shardCount: number): number {
  return Math.floor((slot * shardCount) / SLOT_COUNT)
}

/** The run of slots that is shard `shard`: from `first` to `last`, both included. */
export function slotsOfShard(shard: number, shardCount: number): { readonly first: number; readonly last: number } {
  assert(isShardCount(shardCount) && shard >= 0 && shard < shardCount, `no shard ${shard} of ${shardCount}`)
  const width = SLOT_COUNT / shardCount
  return { first: shard * width, last: (shard + 1) * width - 1 }
}
