import { expect, it } from 'vitest'
import { utf8 } from '../../base/bytes.ts'
import { bloomHash, bloomMayHold, bloomProbes, buildBloom, isBloom } from '../../lsm/bloom.ts'

const hashOf = (text: string) => bloomHash(utf8(text), 0, text.length)

function filterOf(count: number, bitsPerKey: number): Uint8Array {
  return buildBloom(
    Uint32Array.from({ length: count }, (_, i) => hashOf(`key-${i}`)),
    count,
    bitsPerKey,
  )
}

it.each([1, 7, 100, 10_000, 200_000])('holds each of %i keys', (count) => {
  const filter = filterOf(count, 10)
  expect(isBloom(filter)).toBe(true)
  for (let i = 0; i < count; i++) expect(bloomMayHold(filter, hashOf(`key-${i}`))).toBe(true)
})

it.each([
  [10, 0.014],
  [16, 0.003],
  [5, 0.12],
])('with %i bits a key few others seem to be there', (bitsPerKey, most) => {
  const filter = filterOf(50_000, bitsPerKey)
  const others = 100_000
  let found = 0
  for (let i = 0; i < others; i++) if (bloomMayHold(filter, hashOf(`other-${i}`))) found++
  console.log(`${bitsPerKey} bits a key, ${bloomProbes(filter)} probes: ${((100 * found) / others).toFixed(2)} % false positives`)
  expect(found / others).toBeLessThan(most)
})

it('knows what is no filter', () => {
  expect(isBloom(new Uint8Array(0))).toBe(false)
  expect(isBloom(Uint8Array.of(6))).toBe(false)
  expect(isBloom(Uint8Array.of(1, 2, 3, 0))).toBe(false)
  expect(isBloom(Uint8Array.of(1, 2, 3, 0x86))).toBe(false)
  // As earlier versions wrote them.
  expect(isBloom(Uint8Array.of(1, 2, 3, 6))).toBe(true)
})
