import fc from 'fast-check'
import { expect, it } from 'vitest'
import { compareBytes, equalBytes, utf8, writeVarint } from '../../base/bytes.ts'
import { CorruptionError } from '../../base/errors.ts'
import { BlockBuilder } from '../../lsm/block.ts'
import { kindValue } from '../../lsm/kind.ts'
import { TableIndex } from '../../lsm/table-index.ts'

function indexOf(keys: readonly Uint8Array[], dataEnd = 1e9): TableIndex {
  const builder = new BlockBuilder(1)
  keys.forEach((key, i) => {
    const value = new Uint8Array(20)
    const end = writeVarint(value, writeVarint(value, 0, i * 5000), 4096 + i)
    builder.add(key, 0, key.length, kindValue, 0, value, 0, end)
  })
  return TableIndex.decode(builder.finish(), 'file', 77, dataEnd)
}

// What all begin with, and then few different bytes of few different lengths.
const keyLists = fc.tuple(
  fc.uint8Array({ maxLength: 10 }),
  fc.uniqueArray(fc.uint8Array({ maxLength: 11, max: 1 }), { minLength: 1, maxLength: 40, comparator: equalBytes }),
)

it('finds the first block whose key is not below, as a plain search does', () => {
  fc.assert(
    fc.property(keyLists, fc.array(fc.uint8Array({ maxLength: 14 }), { maxLength: 10 }), ([common, ends], others) => {
      const withCommon = (end: Uint8Array) => Uint8Array.of(...common, ...end)
      const keys = ends.map(withCommon).sort(compareBytes)
      const index = indexOf(keys)
      expect(index.count).toBe(keys.length)
      for (const key of [...keys, ...others.map(withCommon), ...others, common, common.subarray(0, 3)]) {
        const wanted = keys.findIndex((candidate) => compareBytes(candidate, key) >= 0)
        const shifted = Uint8Array.of(9, ...key, 9)
        expect(index.find(shifted, 1, 1 + key.length)).toBe(wanted < 0 ? keys.length : wanted)
      }
      expect(keys.map((_, i) => [index.offset(i), index.length(i)])).toEqual(keys.map((_, i) => [i * 5000, 4096 + i]))
    }),
    { numRuns: 500 },
  )
})

it('refuses a block that lies outside of the data', () => {
  expect(() => indexOf([utf8('a'), utf8('b')], 5000 + 4097 + 5)).not.toThrow()
  expect(() => indexOf([utf8('a'), utf8('b')], 5000 + 4097 + 4)).toThrow(CorruptionError)
})
