import { describe, expect, it } from 'vitest'
import { CorruptionError } from '../../base/errors.ts'
import { alignLog, type OpenedLog } from '../../raft/align-log.ts'

const conf = { voters: [1, 2, 3], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false }

/** A log that begins behind (first - 1) and holds entries of these terms. */
function logOf(
  firstIndex: number,
  terms: readonly number[],
  hardState = { term: 9, vote: 2, commit: 0 },
  termBefore = firstIndex > 1 ? 1 : 0,
) {
  const resets: [number, number][] = []
  const log: OpenedLog = {
    firstIndex,
    lastIndex: firstIndex + terms.length - 1,
    hardState,
    term: (index) => (index === firstIndex - 1 ? termBefore : terms[index - firstIndex]),
    reset: (index, term) => resets.push([index, term]),
  }
  return { log, resets }
}

const at = (index: number, term: number) => ({ index, term, conf })

describe('a log and a state machine, opened', () => {
  it.each([
    ['both are new', 1, [], 0, 0],
    ['the state stands within the log', 1, [1, 1, 2], 2, 1],
    ['the state stands where the log begins', 4, [2, 2], 3, 1],
    ['the state stands at its end', 1, [1, 2], 2, 2],
  ])('are left as they are when %s', (_, first, terms, index, term) => {
    const { log, resets } = logOf(first, terms)
    expect(alignLog(log, at(index, term), 'state')).toEqual(log.hardState)
    expect(resets).toEqual([])
  })

  it.each([
    ['ends before it', [1, 1], 5, 2],
    ['holds another entry there', [1, 1, 1], 3, 2],
  ])('the state machine wins over a log that %s', (_, terms, index, term) => {
    const { log, resets } = logOf(1, terms, { term: 9, vote: 2, commit: 1 })
    expect(alignLog(log, at(index, term), 'state')).toEqual({ term: 9, vote: 2, commit: 1 })
    expect(resets).toEqual([[index, term]])
  })

  it('the term of what is applied counts, though a power loss took it from the log', () => {
    const { log } = logOf(1, [1, 1], { term: 1, vote: 3, commit: 1 })
    expect(alignLog(log, at(4, 5), 'state')).toEqual({ term: 5, vote: 0, commit: 1 })
  })

  it.each([
    ['the state lies before the log', logOf(7, [2, 2]), at(3, 1)],
    ['the state was emptied and the log was truncated', logOf(7, [2, 2]), at(0, 0)],
    ['the log ends before its commit index', logOf(1, [1, 1], { term: 1, vote: 0, commit: 3 }), at(2, 1)],
    ['the log has committed another entry', logOf(1, [1, 1, 1], { term: 1, vote: 0, commit: 3 }), at(2, 2)],
  ])('damage where %s: nothing is discarded', (_, { log, resets }, durable) => {
    expect(() => alignLog(log, durable, 'data/groups/g1@1.1')).toThrow(CorruptionError)
    expect(() => alignLog(log, durable, 'data/groups/g1@1.1')).toThrow('data/groups/g1@1.1')
    expect(resets).toEqual([])
  })
})
