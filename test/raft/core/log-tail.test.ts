import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LogTail } from '../../../raft/core/log-tail.ts'
import { RaftLog } from '../../../raft/core/raft-log.ts'
import { MemoryLog } from './memory-log.ts'
import { entry, logOf } from './test-replica.ts'

function append(tail: LogTail, from: number, ...terms: number[]): void {
  terms.forEach((term, i) => {
    tail.append(entry(from + i, term))
  })
}

describe('the tail of the log', () => {
  it('hands each entry out once and keeps it until it is durable', () => {
    const tail = new LogTail(3, 1)
    append(tail, 4, 1, 1)
    expect(tail.handOut().map(({ index }) => index)).toEqual([4, 5])
    expect(tail.handOut()).toEqual([])
    append(tail, 6, 1)
    expect(tail.handOut().map(({ index }) => index)).toEqual([6])
    expect(tail.appended(1, 5)).toBe(true)
    expect([tail.first, tail.last, tail.term(5), tail.term(6)]).toEqual([6, 6, 1, 1])
  })

  it('an acknowledgement of what was replaced marks nothing newer durable', () => {
    const tail = new LogTail(3, 1)
    append(tail, 4, 1, 1)
    tail.handOut()
    tail.truncateFrom(5, 1)
    append(tail, 5, 2)
    tail.handOut()
    expect(tail.appended(1, 5)).toBe(true)
    expect(tail.first).toBe(5)
    expect(tail.appended(2, 5)).toBe(true)
    expect(tail.first).toBe(6)
  })

  it('nor when the very same entry was replaced and came back (the append ABA race)', () => {
    const tail = new LogTail(3, 1)
    append(tail, 4, 1)
    tail.handOut()
    tail.truncateFrom(4, 1)
    append(tail, 4, 2)
    tail.handOut()
    tail.truncateFrom(4, 1)
    append(tail, 4, 1)
    tail.handOut()
    expect(tail.appended(1, 4)).toBe(false)
    expect(tail.appended(2, 4)).toBe(false)
    expect(tail.first).toBe(4)
    expect(tail.appended(1, 4)).toBe(true)
    expect(tail.first).toBe(5)
  })

  it('one acknowledgement covers all that was handed out before it; unknown ones are ignored', () => {
    const tail = new LogTail(0, 0)
    for (const index of [1, 2, 3]) {
      append(tail, index, 1)
      tail.handOut()
    }
    expect(tail.appended(1, 2)).toBe(true)
    expect(tail.first).toBe(3)
    expect(tail.appended(1, 2)).toBe(false)
    expect(tail.appended(7, 3)).toBe(false)
  })

  it('forgets what was on its way when a snapshot replaces the log', () => {
    const tail = new LogTail(0, 0)
    append(tail, 1, 1)
    tail.handOut()
    tail.reset(10, 3)
    expect(tail.appended(1, 1)).toBe(false)
    expect([tail.first, tail.last, tail.lastTerm]).toEqual([11, 10, 3])
  })

  it('never calls durable what a log that lost its outstanding writes would not hold', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('append' as const), count: fc.integer({ min: 1, max: 3 }) }),
      fc.record({ kind: fc.constant('truncate' as const), back: fc.integer({ min: 1, max: 6 }), term: fc.integer({ min: 1, max: 3 }) }),
      fc.constant({ kind: 'handOut' as const }),
      fc.constant({ kind: 'persist' as const }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const tail = new LogTail(0, 0)
        const disk: number[] = []
        const terms: number[] = []
        const writes: { first: number; terms: number[] }[] = []
        // Few terms, which may come back: only the matching of acknowledgements is under test.
        let term = 1
        for (const one of steps) {
          if (one.kind === 'append') {
            for (let i = 0; i < one.count; i++) {
              terms.push(term)
              tail.append(entry(terms.length, term))
            }
          } else if (one.kind === 'truncate' && terms.length > 0) {
            const keep = Math.max(0, terms.length - one.back)
            tail.truncateFrom(keep + 1, terms[keep - 1] ?? 0)
            terms.length = keep
            term = one.term
            terms.push(term)
            tail.append(entry(terms.length, term))
          } else if (one.kind === 'handOut') {
            const entries = tail.handOut()
            if (entries[0] !== undefined) writes.push({ first: entries[0].index, terms: entries.map((e) => e.term) })
          } else if (one.kind === 'persist') {
            const write = writes.shift()
            if (write === undefined) continue
            disk.length = write.first - 1
            disk.push(...write.terms)
            tail.appended(disk.at(-1) as number, disk.length)
          }
          const stable = tail.first - 1
          expect(disk.slice(0, stable)).toEqual(terms.slice(0, stable))
        }
        while (writes.length > 0) {
          const write = writes.shift() as { first: number; terms: number[] }
          disk.length = write.first - 1
          disk.push(...write.terms)
          tail.appended(disk.at(-1) as number, disk.length)
        }
        const last = tail.handOut().at(-1)
        if (last !== undefined) tail.appended(last.term, last.index)
        expect(tail.first - 1).toBe(terms.length)
      }),
      { numRuns: 500 },
    )
  })
})

describe('the whole log', () => {
  it('finds the last entry of at most a term, for back-up', () => {
    const log = new RaftLog(new MemoryLog(logOf(1, 1, 2, 2, 5, 5, 5)), 0, 0)
    const table: [index: number, term: number, expected: number][] = [
      [7, 5, 7],
      [7, 4, 4],
      [7, 2, 4],
      [3, 2, 3],
      [7, 1, 2],
      [7, 0, 0],
      [99, 9, 7],
    ]
    for (const [index, term, expected] of table) expect(log.lastWithTermAtMost(index, term), `${index} ${term}`).toBe(expected)
  })

  it('agrees with the plain search on every log', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 12 }),
        fc.integer({ min: 0, max: 14 }),
        fc.integer({ min: 0, max: 6 }),
        (drawn, index, term) => {
          const terms = [...drawn].sort((a, b) => a - b)
          const log = new RaftLog(new MemoryLog(logOf(...terms)), 0, 0)
          let expected = Math.min(index, terms.length)
          while (expected > 0 && (terms[expected - 1] as number) > term) expected--
          expect(log.lastWithTermAtMost(index, term)).toBe(expected)
        },
      ),
    )
  })

  it('takes entries that it has, or a part of them, without truncating', () => {
    const log = new RaftLog(new MemoryLog(logOf(1, 1, 2)), 2, 0)
    log.merge([entry(1, 1), entry(2, 1)])
    expect([log.lastIndex, log.hasUnhanded]).toEqual([3, false])
    log.merge([entry(3, 2), entry(4, 2)])
    expect([log.lastIndex, log.stableIndex]).toEqual([4, 3])
    log.merge([entry(3, 3)])
    expect([log.lastIndex, log.stableIndex, log.term(3)]).toEqual([3, 2, 3])
  })

  it('refuses to truncate what is committed, and to begin with less than was committed', () => {
    const log = new RaftLog(new MemoryLog(logOf(1, 1, 2)), 2, 0)
    expect(() => log.merge([entry(2, 3)])).toThrow(/conflicts with a committed one/)
    expect(() => new RaftLog(new MemoryLog(logOf(1)), 2, 0)).toThrow(/lost a part/)
  })

  it('counts as committed what was applied, though the hard state lagged', () => {
    expect(new RaftLog(new MemoryLog(logOf(1, 1, 1)), 1, 2).commit).toBe(2)
    expect(new RaftLog(new MemoryLog([], undefined, { index: 9, term: 3 }), 0, 9)).toMatchObject({ commit: 9, lastIndex: 9, lastTerm: 3 })
  })
})
