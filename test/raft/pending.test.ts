import { describe, expect, it } from 'vitest'
import type { Entry } from '../../raft/core/types.ts'
import { PendingProposals } from '../../raft/pending-proposals.ts'
import { PendingReads } from '../../raft/pending-reads.ts'
import type { ReadKind } from '../../raft/state-machine.ts'

const data = new Uint8Array(1)
const entry = (index: number, term: number): Entry => ({ index, term, kind: 0, data })

class Proposals {
  readonly pending = new PendingProposals<string>()
  readonly outcomes: string[] = []

  /** Proposals are told apart by a letter. */
  queue(name: string): void {
    this.pending.queue(data, (outcome) => {
      this.outcomes.push(outcome.kind === 'applied' ? `${name} ${outcome.index} ${outcome.result}` : `${name} ${outcome.kind}`)
    })
  }

  /** All that queued is in the log from `firstIndex` on. */
  accept(term: number, firstIndex: number): void {
    this.pending.submit(() => ({ ok: true, term, firstIndex }))
  }
}

describe('pending proposals', () => {
  it('what a turn brought goes to the core at once, and each learns its own result', () => {
    const proposals = new Proposals()
    for (const name of ['a', 'b', 'c']) proposals.queue(name)
    let given = 0
    proposals.pending.submit((datas) => {
      given = datas.length
      return { ok: true, term: 3, firstIndex: 7 }
    })
    expect(given).toBe(3)
    proposals.pending.applied([entry(6, 3), entry(7, 3), entry(8, 3)], ['r6', 'r7', 'r8'])
    proposals.pending.applied([entry(9, 3)], ['r9'])
    expect(proposals.outcomes).toEqual(['a 7 r7', 'b 8 r8', 'c 9 r9'])
  })

  it.each(['not-leader', 'overloaded'] as const)('what the core refuses as %s is refused whole, and is in no log', (reason) => {
    const proposals = new Proposals()
    proposals.queue('a')
    proposals.queue('b')
    proposals.pending.submit(() => ({ ok: false, reason, leader: 2 }))
    expect(proposals.outcomes).toEqual(['a refused', 'b refused'])
    proposals.pending.applied([entry(1, 1), entry(2, 1)], ['x', 'y'])
    proposals.pending.loseBehind(0)
    expect(proposals.outcomes).toHaveLength(2)
  })

  it('an index that another term took is no success', () => {
    const proposals = new Proposals()
    proposals.queue('a')
    proposals.accept(3, 7)
    proposals.pending.applied([entry(7, 4)], ['of another'])
    expect(proposals.outcomes).toEqual(['a lost'])
  })

  it('is answered once, though the index comes again in a later term of office', () => {
    const proposals = new Proposals()
    proposals.queue('a')
    proposals.accept(3, 7)
    proposals.pending.loseBehind(0)
    proposals.queue('b')
    proposals.accept(5, 7)
    proposals.pending.applied([entry(7, 5)], ['r7'])
    proposals.pending.loseBehind(0)
    expect(proposals.outcomes).toEqual(['a lost', 'b 7 r7'])
  })

  it('what is committed when office is lost is answered when it is applied', () => {
    const proposals = new Proposals()
    proposals.queue('a')
    proposals.queue('b')
    proposals.accept(3, 7)
    proposals.pending.loseBehind(7)
    expect(proposals.outcomes).toEqual(['b lost'])
    proposals.pending.applied([entry(7, 3), entry(8, 4)], ['r7', 'of another'])
    expect(proposals.outcomes).toEqual(['b lost', 'a 7 r7'])
  })

  it('what is not in the log when office is lost stays queued, to be refused as definite', () => {
    const proposals = new Proposals()
    proposals.queue('a')
    proposals.accept(3, 7)
    proposals.queue('b')
    proposals.pending.loseBehind(0)
    expect(proposals.outcomes).toEqual(['a lost'])
    proposals.pending.refuseQueued({ kind: 'refused', reason: 'stopped', leader: 0 })
    expect(proposals.outcomes).toEqual(['a lost', 'b refused'])
  })
})

class Reads {
  readonly pending = new PendingReads()
  readonly outcomes: string[] = []
  readonly begun: number[] = []
  readonly forwarded: number[] = []
  leads = true
  /** A leader is known to whom reads can be forwarded. */
  follows = false
  nowMs = 0

  queue(name: string, kind: ReadKind = 'quorum'): void {
    this.pending.queue((outcome) => this.outcomes.push(outcome.kind === 'ready' ? name : `${name} ${outcome.reason}`), kind)
  }

  submit(): void {
    const core = {
      readIndex: (context: number) => {
        if (this.leads) this.begun.push(context)
        return this.leads
      },
      forwardReadIndex: (context: number) => {
        if (this.follows) this.forwarded.push(context)
        return this.follows
      },
    }
    this.pending.submit(core, 2, this.nowMs)
  }
}

describe('pending reads', () => {
  it('those of a turn share a round; none is answered before its index is applied', () => {
    const reads = new Reads()
    reads.queue('a')
    reads.queue('b')
    reads.submit()
    expect(reads.begun).toHaveLength(1)
    reads.pending.confirmed(reads.begun[0] as number, 9)
    reads.pending.release(8)
    expect(reads.outcomes).toEqual([])
    reads.pending.release(9)
    expect(reads.outcomes).toEqual(['a', 'b'])
  })

  it('a read that came after a round was begun is not answered by it', () => {
    const reads = new Reads()
    reads.queue('a')
    reads.submit()
    reads.queue('b')
    reads.pending.confirmed(reads.begun[0] as number, 1)
    reads.pending.release(100)
    expect(reads.outcomes).toEqual(['a'])
    reads.submit()
    expect(reads.begun).toHaveLength(2)
    expect(reads.begun[1]).not.toBe(reads.begun[0])
    reads.pending.confirmed(reads.begun[1] as number, 100)
    reads.pending.release(100)
    expect(reads.outcomes).toEqual(['a', 'b'])
  })

  it('while two rounds are out reads wait for the next, and go when one has come back', () => {
    const reads = new Reads()
    for (const name of ['a', 'b', 'c', 'd']) {
      reads.queue(name)
      reads.submit()
    }
    expect(reads.begun).toHaveLength(2)
    expect(reads.pending.hasQueued).toBe(false)
    reads.pending.confirmed(reads.begun[0] as number, 1)
    expect(reads.pending.hasQueued).toBe(true)
    reads.submit()
    reads.pending.confirmed(reads.begun[2] as number, 1)
    reads.pending.release(1)
    expect(reads.outcomes).toEqual(['a', 'c', 'd'])
  })

  it('rounds that are lost with the office are refused and take up no place; a late word of them changes nothing', () => {
    const reads = new Reads()
    for (const name of ['a', 'b', 'c']) {
      reads.queue(name)
      reads.submit()
    }
    for (const context of reads.begun) reads.pending.lost(context, 3)
    expect(reads.outcomes).toEqual(['a not-leader', 'b not-leader'])
    reads.leads = false
    reads.submit()
    expect(reads.outcomes).toEqual(['a not-leader', 'b not-leader', 'c not-leader'])
    reads.leads = true
    reads.queue('d')
    reads.submit()
    reads.pending.confirmed(reads.begun[0] as number, 1)
    reads.pending.release(100)
    expect(reads.outcomes).toHaveLength(3)
    reads.pending.confirmed(reads.begun.at(-1) as number, 5)
    reads.pending.release(100)
    expect(reads.outcomes.at(-1)).toBe('d')
  })

  it('of a replica that does not lead: those that may be forwarded are, together; the others are refused', () => {
    const reads = new Reads()
    reads.leads = false
    reads.follows = true
    reads.queue('a')
    reads.queue('b', 'follower')
    reads.queue('c', 'follower')
    reads.queue('d', 'quorum')
    reads.submit()
    expect(reads.outcomes).toEqual(['a not-leader', 'd not-leader'])
    expect(reads.forwarded).toHaveLength(1)
    reads.pending.confirmed(reads.forwarded[0] as number, 3)
    reads.pending.release(3)
    expect(reads.outcomes.slice(2)).toEqual(['b', 'c'])
  })

  it('none can be forwarded where no leader is known', () => {
    const reads = new Reads()
    reads.leads = false
    reads.queue('a', 'follower')
    reads.submit()
    expect(reads.outcomes).toEqual(['a not-leader'])
  })

  it('under a lease need no round and no place among the rounds; without one they join the next', () => {
    const reads = new Reads()
    for (const name of ['a', 'b']) {
      reads.queue(name)
      reads.submit()
    }
    reads.queue('leased', 'lease')
    reads.pending.submitLeased(7, 0)
    reads.pending.release(6)
    expect(reads.outcomes).toEqual([])
    reads.pending.release(7)
    expect(reads.outcomes).toEqual(['leased'])
    reads.queue('c', 'lease')
    reads.pending.submitLeased(undefined, 0)
    reads.submit()
    expect(reads.begun).toHaveLength(2)
    reads.pending.confirmed(reads.begun[0] as number, 7)
    reads.submit()
    expect(reads.begun).toHaveLength(3)
    reads.pending.confirmed(reads.begun[2] as number, 7)
    reads.pending.release(7)
    expect(reads.outcomes).toEqual(['leased', 'a', 'c'])
  })

  it('are fresh as of when the newest round that was released was asked for, and never as of less', () => {
    const reads = new Reads()
    expect(reads.pending.freshAsOfMs).toBe(Number.NEGATIVE_INFINITY)
    reads.nowMs = 10
    reads.queue('a')
    reads.submit()
    reads.nowMs = 20
    reads.queue('b')
    reads.submit()
    for (const context of reads.begun) reads.pending.confirmed(context, 5)
    expect(reads.pending.freshAsOfMs).toBe(Number.NEGATIVE_INFINITY)
    reads.pending.release(5)
    expect(reads.pending.freshAsOfMs).toBe(20)
    reads.queue('c', 'lease')
    reads.pending.submitLeased(5, 15)
    reads.pending.release(5)
    expect(reads.pending.freshAsOfMs).toBe(20)
  })

  it('a stop answers all: queued, in a round, and waiting for apply; each once', () => {
    const reads = new Reads()
    reads.queue('a')
    reads.submit()
    reads.pending.confirmed(reads.begun[0] as number, 9)
    for (const name of ['b', 'c', 'd']) {
      reads.queue(name)
      reads.submit()
    }
    reads.pending.refuseAll({ kind: 'refused', reason: 'stopped', leader: 0 })
    reads.pending.refuseAll({ kind: 'refused', reason: 'stopped', leader: 0 })
    reads.pending.release(100)
    expect(reads.outcomes.sort()).toEqual(['a stopped', 'b stopped', 'c stopped', 'd stopped'])
  })
})
