import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { majorityIndex, majorityVote, Quorum } from '../../../raft/core/quorum.ts'

const dataFolder = process.env.OSTRAKA_TEST_DATA
const folder = dataFolder === undefined ? undefined : join(dataFolder, 'raft', 'quorum')
const hasData = folder !== undefined && existsSync(folder)

interface Case {
  readonly line: string
  readonly command: string
  readonly voters: readonly number[]
  readonly outgoing: readonly number[]
  /** By replica; absent where the file says '_'. */
  readonly values: ReadonlyMap<number, string>
  readonly answer: string
}

function parseCases(content: string): Case[] {
  const cases: Case[] = []
  const lines = content.split('\n')
  for (let i = 0; i < lines.length; i++) {
    if (lines[i + 1] !== '----') continue
    const line = lines[i] as string
    let end = i + 2
    while (end < lines.length && lines[end] !== '') end++
    const list = (name: string) => {
      const found = new RegExp(`\\b${name}=\\(([^)]*)\\)`).exec(line)?.[1] ?? ''
      return found === '' ? [] : found.split(',').map((part) => part.trim())
    }
    const voters = list('cfg').map(Number)
    const outgoing = list('cfgj').map(Number)
    const ids = [...new Set([...voters, ...outgoing])]
    const given = [...list('idx'), ...list('votes')]
    const values = new Map(ids.map((id, at) => [id, given[at] ?? '_'] as const).filter(([, value]) => value !== '_'))
    cases.push({ line, command: line.split(' ')[0] as string, voters, outgoing, values, answer: lines[end - 1] as string })
  }
  return cases
}

function answer({ command, voters, outgoing, values }: Case): string {
  const quorum = new Quorum({ voters, votersOutgoing: outgoing })
  if (command === 'committed') {
    const index = quorum.index((id) => Number(values.get(id) ?? 0))
    return index === Number.POSITIVE_INFINITY ? '∞' : String(index)
  }
  const votes = new Map([...values].map(([id, value]) => [id, value === 'y'] as const))
  return { won: 'VoteWon', lost: 'VoteLost', pending: 'VotePending' }[quorum.vote(votes)]
}

describe.skipIf(!hasData)(
  `quorum arithmetic, cases written by others${hasData ? '' : ' (skipped: OSTRAKA_TEST_DATA names no folder with raft/quorum)'}`,
  () => {
    const counts = { majority_commit: 16, majority_vote: 22, joint_commit: 50, joint_vote: 39 }
    for (const [file, count] of Object.entries(counts)) {
      it(`answers all ${count} cases of ${file}`, () => {
        const cases = parseCases(readFileSync(join(folder as string, `${file}.txt`), 'utf8'))
        expect(cases).toHaveLength(count)
        for (const one of cases) {
          const expected = one.answer.endsWith('∞') ? '∞' : one.answer
          expect(answer(one), `${one.line}`).toBe(expected)
        }
      })
    }
  },
)

const replicas = fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { maxLength: 7 })
const numbers = fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 10, maxLength: 10 })
const ballots = fc.array(fc.constantFrom(true, false, undefined), { minLength: 10, maxLength: 10 })

function votesOf(drawn: readonly (boolean | undefined)[]): Map<number, boolean> {
  return new Map(drawn.flatMap((vote, id) => (vote === undefined ? [] : [[id, vote] as const])))
}

describe('majorities', () => {
  it('reach the largest number that more than half have reached', () => {
    fc.assert(
      fc.property(replicas, numbers, (voters, reached) => {
        const of = (id: number) => reached[id] as number
        const candidates = [0, ...voters.map(of)].filter((index) => voters.filter((id) => of(id) >= index).length * 2 > voters.length)
        const expected = voters.length === 0 ? Number.POSITIVE_INFINITY : Math.max(...candidates)
        expect(majorityIndex(voters, of)).toBe(expected)
      }),
    )
  })

  it('do not depend on the order of the voters', () => {
    fc.assert(
      fc.property(replicas, numbers, ballots, (voters, reached, drawn) => {
        const reversed = [...voters].reverse()
        const of = (id: number) => reached[id] as number
        expect(majorityIndex(reversed, of)).toBe(majorityIndex(voters, of))
        expect(majorityVote(reversed, votesOf(drawn))).toBe(majorityVote(voters, votesOf(drawn)))
      }),
    )
  })

  it('decide a vote when, and only when, the missing votes cannot change it', () => {
    fc.assert(
      fc.property(replicas, ballots, (voters, drawn) => {
        const votes = votesOf(drawn)
        const missing = voters.filter((id) => !votes.has(id))
        const outcome = (rest: boolean) => majorityVote(voters, new Map([...votes, ...missing.map((id) => [id, rest] as const)]))
        const expected = outcome(true) === outcome(false) ? outcome(true) : 'pending'
        expect(majorityVote(voters, votes)).toBe(expected)
      }),
    )
  })
})

describe('joint quorums', () => {
  it('need both halves: the index is the lower one, a vote is lost if one half loses', () => {
    fc.assert(
      fc.property(replicas, replicas, numbers, ballots, (voters, votersOutgoing, reached, drawn) => {
        const joint = new Quorum({ voters, votersOutgoing })
        const of = (id: number) => reached[id] as number
        expect(joint.index(of)).toBe(Math.min(majorityIndex(voters, of), majorityIndex(votersOutgoing, of)))
        const halves = [majorityVote(voters, votesOf(drawn)), majorityVote(votersOutgoing, votesOf(drawn))]
        const expected = halves.includes('lost') ? 'lost' : halves.includes('pending') ? 'pending' : 'won'
        expect(joint.vote(votesOf(drawn))).toBe(expected)
      }),
    )
  })

  it('are plain majorities when the second half is empty or the same', () => {
    fc.assert(
      fc.property(replicas, numbers, ballots, (voters, reached, drawn) => {
        const of = (id: number) => reached[id] as number
        for (const votersOutgoing of [[], voters]) {
          const joint = new Quorum({ voters, votersOutgoing })
          expect(joint.index(of)).toBe(majorityIndex(voters, of))
          expect(joint.vote(votesOf(drawn))).toBe(majorityVote(voters, votesOf(drawn)))
        }
      }),
    )
  })
})
