import { describe, expect, it } from 'vitest'
import { Inflights } from '../../../raft/core/inflights.ts'
import { Progress } from '../../../raft/core/progress.ts'
import { ProposalBudget } from '../../../raft/core/proposal-budget.ts'
import { conf } from './test-replica.ts'

describe('inflights', () => {
  it('frees in order, wraps around and grows', () => {
    const window = new Inflights(1_000_000)
    let expected = 0
    for (let index = 1; index <= 500; index++) {
      window.add(index, index)
      expected += index
      if (index % 3 !== 0) continue
      const freed = index - 40
      window.freeTo(freed)
      expected = 0
      for (let i = Math.max(1, freed + 1); i <= index; i++) expected += i
      expect(window.bytes).toBe(expected)
    }
    window.freeTo(500)
    expect([window.count, window.bytes]).toEqual([0, 0])
  })

  it('is full from its bytes on, but never when empty', () => {
    const window = new Inflights(10)
    expect(window.full).toBe(false)
    window.add(1, 9)
    expect(window.full).toBe(false)
    window.add(2, 1)
    expect(window.full).toBe(true)
    window.freeTo(1)
    expect(window.full).toBe(false)
    window.clear()
    expect(new Inflights(0).full).toBe(false)
  })
})

describe('progress', () => {
  const make = (next = 5) => new Progress(2, next, 100)

  it('keeps match below next through every transition', () => {
    const peer = make()
    const steps = [
      () => peer.appendSent(1, 40, 3),
      () => peer.acknowledge(5, 1),
      () => peer.appendSent(3, 100, 5),
      () => peer.reject(7, 6),
      () => peer.reject(5, 2),
      () => peer.becomeSnapshot({ index: 9, term: 1, conf: conf([1, 2]) }),
      () => peer.acknowledge(7, 9),
      () => peer.snapshotEnded(true),
      () => peer.becomeProbe(),
    ]
    for (const step of steps) {
      step()
      expect(peer.match).toBeLessThan(peer.next)
    }
  })

  it('leaves the snapshot state only when the log reaches back to it', () => {
    const peer = make()
    peer.becomeSnapshot({ index: 20, term: 1, conf: conf([1, 2]) })
    peer.acknowledge(10, 15)
    expect(peer).toMatchObject({ state: 'snapshot', match: 10, paused: true })
    peer.acknowledge(14, 15)
    expect(peer).toMatchObject({ state: 'replicate', match: 14, next: 15 })
  })

  it('after a snapshot probes behind it, after a failure from match, both only after a heartbeat', () => {
    for (const [ok, next] of [
      [true, 21],
      [false, 4],
    ] as const) {
      const peer = make()
      peer.acknowledge(3, 1)
      peer.becomeSnapshot({ index: 20, term: 1, conf: conf([1, 2]) })
      peer.snapshotEnded(ok)
      expect(peer).toMatchObject({ state: 'probe', next, paused: true })
      peer.resume(30)
      expect(peer.paused).toBe(false)
    }
  })
})

describe('a budget of proposed bytes', () => {
  it('admits anything when empty and no bytes always, and frees whole proposals', () => {
    const budget = new ProposalBudget(100)
    expect(budget.admits(1000)).toBe(true)
    budget.add(3, 90)
    expect([budget.admits(10), budget.admits(11), budget.admits(0)]).toEqual([true, false, true])
    budget.add(5, 10)
    budget.releaseTo(4)
    expect(budget.bytes).toBe(10)
    budget.releaseTo(5)
    expect(budget.bytes).toBe(0)
  })
})
