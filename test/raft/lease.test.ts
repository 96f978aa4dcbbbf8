import { describe, expect, it } from 'vitest'
import { draftMessage } from '../../raft/core/message.ts'
import { MessageType } from '../../raft/core/types.ts'
import { Lease, leaseMs } from '../../raft/lease.ts'
import { TestClock } from '../shardserver/builders.ts'

/** A lease of 900 ms of a leader in term 1, at whom a test looks as its driver does. */
class Leading {
  readonly clock = new TestClock()
  readonly lease = new Lease(this.clock, 900)
  term = 1
  lastRound = 0
  promisedRound = 0
  safeIndex: number | undefined = 5
  leads = true

  get #office() {
    return this.leads ? { lastRound: this.lastRound, promisedRound: this.promisedRound, safeIndex: this.safeIndex } : undefined
  }

  /** A round leaves. */
  send(messages: Parameters<Lease['sending']>[2] = []): void {
    this.lastRound++
    this.lease.sending(this.term, this.#office, messages)
  }

  /** Messages leave without a round of their own. */
  sendNoRound(): void {
    this.lease.sending(this.term, this.#office, [])
  }

  at(nowMs: number): this {
    this.clock.nowMs = nowMs
    return this
  }

  get index(): number | undefined {
    return this.lease.index(this.term, this.#office)
  }
}

describe('a lease', () => {
  it('counts from when the round left, not from when it was promised', () => {
    const leading = new Leading()
    leading.send()
    expect(leading.index).toBeUndefined()
    leading.at(600).promisedRound = 1
    expect(leading.index).toBe(5)
    expect(leading.at(899.9).index).toBe(5)
    expect(leading.at(900).index).toBeUndefined()
  })

  it('is over first thing after a pause, whatever answers pile up', () => {
    const leading = new Leading()
    leading.send()
    leading.promisedRound = 1
    leading.at(100).send()
    leading.at(5000).promisedRound = 2
    expect(leading.index).toBeUndefined()
    leading.send()
    expect(leading.index).toBeUndefined()
    leading.promisedRound = 3
    expect(leading.index).toBe(5)
  })

  it('a promised round whose time is not kept counts as the one before it', () => {
    const leading = new Leading()
    leading.send()
    // Hardly later: as if they had left together.
    leading.at(10).send()
    leading.promisedRound = 2
    expect(leading.at(899).index).toBe(5)
    expect(leading.at(905).index).toBeUndefined()
  })

  it('a round whose time was not kept never counts from later, when something else leaves', () => {
    const leading = new Leading()
    leading.send()
    leading.at(10).send()
    // Entries, say, and no round.
    leading.at(100).sendNoRound()
    leading.promisedRound = 2
    expect(leading.at(899).index).toBe(5)
    expect(leading.at(905).index).toBeUndefined()
  })

  it('shrinks where promises no longer make a quorum: the membership has changed', () => {
    const leading = new Leading()
    leading.send()
    leading.at(500).send()
    leading.promisedRound = 2
    expect(leading.at(1000).index).toBe(5)
    leading.promisedRound = 1
    expect(leading.index).toBeUndefined()
  })

  it('there is none before an entry of the term is committed, none in another term, and none without the office', () => {
    const leading = new Leading()
    leading.send()
    leading.promisedRound = 1
    leading.safeIndex = undefined
    expect(leading.index).toBeUndefined()
    leading.safeIndex = 9
    expect(leading.index).toBe(9)
    leading.leads = false
    expect(leading.index).toBeUndefined()
    leading.leads = true
    leading.term = 3
    expect(leading.index).toBeUndefined()
    // Rounds are counted anew in each term.
    leading.lastRound = 0
    leading.promisedRound = 0
    leading.at(100).send()
    expect(leading.index).toBeUndefined()
  })

  it('is given up for the rest of the term before another is told to campaign; a refusal to campaign ends nothing', () => {
    const leading = new Leading()
    const told = draftMessage(MessageType.TimeoutNow, 1, 2, 1)
    leading.send([{ ...told, reject: true }])
    leading.promisedRound = 1
    expect(leading.index).toBe(5)
    leading.send([told])
    expect(leading.index).toBeUndefined()
    leading.at(100).send()
    leading.promisedRound = 3
    expect(leading.index).toBeUndefined()
    leading.term = 2
    leading.lastRound = 0
    leading.send()
    leading.promisedRound = 1
    expect(leading.index).toBe(5)
  })

  it('keeps the times of a bounded number of rounds', () => {
    const leading = new Leading()
    for (let ms = 0; ms < 10_000; ms++) {
      leading.at(ms).send()
      leading.promisedRound = leading.lastRound
    }
    expect(leading.index).toBe(5)
  })

  it('is shorter than the time for which a promise surely holds, by a ninth of the lease at least', () => {
    for (const electionTicks of [2, 10, 100]) {
      const promisedMs = (electionTicks - 1) * 10
      expect(promisedMs / leaseMs(electionTicks, 10)).toBeCloseTo(10 / 9)
    }
  })
})
