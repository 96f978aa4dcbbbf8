import { describe, expect, it } from 'vitest'
import type { Member, MemberState } from '../../proto/config.ts'
import type { ProgressStatus } from '../../raft/core/types.ts'
import { CatchUp, type MemberStep, nextMemberStep } from '../../raft/member-step.ts'
import { replicaToHold } from '../../shardserver/replica-to-hold.ts'

/** '1 2 3+ 4-': 3 is joining, 4 is leaving; '4-@n1': on node n1. */
function members(text: string): Member[] {
  return text.split(' ').map((word) => {
    const [, replica, sign, node] = /^(\d+)([+-]?)(?:@(\w+))?$/.exec(word) ?? []
    const state: MemberState = sign === '+' ? 'joining' : sign === '-' ? 'leaving' : 'voter'
    return { replica: Number(replica), node: node ?? `n${replica}`, state }
  })
}

function numbers(text: string | undefined): number[] {
  return (text ?? '').split(' ').filter(Boolean).map(Number)
}

interface Given {
  /** 'voters / learners & outgoing voters'. */
  readonly log: string
  readonly config: string
  readonly self?: number
  readonly caughtUp?: string
  readonly successors?: string
  readonly configNumber?: number
  readonly held?: boolean
}

function step({ log, config, self = 1, caughtUp, successors, configNumber = 9, held = true }: Given): string {
  const [now = '', outgoing] = log.split(' & ')
  const [voters, learners] = now.split('/')
  const conf = {
    voters: numbers(voters),
    votersOutgoing: numbers(outgoing),
    learners: numbers(learners),
    learnersNext: [],
    autoLeave: outgoing !== undefined,
  }
  const next: MemberStep = nextMemberStep({
    self,
    wanted: members(config),
    configNumber,
    members: { conf, nodes: new Map(), changedAt: 7, configNumber: 9 },
    caughtUp: new Set(numbers(caughtUp)),
    successors: numbers(successors),
    held,
  })
  if (next.kind === 'change') return next.steps.map(({ type, replica }) => `${type} ${replica}`).join(', ')
  return next.kind === 'hand-over' ? `hand-over ${next.to}` : next.kind
}

describe('the next step of a change of members', () => {
  const cases: [string, Given, string][] = [
    ['nothing is to change', { log: '1 2 3', config: '1 2 3' }, 'nothing'],
    ['one joins', { log: '1 2 3', config: '1 2 3 4+' }, 'add-learner 4'],
    ['several join', { log: '1 2 3', config: '1 2 3 4+ 5+' }, 'add-learner 4, add-learner 5'],
    ['it learns', { log: '1 2 3 / 4', config: '1 2 3 4+' }, 'wait'],
    ['one of two has caught up', { log: '1 2 3 / 4 5', config: '1 2 3 4+ 5+', caughtUp: '4' }, 'wait'],
    ['it has caught up', { log: '1 2 3 / 4', config: '1 2 3 4+', caughtUp: '4' }, 'add-voter 4'],
    ['it votes', { log: '1 2 3 4', config: '1 2 3 4+' }, 'report'],
    ['one leaves', { log: '1 2 3', config: '1 2 3-' }, 'remove 3'],
    ['it has left', { log: '1 2', config: '1 2 3-' }, 'report'],
    ['not before a crash cannot take it back', { log: '1 2', config: '1 2 3-', held: false }, 'hold'],
    ['one is replaced', { log: '1 2 3', config: '1 2 3- 4+' }, 'add-learner 4'],
    ['the one that comes has not caught up: nobody leaves', { log: '1 2 3 / 4', config: '1 2 3- 4+' }, 'wait'],
    ['both in one change', { log: '1 2 3 / 4', config: '1 2 3- 4+', caughtUp: '4' }, 'add-voter 4, remove 3'],
    ['the change is half done', { log: '1 2 4 & 1 2 3', config: '1 2 3- 4+' }, 'wait'],
    ['the change is done', { log: '1 2 4', config: '1 2 3- 4+' }, 'report'],
    ['the leader leaves', { log: '1 2 3', config: '1- 2 3', successors: '3 2' }, 'hand-over 3'],
    ['not to one that leaves too', { log: '1 2 3 / 4 5', config: '1- 2 3- 4+ 5+', caughtUp: '4 5', successors: '3 2' }, 'hand-over 2'],
    ['nobody can take over', { log: '1 2 3', config: '1- 2 3' }, 'wait'],
    [
      'all that vote leave: who comes votes first',
      { log: '1 2 / 4 5', config: '1- 2- 4+ 5+', caughtUp: '4 5', successors: '2' },
      'add-voter 4, add-voter 5',
    ],
    ['then one of them can take over', { log: '1 2 4 5', config: '1- 2- 4+ 5+', successors: '2 5 4' }, 'hand-over 5'],
    ['and lets them go', { log: '1 2 4 5', config: '1- 2- 4+ 5+', self: 5, successors: '4 2 1' }, 'remove 1, remove 2'],
    ['the only one is replaced', { log: '1 / 4', config: '1- 4+', caughtUp: '4' }, 'add-voter 4'],
    ['first the learner, then the office', { log: '1 2 3', config: '1- 2 3 4+', successors: '3 2' }, 'add-learner 4'],
    ['one that learnt is wanted no more', { log: '1 2 3 / 4', config: '1 2 3 4-' }, 'remove 4'],
    ['the config does not know one that the log has', { log: '1 2 3 / 4', config: '1 2 3' }, 'remove 4'],
    ['in place: first the learner', { log: '1 2 3', config: '1 2 3-@n3 4+@n3' }, 'add-learner 4'],
    ['in place: the old one goes before the new one can come', { log: '1 2 3 / 4', config: '1 2 3-@n3 4+@n3' }, 'remove 3'],
    ['in place: who leads there hands over first', { log: '1 2 3 / 4', config: '1-@n1 2 3 4+@n1', successors: '3 2' }, 'hand-over 3'],
    ['in place: the node has to know that the old one is out', { log: '1 2 / 4', config: '1 2 3-@n3 4+@n3' }, 'report'],
    ['in place: not before a crash cannot take it back', { log: '1 2 / 4', config: '1 2 3-@n3 4+@n3', held: false }, 'hold'],
    ['in place: then it learns', { log: '1 2 / 4', config: '1 2 4+@n3' }, 'wait'],
    ['in place: only who is in the way', { log: '1 2 3 / 4 5', config: '1 2-@n2 3-@n3 4+@n3 5+@n5', caughtUp: '5' }, 'remove 3'],
    ['the config is older than what was done last', { log: '1 2 4', config: '1 2 3 5+', configNumber: 8 }, 'nothing'],
  ]
  it.each(cases)('%s', (_, given, expected) => {
    expect(step(given)).toBe(expected)
  })
})

describe('a learner has caught up', () => {
  const at = (match: number, active = true): ProgressStatus[] => [
    { replica: 4, learner: true, state: 'replicate', match, next: match + 1, inflightBytes: 0, pendingSnapshot: 0, active },
    { replica: 2, learner: false, state: 'replicate', match: 1000, next: 1001, inflightBytes: 0, pendingSnapshot: 0, active: true },
  ]

  it('when it is where the leader was at most so long ago', () => {
    const catchUp = new CatchUp(100)
    expect([...catchUp.look(0, 50, at(40))]).toEqual([])
    expect([...catchUp.look(60, 90, at(50))]).toEqual([4])
    expect([...catchUp.look(120, 130, at(89))]).toEqual([])
    expect([...catchUp.look(150, 160, at(90))]).toEqual([4])
    expect([...catchUp.look(900, 160, at(159))]).toEqual([])
    expect([...catchUp.look(901, 160, at(160))]).toEqual([4])
  })

  it('but not when it was not heard of', () => {
    expect([...new CatchUp(100).look(0, 50, at(50, false))]).toEqual([])
  })
})

describe('the replica that a node is to hold', () => {
  const cases: [string, string, number | undefined, string, number | undefined][] = [
    ['its only member', '3', undefined, '', 3],
    ['what was started', '3', 3, '', 3],
    ['what was started and leaves, until it is removed', '3- 7+', 3, '', 3],
    ['not another while what was started is not removed', '7+', 3, '', undefined],
    ['the one that joins, where the one that leaves was lost', '3- 7+', undefined, '3', 7],
    ['the one that joins, where nothing is here of the one that leaves', '3- 7+', undefined, '', 7],
    ['one that leaves and was never begun: it votes until then', '3-', undefined, '', 3],
    ['none, where its number is lost', '3', undefined, '3', undefined],
  ]
  it.each(cases)('%s', (_, text, started, lost, expected) => {
    expect(replicaToHold(members(text), started, (replica) => numbers(lost).includes(replica))).toBe(expected)
  })
})
