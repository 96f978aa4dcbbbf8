import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Message, MessageType } from '../../../raft/core/types.ts'
import { leader, ofType } from './messages.ts'
import { logOf, TestReplica } from './test-replica.ts'

interface Probing {
  /** Where each rejection said that the logs may agree: [term, index]. */
  readonly hints: [term: number, index: number][]
  /** Behind which entry each Append was sent. */
  readonly probes: number[]
  readonly leader: TestReplica
  readonly follower: TestReplica
}

/** Replica 1 leads with the one log and probes 2, which has the other, until 2 has all. */
function probe(leaderTerms: readonly number[], followerTerms: readonly number[]): Probing {
  const term = Math.max(0, ...leaderTerms, ...followerTerms)
  const chosen = leader({ entries: logOf(...leaderTerms), hardState: { term, vote: 0, commit: 0 } }, [3])
  const follower = new TestReplica(2, { entries: logOf(...followerTerms), hardState: { term, vote: 0, commit: 0 } })
  const result: Probing = { hints: [], probes: [], leader: chosen, follower }
  chosen.raft.reportUnreachable(2)
  let queue: Message[] = chosen.drain().concat(chosen.step(heartbeatAnswer(chosen)))
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    if (next.to === 3) continue
    if (next.type === MessageType.Append) result.probes.push(next.index)
    if (next.type === MessageType.AppendResponse && next.reject) result.hints.push([next.hintTerm, next.hintIndex])
    queue = queue.concat((next.to === 1 ? chosen : follower).step(next))
  }
  return result
}

function heartbeatAnswer({ raft }: TestReplica): Message {
  const answer = new TestReplica(2).step({ ...heartbeat, term: raft.term })
  return ofType(answer, MessageType.HeartbeatResponse)[0] as Message
}

const heartbeat: Message = {
  type: MessageType.Heartbeat,
  from: 1,
  to: 2,
  term: 1,
  index: 0,
  logTerm: 0,
  commit: 0,
  entries: [],
  reject: false,
  hintIndex: 0,
  hintTerm: 0,
  context: 0,
  snapshot: undefined,
  mayWait: false,
}

/** The last entry that both logs have. */
function lastCommon(a: readonly number[], b: readonly number[]): number {
  let index = 0
  while (index < a.length && a[index] === b[index]) index++
  return index
}

describe('what a rejection says, and where the leader goes on (Raft, 5.3)', () => {
  const table: [name: string, leader: number[], follower: number[], hints: [number, number][], probes: number[]][] = [
    // The follower names its last entry of at most the leader's term; the leader steps to its own last of at most that term.
    ['a follower that is only short', [1, 1, 1, 1], [1, 1], [[1, 2]], [4, 2]],
    ['an empty follower', [1, 1, 2], [], [[0, 0]], [3, 0]],
    ['a tail of an older term', [1, 2, 2, 4, 4, 4, 4], [1, 2, 2, 3, 3, 3, 3], [[3, 7]], [7, 3]],
    ['a longer tail of an older term', [1, 2, 2, 4, 4, 4], [1, 2, 2, 3, 3, 3, 3, 3], [[3, 6]], [6, 3]],
    ['a tail of a newer term', [1, 1, 3, 3], [1, 1, 4, 4], [[1, 2]], [4, 2]],
    ['a longer tail of a newer term', [1, 1, 1, 1], [1, 1, 4, 4, 4, 4], [[1, 2]], [4, 2]],
    [
      'terms that alternate',
      [1, 3, 3, 3, 5, 5, 5],
      [1, 2, 2, 4, 4, 4, 6],
      [
        [4, 6],
        [2, 3],
      ],
      [7, 4, 1],
    ],
    ['one entry that both have, many that neither shares', [1, 5, 5, 5, 5, 5], [1, 4, 4, 4, 4, 4], [[4, 6]], [6, 1]],
    ['the leader has more of one term', [1, 1, 2, 2, 2, 2], [1, 1, 2, 2, 3, 3], [[2, 4]], [6, 4]],
    ['the follower has more of one term', [1, 1, 1, 1, 4], [1, 1, 1, 1, 1, 1], [[1, 5]], [5, 4]],
    ['nothing in common', [2, 2, 2], [1, 1, 1], [[1, 3]], [3, 0]],
  ]
  it.each(table)('%s', (_, leaderTerms, followerTerms, hints, probes) => {
    const result = probe(leaderTerms, followerTerms)
    expect(result.hints).toEqual(hints)
    expect(result.probes.slice(0, probes.length)).toEqual(probes)
    expect(result.follower.log.all()).toEqual(result.leader.log.all())
  })

  it('the leader never goes back behind what both have, and needs at most one rejection for each term of either tail', () => {
    // Terms that only one of both has are even for the leader and odd for the follower: an entry of one term and index is the same everywhere.
    const shared = fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 6 })
    const tail = fc.array(fc.integer({ min: 3, max: 6 }), { maxLength: 6 })
    const sorted = (list: readonly number[]) => [...list].sort((a, b) => a - b)
    const logs = fc.tuple(shared, tail, tail, fc.integer({ min: 0, max: 3 }), fc.boolean()).map(([both, mine, theirs, more, isMine]) => {
      const begin = sorted(both)
      const longer = begin.concat(Array(more).fill(begin.at(-1) ?? 1))
      return [
        [...(isMine ? longer : begin), ...sorted(mine.map((term) => term * 2))],
        [...(isMine ? begin : longer), ...sorted(theirs.map((term) => term * 2 + 1))],
      ] as const
    })
    fc.assert(
      fc.property(logs, ([leaderTerms, followerTerms]) => {
        const common = lastCommon(leaderTerms, followerTerms)
        const tails = new Set([...leaderTerms.slice(common), ...followerTerms.slice(common)])
        const { probes, hints, leader: chosen, follower } = probe(leaderTerms, followerTerms)
        for (const index of probes) expect(index).toBeGreaterThanOrEqual(Math.min(common, leaderTerms.length))
        expect(hints.length).toBeLessThanOrEqual(tails.size + 1)
        expect(follower.log.all()).toEqual(chosen.log.all())
      }),
      { numRuns: 500 },
    )
  })
})
