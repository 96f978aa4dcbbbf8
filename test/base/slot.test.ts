import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { crc16, isShardCount, SLOT_COUNT, shardOf, slotOf, slotsOfShard } from '../../base/slot.ts'

const bytes = (text: string) => new TextEncoder().encode(text)

describe('slots', () => {
  it('computes CRC16/XMODEM as the Redis Cluster specification does', () => {
    expect(crc16(bytes('123456789'))).toBe(0x31c3)
    expect(crc16(new Uint8Array(0))).toBe(0)
  })

  it.each([
    ['foo', 12182],
    ['bar', 5061],
    ['hello', 866],
    ['somekey', 11058],
    ['foo{hash_tag}', 2515],
    ['bar{hash_tag}', 2515],
  ])('puts %s into slot %i, as CLUSTER KEYSLOT answers', (key, slot) => {
    expect(slotOf(bytes(key))).toBe(slot)
  })

  it.each([
    ['{user1000}.following', 'user1000'],
    ['foo{{bar}}zap', '{bar'],
    ['foo{bar}{zap}', 'bar'],
  ])('hashes only the tag of %s', (key, hashed) => {
    expect(slotOf(bytes(key))).toBe(crc16(bytes(hashed)) % SLOT_COUNT)
  })

  it.each(['foo{}{bar}', 'foo{bar', 'foo}bar{', '}{'])('hashes all of %s, which has no tag', (key) => {
    expect(slotOf(bytes(key))).toBe(crc16(bytes(key)) % SLOT_COUNT)
  })

  it('agrees with a bit-by-bit CRC16 on any bytes', () => {
    const slowCrc = (input: Uint8Array) => {
      let crc = 0
      for (const byte of input) {
        for (let bit = 7; bit >= 0; bit--) {
          const carry = ((crc >>> 15) & 1) ^ ((byte >>> bit) & 1)
          crc = ((crc << 1) & 0xffff) ^ (carry ? 0x1021 : 0)
        }
      }
      return crc
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (input) => crc16(input) === slowCrc(input)))
  })
})

describe('shards', () => {
  it('are runs of slots that together are all slots', () => {
    for (const count of [16, 256, 16_384]) {
      for (let shard = 0; shard < count; shard++) {
        const { first, last } = slotsOfShard(shard, count)
        expect(first).toBe(shard === 0 ? 0 : slotsOfShard(shard - 1, count).last + 1)
        expect([shardOf(first, count), shardOf(last, count)]).toEqual([shard, shard])
      }
      expect(slotsOfShard(count - 1, count).last).toBe(SLOT_COUNT - 1)
    }
  })

  it('come in powers of two from 16 to 16384', () => {
    expect([16, 32, 256, 16_384].every(isShardCount)).toBe(true)
    expect([0, 1, 8, 17, 24, 32_768, 16.5, Number.NaN].some(isShardCount)).toBe(false)
  })
})
