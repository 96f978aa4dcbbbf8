import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { changeConf, changeSimply, enterJoint, isJoint, leaveJoint } from '../../../raft/core/conf-changer.ts'
import { initialConf, Membership } from '../../../raft/core/membership.ts'
import type { ConfState, ConfStep } from '../../../raft/core/types.ts'

const v = (replica: number): ConfStep => ({ type: 'add-voter', replica })
const l = (replica: number): ConfStep => ({ type: 'add-learner', replica })
const r = (replica: number): ConfStep => ({ type: 'remove', replica })

const step = fc.record({
  type: fc.constantFrom('add-voter' as const, 'add-learner' as const, 'remove' as const),
  replica: fc.integer({ min: 0, max: 7 }),
})
const steps = fc.array(step, { minLength: 1, maxLength: 8 })

/** Any configuration that changes lead to. */
const reachable = fc.array(fc.tuple(fc.boolean(), steps), { maxLength: 6 }).map((changes) => {
  let conf = initialConf([1, 2, 3])
  for (const [autoLeave, taken] of changes) {
    const outcome = isJoint(conf) ? leaveJoint(conf) : autoLeave ? changeSimply(conf, taken) : enterJoint(conf, autoLeave, taken)
    if (outcome.ok) conf = outcome.conf
  }
  return conf
})

function must(outcome: ReturnType<typeof changeConf>): ConfState {
  if (!outcome.ok) throw new Error(outcome.reason)
  return outcome.conf
}

describe('a change of the membership', () => {
  it('by auto is simple for one voter and any learners, and joint beyond', () => {
    const three = initialConf([1, 2, 3])
    expect(must(changeConf(three, { transition: 'auto', steps: [v(4), l(5), l(6)] }))).toEqual({
      ...initialConf([1, 2, 3, 4]),
      learners: [5, 6],
    })
    expect(must(changeConf(three, { transition: 'auto', steps: [v(4), r(1)] }))).toEqual({
      voters: [2, 3, 4],
      votersOutgoing: [1, 2, 3],
      learners: [],
      learnersNext: [],
      autoLeave: true,
    })
  })

  it('is joint where that is asked for, also for one voter', () => {
    const three = initialConf([1, 2, 3])
    expect(must(changeConf(three, { transition: 'joint-implicit', steps: [v(4)] }))).toMatchObject({
      votersOutgoing: [1, 2, 3],
      autoLeave: true,
    })
    const explicit = must(changeConf(three, { transition: 'joint-explicit', steps: [l(1)] }))
    expect(explicit).toMatchObject({ voters: [2, 3], votersOutgoing: [1, 2, 3], learnersNext: [1], autoLeave: false })
    expect(must(changeConf(explicit, { transition: 'auto', steps: [] }))).toEqual({ ...initialConf([2, 3]), learners: [1] })
  })

  it('is refused, with the reason, where it cannot be made', () => {
    const three = initialConf([1, 2, 3])
    const joint = must(enterJoint(three, true, [v(4)]))
    expect(changeSimply(three, [v(4), v(5)])).toEqual({ ok: false, reason: 'several-voters' })
    expect(changeSimply(joint, [l(9)])).toEqual({ ok: false, reason: 'joint' })
    expect(enterJoint(joint, true, [])).toEqual({ ok: false, reason: 'joint' })
    expect(enterJoint(initialConf([]), true, [v(1)])).toEqual({ ok: false, reason: 'no-voters' })
    for (const transition of ['auto', 'joint-implicit'] as const) {
      expect(changeConf(three, { transition, steps: [r(1), l(2), r(3)] })).toEqual({ ok: false, reason: 'all-voters-removed' })
    }
    expect(leaveJoint(three)).toEqual({ ok: false, reason: 'not-joint' })
  })

  it('leaves nobody in two places, and no replica without one', () => {
    fc.assert(
      fc.property(reachable, (conf) => {
        const { voters, votersOutgoing, learners, learnersNext } = conf
        for (const list of [voters, votersOutgoing, learners, learnersNext]) {
          expect(list).toEqual([...new Set(list)].sort((a, b) => a - b))
          expect(list).not.toContain(0)
        }
        for (const learner of learners) expect([...voters, ...votersOutgoing]).not.toContain(learner)
        for (const next of learnersNext) {
          expect(votersOutgoing).toContain(next)
          expect([...voters, ...learners]).not.toContain(next)
        }
        expect(voters.length).toBeGreaterThan(0)
        expect(conf.autoLeave && !isJoint(conf)).toBe(false)
      }),
    )
  })

  it('made twice is made once', () => {
    fc.assert(
      fc.property(reachable, steps, (conf, taken) => {
        fc.pre(!isJoint(conf))
        expect(enterJoint(conf, false, [...taken, ...taken])).toEqual(enterJoint(conf, false, taken))
      }),
    )
  })

  it('in one simple step leaves any two quorums before and after a common voter', () => {
    fc.assert(
      fc.property(reachable, steps, fc.uint8Array({ minLength: 9, maxLength: 9 }), (conf, taken, bits) => {
        const outcome = changeConf(conf, { transition: 'auto', steps: taken })
        if (!outcome.ok) return
        // Half of the voters say yes to the one, the others to the other: not both may be a quorum.
        const camp = (yes: boolean) => new Map([...bits].map((bit, replica) => [replica, (bit % 2 === 0) === yes]))
        const before = new Membership(conf).quorum.vote(camp(true))
        const after = new Membership(outcome.conf).quorum.vote(camp(false))
        expect([before, after]).not.toEqual(['won', 'won'])
      }),
      { numRuns: 2000 },
    )
  })
})
