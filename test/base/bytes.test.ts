import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  ByteReader,
  ByteWriter,
  compareBytes,
  concatBytes,
  equalBytes,
  fromHex,
  keyAfter,
  prefixEnd,
  readU32,
  readU64,
  toHex,
  varintLength,
  writeU32,
  writeU64,
} from '../../base/bytes.ts'
import { crc32 } from '../../base/checksum.ts'

const bytes = fc.uint8Array({ maxLength: 12 })

describe('bytes', () => {
  it('compare as Buffer.compare does', () => {
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        expect(Math.sign(compareBytes(a, b))).toBe(Buffer.compare(a, b))
        expect(equalBytes(a, b)).toBe(Buffer.compare(a, b) === 0)
      }),
    )
  })

  it('have a least key above them and an end of their prefix', () => {
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        expect(compareBytes(b, a) > 0).toBe(compareBytes(b, keyAfter(a)) >= 0)
        const end = prefixEnd(a)
        const begins = equalBytes(b.slice(0, a.length), a)
        expect(compareBytes(b, a) >= 0 && (end === undefined || compareBytes(b, end) < 0)).toBe(begins)
      }),
    )
    expect(prefixEnd(Uint8Array.of(1, 255))).toEqual(Uint8Array.of(2))
    expect(prefixEnd(Uint8Array.of(255))).toBeUndefined()
  })

  it('carry numbers', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.nat(0xffffffff), bytes, (large, small, raw) => {
        const writer = new ByteWriter(1)
        writer.u8(small & 255)
        writer.varint(large)
        writer.u32(small)
        writer.u64(large)
        writer.bytes(raw)
        const reader = new ByteReader(writer.finish())
        expect([reader.u8(), reader.varint(), reader.u32(), reader.u64(), [...reader.bytes()]]).toEqual([
          small & 255,
          large,
          small,
          large,
          [...raw],
        ])
        expect(reader.done).toBe(true)
        expect(() => reader.u8()).toThrow(RangeError)
        expect(varintLength(large)).toBe(writer.length - 1 - 4 - 8 - 1 - raw.length)
        const fixed = new Uint8Array(12)
        writeU32(fixed, 0, small)
        writeU64(fixed, 4, large)
        expect([readU32(fixed, 0), readU64(fixed, 4)]).toEqual([small, large])
      }),
    )
    expect(readU64(new Uint8Array(8).fill(255), 0)).toBeNaN()
    expect(() => new ByteReader(new Uint8Array(12).fill(255)).varint()).toThrow(RangeError)
  })

  it('go to hexadecimal and back', () => {
    fc.assert(fc.property(bytes, (a) => equalBytes(fromHex(toHex(a)), a)))
    expect(() => fromHex('0g')).toThrow(RangeError)
  })

  it('have the checksum of zip, piecewise too', () => {
    expect(crc32(Buffer.from('123456789'))).toBe(0xcbf43926)
    fc.assert(fc.property(bytes, bytes, (a, b) => crc32(b, crc32(a)) === crc32(concatBytes(a, b))))
  })
})
