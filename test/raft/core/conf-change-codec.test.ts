import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { toHex } from '../../../base/bytes.ts'
import { decodeConfChange, encodeConfChange } from '../../../raft/core/conf-change-codec.ts'
import type { ConfChange } from '../../../raft/core/types.ts'

const change = fc.record({
  transition: fc.constantFrom('auto' as const, 'joint-implicit' as const, 'joint-explicit' as const),
  steps: fc.array(
    fc.record({
      type: fc.constantFrom('add-voter' as const, 'add-learner' as const, 'remove' as const),
      replica: fc.integer({ min: 1, max: 0xffffffff }),
    }),
    { minLength: 1 },
  ),
})

const sample: ConfChange = {
  transition: 'joint-implicit',
  steps: [
    { type: 'add-voter', replica: 4 },
    { type: 'add-learner', replica: 0x01020304 },
    { type: 'remove', replica: 1 },
  ],
}

describe('membership change as bytes', () => {
  it('comes back as it was, with what its proposer gave along', () => {
    fc.assert(
      fc.property(change, fc.uint8Array(), (steps, context) => {
        expect(decodeConfChange(encodeConfChange(steps, context))).toEqual({ change: steps, context })
      }),
    )
  })

  it('without steps and context has no bytes', () => {
    const leave = { transition: 'joint-explicit', steps: [] } as const
    expect(encodeConfChange(leave, new Uint8Array(0))).toHaveLength(0)
    expect(decodeConfChange(new Uint8Array(0))).toEqual({ change: { transition: 'auto', steps: [] }, context: new Uint8Array(0) })
    expect(decodeConfChange(encodeConfChange(leave, Uint8Array.of(7)))).toEqual({ change: leave, context: Uint8Array.of(7) })
  })

  it('keeps its bytes from version to version', () => {
    expect(toHex(encodeConfChange(sample, Uint8Array.of(0xaa, 0xbb)))).toBe('01010300000400000001040302010201000000aabb')
  })

  it('is refused cut short, of another version, and with words that it does not know', () => {
    const bytes = encodeConfChange(sample, new Uint8Array(0))
    for (let length = 1; length < bytes.length; length++) expect(decodeConfChange(bytes.subarray(0, length))).toBeUndefined()
    for (const [offset, value] of [
      [0, 0],
      [0, 2],
      [1, 3],
      [4, 3],
    ] as const) {
      const other = Uint8Array.from(bytes)
      other[offset] = value
      expect(decodeConfChange(other), `byte ${offset} as ${value}`).toBeUndefined()
    }
  })
})
