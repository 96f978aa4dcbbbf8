import { beforeEach, describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { type Logger, silentLogger } from '../../base/logger.ts'
import type { Member } from '../../proto/config.ts'
import { Memberships, type MembershipsOptions, type MembersReport } from '../../raft/memberships.ts'
import type { ProposalOutcome } from '../../raft/state-machine.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'
import { firstOf } from './standings.ts'

const group = 'g1@1'
const electionTimeoutMs = 400
const lookMs = electionTimeoutMs / 4
/** Replica 4 was to leave, and is out. */
const wanted: readonly Member[] = [
  { replica: 1, node: 'n1', state: 'voter' },
  { replica: 2, node: 'n2', state: 'voter' },
  { replica: 3, node: 'n3', state: 'voter' },
  { replica: 4, node: 'n4', state: 'leaving' },
]

type Led = ReturnType<MembershipsOptions['hosted']>[number]['replica']

/** The leader of a group whose members are what is wanted; its proposals are answered by the test. */
class Leader implements Led {
  readonly group = group
  readonly replica = 1
  role: Led['role'] = 'leader'
  members = { ...firstOf(3), changedAt: 7, configNumber: 5 }
  readonly log = { lastIndex: 9 } as Led['log']
  readonly proposed: ((outcome: ProposalOutcome<unknown>) => void)[] = []

  progress(): ReturnType<Led['progress']> {
    return []
  }

  successors(): readonly number[] {
    return [2, 3]
  }

  propose(data: Uint8Array, done: (outcome: ProposalOutcome<unknown>) => void): void {
    expect(data).toHaveLength(0)
    this.proposed.push(done)
  }

  changeMembers(): void {
    throw new Error('no member is to change')
  }

  transferLeadership(): void {
    throw new Error('nobody is to take over')
  }

  /** Answers the newest proposal. */
  answer(outcome: ProposalOutcome<unknown>): void {
    must(this.proposed.at(-1), 'a proposal')(outcome)
  }
}

const refused: ProposalOutcome<unknown> = { kind: 'refused', reason: 'overloaded', leader: 1 }
const lost: ProposalOutcome<unknown> = { kind: 'lost' }
const applied: ProposalOutcome<unknown> = { kind: 'applied', index: 10, result: undefined }

describe('an entry that holds a change of members', () => {
  let world: World
  let leader: Leader
  let memberships: Memberships
  let reports: MembersReport[]
  let lines: { readonly fields: object; readonly message: string }[]

  beforeEach(() => {
    world = new World({ seed: 1 })
    const { clock } = new SimProcess(world, { name: 'n1', network: new SimNetwork(world) })
    leader = new Leader()
    reports = []
    lines = []
    const logger: Logger = { ...silentLogger, info: (fields, message) => lines.push({ fields, message }) }
    memberships = new Memberships({
      clock,
      logger,
      electionTimeoutMs,
      wanted: () => ({ members: wanted, number: 6 }),
      report: async (report) => reports.push(report),
      hosted: () => [{ replica: leader }],
      onFatal: (error) => world.fail(error),
    })
    memberships.check()
    expect([leader.proposed.length, reports]).toEqual([1, []])
  })

  it('is applied: the change is reported, once, and nothing else is proposed', async () => {
    leader.answer(applied)
    await world.runFor(lookMs)
    expect(reports).toEqual([{ group, index: 7, voters: [1, 2, 3], learners: [] }])
    expect(leader.proposed).toHaveLength(1)
  })

  it('is under way: nothing else is proposed, however often who is to be a member is looked at', async () => {
    for (let i = 0; i < 5; i++) {
      memberships.check()
      await world.runFor(lookMs)
    }
    expect([leader.proposed.length, reports]).toEqual([1, []])
  })

  it('is refused: nothing is reported; it is proposed again after a while, not at once', async () => {
    leader.answer(refused)
    await world.runFor(lookMs - 1)
    expect([leader.proposed.length, reports]).toEqual([1, []])
    await world.runFor(2)
    expect([leader.proposed.length, reports]).toEqual([2, []])
    leader.answer(applied)
    await world.runFor(lookMs)
    expect(reports).toHaveLength(1)
  })

  it('is lost, and this replica leads again: nothing is reported; it is proposed again, and only one that is applied counts', async () => {
    for (let times = 2; times <= 4; times++) {
      leader.answer(lost)
      await world.runFor(1)
      expect([leader.proposed.length, reports]).toEqual([times, []])
    }
    leader.answer(applied)
    await world.runFor(lookMs)
    expect(reports).toHaveLength(1)
  })

  it('is lost with the office: nothing is proposed or reported here until this replica leads again', async () => {
    leader.role = 'follower'
    memberships.check()
    leader.answer(lost)
    await world.runFor(10 * electionTimeoutMs)
    expect([leader.proposed.length, reports]).toEqual([1, []])
    leader.role = 'leader'
    memberships.check()
    expect([leader.proposed.length, reports]).toEqual([2, []])
  })

  it('is applied when the members have changed once more: that change needs one of its own', async () => {
    leader.members = { ...leader.members, changedAt: 10 }
    leader.answer(applied)
    await world.runFor(1)
    expect([leader.proposed.length, reports]).toEqual([2, []])
    leader.answer(applied)
    await world.runFor(lookMs)
    expect(reports).toMatchObject([{ index: 10 }])
  })

  it('is told of in the log when it begins, and how it ended', async () => {
    expect(lines).toMatchObject([
      { fields: { group, changedAt: 7 }, message: expect.stringContaining('an entry is proposed behind a change of members') },
    ])
    leader.answer(lost)
    await world.runFor(1)
    expect(lines[1]).toMatchObject({ fields: { group, step: { kind: 'hold' }, outcome: lost } })
    expect(lines[2]).toMatchObject({ fields: { group, changedAt: 7 } })
  })
})
