import { describe, expect, it } from 'vitest'
import { bytesHeld, type Holding, isSourceAway, judgeHoldings } from '../../../shardserver/migration/holdings.ts'

const digest = new Uint8Array(16).fill(1)
const none = new Uint8Array(0)
const held: Holding = {
  holds: true,
  digest,
  cut: 9,
  bytesCopied: 100,
  bytesTotal: 100,
  lost: false,
  noRoom: '',
  sourceAway: false,
  work: 0,
}
const copying: Holding = { ...held, holds: false, digest: none, cut: 0, bytesCopied: 40 }
const lost: Holding = { ...copying, lost: true }

describe('what the voters hold', () => {
  it('is enough on a majority, and says whether all have it', () => {
    expect(judgeHoldings([held, held, copying], 2)).toEqual({ kind: 'majority', all: false, digest, cut: 9 })
    expect(judgeHoldings([held, held, held], 2)).toEqual({ kind: 'majority', all: true, digest, cut: 9 })
  })

  it('is waited for while a majority may come: from one that does not answer too', () => {
    expect(judgeHoldings([held, copying, lost], 2)).toEqual({ kind: 'wait' })
    expect(judgeHoldings([undefined, undefined, undefined], 2)).toEqual({ kind: 'wait' })
    expect(judgeHoldings([held, undefined, lost], 2)).toEqual({ kind: 'wait' })
  })

  it('is lost where a majority never comes', () => {
    expect(judgeHoldings([lost, lost, lost], 2)).toEqual({ kind: 'lost' })
    expect(judgeHoldings([held, lost, lost], 2)).toEqual({ kind: 'lost' })
  })

  it('differs where digests or cuts do, however many hold it', () => {
    expect(judgeHoldings([held, { ...held, digest: new Uint8Array(16).fill(2) }, held], 2)).toEqual({ kind: 'differ' })
    expect(judgeHoldings([held, { ...held, cut: 8 }, copying], 2)).toEqual({ kind: 'differ' })
  })

  it('is not to come in where a voter has no room for it, also where a majority holds it', () => {
    const full = { ...copying, noRoom: 'n3 has no room' }
    expect(judgeHoldings([held, held, full], 2)).toEqual({ kind: 'no-room', why: 'n3 has no room' })
    expect(judgeHoldings([held, undefined, copying], 2)).toEqual({ kind: 'wait' })
  })

  it('waits for a source that nobody can reach who has to copy from it', () => {
    const away = { ...copying, sourceAway: true }
    expect(isSourceAway([held, away, undefined])).toBe(true)
    expect(isSourceAway([away, copying, away])).toBe(false)
    expect(isSourceAway([held, held, undefined])).toBe(false)
  })

  it('is counted by the slowest that answers', () => {
    expect(bytesHeld([held, copying, undefined])).toEqual({ copied: 40, total: 100, sum: 140 })
    expect(bytesHeld([undefined])).toEqual({ copied: 0, total: 0, sum: 0 })
  })
})
