import { describe, expect, it } from 'vitest'
import { concatBytes, utf8 } from '../../base/bytes.ts'
import { CorruptionError } from '../../base/errors.ts'
import { decodeRecordFile, encodeRecordFile, framedLength, frameRecord, scanRecords } from '../../base/framed-record.ts'
import { SeededRandom } from '../../base/random.ts'

const salt = 77

/** Records one after the other; each knows all before it to be durable where `synced`. */
function fileOf(payloads: Uint8Array[], synced: boolean): Uint8Array {
  const parts: Uint8Array[] = []
  let offset = 0
  for (const payload of payloads) {
    parts.push(...frameRecord([payload], offset, synced ? offset : 0, salt))
    offset += framedLength(payload.length)
  }
  return concatBytes(...parts)
}

describe('framed records', () => {
  const payloads = [utf8('one'), utf8('twotwotwo'), new Uint8Array(300).fill(9), utf8('last')]
  const scan = (bytes: Uint8Array) => scanRecords(bytes, { file: 'F', salt })

  it('come back in order with their offsets', () => {
    const bytes = fileOf(payloads, true)
    const { payloads: read, end, offsets } = scan(bytes)
    expect(read).toEqual(payloads)
    expect(end).toBe(bytes.length)
    expect(offsets).toEqual([0, 32, 72, 400])
  })

  it('cut at every length lose the torn record and nothing else', () => {
    const bytes = fileOf(payloads, false)
    for (let length = 0; length <= bytes.length; length++) {
      const { payloads: read, end } = scan(bytes.slice(0, length))
      expect(read).toEqual(payloads.slice(0, read.length))
      expect(end).toBeLessThanOrEqual(length)
      const next = payloads[read.length]
      if (next !== undefined) expect(length).toBeLessThan(end + framedLength(next.length))
    }
  })

  it('with any bit flipped before the durable end are damage, behind it a torn tail', () => {
    const bytes = concatBytes(fileOf(payloads, false), ...frameRecord([], 432, 432, salt))
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.slice()
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
      if (bit < 432 * 8) expect(() => scan(flipped)).toThrow(CorruptionError)
      else expect(scan(flipped).payloads).toEqual(payloads)
    }
  })

  it('not known to be durable end at the first bad one, though whole ones follow', () => {
    const bytes = fileOf(payloads, false)
    bytes[40] = 1
    expect(scan(bytes).payloads).toEqual(payloads.slice(0, 1))
    expect(() => scanRecords(bytes, { file: 'F', salt, durable: 33 })).toThrow('F at offset 32')
  })

  it('inside a payload, from another file or from another place are none', () => {
    const inner = fileOf([utf8('inner')], true)
    const { payloads: read } = scan(fileOf([inner, inner], true))
    expect(read).toEqual([inner, inner])
    expect(scanRecords(inner, { file: 'F', salt: 78 }).payloads).toEqual([])
    expect(scan(concatBytes(new Uint8Array(8), inner)).payloads).toEqual([])
  })

  it('of random bytes are none (seed 5)', () => {
    const random = new SeededRandom(5)
    for (let i = 0; i < 200; i++) expect(scan(random.bytes(random.below(200))).payloads).toEqual([])
  })

  it('alone in a file: any flip, cut or addition is a CorruptionError', () => {
    const bytes = encodeRecordFile(utf8('content'))
    expect(decodeRecordFile(bytes, 'F')).toEqual(utf8('content'))
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.slice()
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
      expect(() => decodeRecordFile(flipped, 'F')).toThrow(CorruptionError)
    }
    for (let length = 0; length < bytes.length; length++)
      expect(() => decodeRecordFile(bytes.slice(0, length), 'F')).toThrow(CorruptionError)
    expect(() => decodeRecordFile(concatBytes(bytes, new Uint8Array(8)), 'F')).toThrow(CorruptionError)
  })
})

it('a record may take more than 2 GiB of its file', () => {
  expect(framedLength(2 ** 31 - 31)).toBe(2 ** 31)
  expect(framedLength(2 ** 32 - 1)).toBe(2 ** 32 + 24)
})
