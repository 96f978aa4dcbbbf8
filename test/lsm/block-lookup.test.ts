import fc from 'fast-check'
import { expect, it } from 'vitest'
import { compareBytes, equalBytes, utf8 } from '../../base/bytes.ts'
import { CorruptionError } from '../../base/errors.ts'
import { BlockBuilder } from '../../lsm/block.ts'
import { BlockLookup } from '../../lsm/block-lookup.ts'
import { kindTombstone, kindValue } from '../../lsm/kind.ts'

/** Few different bytes, so that keys share much and one is often the beginning of another. */
const keys = fc.uint8Array({ maxLength: 6, max: 2 }).map((bytes) => new Uint8Array(bytes))

function blockOf(entries: readonly { key: Uint8Array; value: Uint8Array; kind: number }[], restartInterval: number): Uint8Array {
  const builder = new BlockBuilder(restartInterval)
  for (const { key, value, kind } of entries) builder.add(key, 0, key.length, kind, 1, value, 0, value.length)
  return builder.finish()
}

it('finds each key of a block, its value and nothing else, wherever the block lies', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(keys, { minLength: 1, maxLength: 60, comparator: equalBytes }),
      fc.array(keys, { maxLength: 20 }),
      fc.integer({ min: 1, max: 17 }),
      fc.nat({ max: 20 }),
      (held, others, restartInterval, before) => {
        const sorted = [...held].sort(compareBytes)
        const entries = sorted.map((key, i) => ({ key, value: utf8('v'.repeat(i * 7)), kind: i % 3 === 2 ? kindTombstone : kindValue }))
        const payload = blockOf(entries, restartInterval)
        const bytes = new Uint8Array(before + payload.length + 9).fill(255)
        bytes.set(payload, before)
        const lookup = new BlockLookup()
        for (const key of [...held, ...others]) {
          const entry = entries.find((candidate) => equalBytes(candidate.key, key))
          expect(lookup.find(bytes, before, before + payload.length, key, 'file', 0)).toBe(entry !== undefined)
          if (entry === undefined) continue
          expect(lookup.kind).toBe(entry.kind)
          expect(equalBytes(bytes.subarray(lookup.valueStart, lookup.valueEnd), entry.value)).toBe(true)
        }
      },
    ),
    { numRuns: 400 },
  )
})

it('takes keys and values whose lengths need more than a byte', () => {
  const long = new Uint8Array(70_000).fill(7)
  const entries = [utf8('a'), long.slice(0, 300), long].map((key, i) => ({
    key,
    value: new Uint8Array(i * 20_000).fill(i),
    kind: kindValue,
  }))
  const block = blockOf(entries, 16)
  const lookup = new BlockLookup()
  // 'a' sorts behind bytes of 7.
  expect(() =>
    blockOf(
      [...entries].sort((a, b) => compareBytes(a.key, b.key)),
      16,
    ),
  ).not.toThrow()
  const sorted = blockOf(
    [...entries].sort((a, b) => compareBytes(a.key, b.key)),
    16,
  )
  for (const { key, value } of entries) {
    expect(lookup.find(sorted, 0, sorted.length, key, 'file', 0)).toBe(true)
    expect(lookup.valueEnd - lookup.valueStart).toBe(value.length)
  }
  expect(block.length).toBeGreaterThan(60_000)
})

it('says of a malformed block that it is malformed, and never reads past its end', () => {
  const entries = Array.from({ length: 40 }, (_, i) => ({ key: utf8(`key${100 + i}`), value: utf8(`value${i}`), kind: kindValue }))
  const payload = blockOf(entries, 16)
  const lookup = new BlockLookup()
  for (let at = 0; at < payload.length; at++) {
    for (const byte of [0, 127, 128, 255]) {
      const spoiled = payload.slice()
      spoiled[at] = byte
      for (const { key } of entries) {
        try {
          if (lookup.find(spoiled, 0, spoiled.length, key, 'file', 12)) expect(lookup.valueEnd).toBeLessThanOrEqual(spoiled.length)
        } catch (error) {
          expect(error).toBeInstanceOf(CorruptionError)
        }
      }
    }
  }
  expect(() => lookup.find(payload, 0, 3, utf8('key'), 'file', 12)).toThrow(CorruptionError)
})
