import { describe, expect, it } from 'vitest'
import { bytesHeld, type Holding, judgeHoldings } from '../../../shardserver/migration/holdings.ts'

const digest = new Uint8Array(16).fill(1)
const none = new Uint8Array(0)
const held: Holding = { holds: true, digest, cut: 9, bytesCopied: 100, bytesTotal: 100, lost: false }
const copying: Holding = { holds: false, digest: none, cut: 0, bytesCopied: 40, bytesTotal: 100, lost: false }
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

  it('is counted by the slowest that answers', () => {
    expect(bytesHeld([held, copying, undefined])).toEqual({ copied: 40, total: 100, sum: 140 })
    expect(bytesHeld([undefined])).toEqual({ copied: 0, total: 0, sum: 0 })
  })
})
