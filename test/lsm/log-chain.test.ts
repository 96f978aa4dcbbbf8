import { expect, it } from 'vitest'
import { type FoundLog, LogChain, type LogVerdict } from '../../lsm/log-chain.ts'

const counts = { kind: 'counts' }
const nothing = { kind: 'nothing' }

function log(number: number, previous: number | undefined, more: Partial<FoundLog> = {}): FoundLog {
  return { number, path: String(number), end: 10, durable: 0, previous, isEnded: false, ...more }
}

/** The verdict on each, and the last one. */
function judge(first: number, ...logs: FoundLog[]): LogVerdict[] {
  const chain = new LogChain(first)
  return [...logs.map((each) => chain.next(each)), chain.finish()]
}

it('logs that follow one another count, also behind older ones that are gone', () => {
  expect(judge(5, log(5, 4, { isEnded: true }), log(7, 5))).toEqual([counts, counts, nothing])
  expect(judge(5, log(6, 0))).toEqual([counts, nothing])
})

it('a log that was made and never begun is nothing, wherever it lies', () => {
  const ended = log(5, 4, { isEnded: true })
  expect(judge(5, ended, log(7, undefined), log(9, 5, { durable: 10 }))).toEqual([counts, nothing, counts, nothing])
  expect(judge(5, ended, log(9, 5, { isEnded: true }), log(11, undefined))).toEqual([counts, counts, nothing, nothing])
  expect(judge(5, log(3, undefined), log(7, 0))).toEqual([nothing, counts, nothing])
})

it('behind a log without its end nothing counts; where something there was durable it is damage', () => {
  const lost = { kind: 'lost', behind: 10 }
  const damage = { kind: 'damage', path: '5', offset: 10, what: 'the log ends too early' }
  expect(judge(5, log(5, 4), log(7, 5), log(9, 7))).toEqual([counts, lost, lost, nothing])
  expect(judge(5, log(5, 4), log(7, 5), log(9, 7, { durable: 1 }))).toEqual([counts, lost, damage, nothing])
  expect(judge(5, log(5, 4), log(7, 5, { durable: 1 }))).toEqual([counts, damage, nothing])
})

it('a log that is empty, though the next one was begun behind it, is a log without its end', () => {
  const empty = log(5, undefined, { end: 0 })
  expect(judge(5, empty, log(7, 5))).toEqual([nothing, { kind: 'lost', behind: 0 }, nothing])
  expect(judge(5, empty, log(7, 5, { durable: 1 })).at(1)).toEqual({ kind: 'damage', path: '5', offset: 0, what: 'the log ends too early' })
})

it('a log that another names, or that must follow, and that is not there is missed', () => {
  const missing = { kind: 'damage', path: '9', offset: 0, what: 'log 7, which comes before it, is missing' }
  expect(judge(5, log(5, 4, { isEnded: true }), log(9, 7))).toEqual([counts, missing, nothing])
  expect(judge(5, log(9, 7))).toEqual([missing, nothing])
  const last = { kind: 'damage', path: '5', offset: 10, what: 'the log that comes after it is missing' }
  expect(judge(5, log(5, 4, { isEnded: true }))).toEqual([counts, last])
})
