import { describe, expect, it } from 'vitest'
import { endMsMax, FaultAtlas } from './fault-atlas.ts'

describe('fault atlas', () => {
  it('has a cause for the end of a process whose disk has failed, for a while', () => {
    const atlas = new FaultAtlas([['c1', 'c2', 'c3']])
    expect(atlas.mayEnd('c2', 0)).toBe(false)
    atlas.diskFailed('c2', 1000)
    expect(atlas.mayEnd('c2', 1000)).toBe(true)
    expect(atlas.mayEnd('c2', 1000 + endMsMax)).toBe(true)
    expect(atlas.mayEnd('c2', 1001 + endMsMax)).toBe(false)
    expect(atlas.mayEnd('c1', 1000)).toBe(false)
  })

  it('has none for the end of the next process, but where the disk has failed under that one too (seed 323)', () => {
    const atlas = new FaultAtlas([['c1', 'c2', 'c3']])
    atlas.diskFailed('c2', 1000)
    atlas.processEnded('c2')
    expect(atlas.mayEnd('c2', 1001)).toBe(false)
    atlas.diskFailed('c2', 1600)
    expect(atlas.mayEnd('c2', 1600)).toBe(true)
  })
})
