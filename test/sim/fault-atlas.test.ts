import { describe, expect, it } from 'vitest'
import { FaultAtlas } from './fault-atlas.ts'

describe('fault atlas', () => {
  it('expects as many failures as were armed: the second while the first was on its way (seed 323)', () => {
    const atlas = new FaultAtlas([['c1', 'c2', 'c3']])
    atlas.expectFailure('c2')
    atlas.expectFailure('c2')
    expect([1, 2, 3].map(() => atlas.expectsFailure('c2'))).toEqual([true, true, false])
    expect(atlas.expectsFailure('c1')).toBe(false)
  })
})
