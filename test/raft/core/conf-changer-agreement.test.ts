import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { must } from '../../../base/assert.ts'
import { type ConfOutcome, type ConfRefusal, changeConf, changeSimply, enterJoint, leaveJoint } from '../../../raft/core/conf-changer.ts'
import { initialConf, Membership } from '../../../raft/core/membership.ts'
import { Quorum } from '../../../raft/core/quorum.ts'
import type { ConfState, ConfStep } from '../../../raft/core/types.ts'
import { renderConf } from '../interaction/render.ts'
import { type Command, parseScript } from '../interaction/script.ts'

const dataFolder = process.env.OSTRAKA_TEST_DATA
const folder = dataFolder === undefined ? undefined : join(dataFolder, 'raft', 'confchange')
const hasData = folder !== undefined && existsSync(folder)

const refusals: Readonly<Record<string, ConfRefusal>> = {
  "can't leave a non-joint config": 'not-joint',
  "can't make a zero-voter config joint": 'no-voters',
  'config is already joint': 'joint',
  "can't apply simple config change in joint config": 'joint',
  'removed all voters': 'all-voters-removed',
  'more than one voter changed without entering joint config': 'several-voters',
}

const stepTypes: Readonly<Record<string, ConfStep['type']>> = { v: 'add-voter', l: 'add-learner', r: 'remove' }

/** `v1 l2 r3 u4`; u is an update of what Raft does not see, and no step. */
function stepsOf({ input }: Command): ConfStep[] {
  const words = input.flatMap((line) => line.split(/\s+/)).filter((word) => !word.startsWith('u'))
  return words.map((word) => ({ type: must(stepTypes[word[0] ?? ''], `a step: ${word}`), replica: Number(word.slice(1)) }))
}

function outcomeOf(conf: ConfState, command: Command): ConfOutcome {
  switch (command.name) {
    case 'simple':
      return changeSimply(conf, stepsOf(command))
    case 'enter-joint':
      return enterJoint(conf, command.options.get('autoleave')?.[0] === 'true', stepsOf(command))
    case 'leave-joint':
      return leaveJoint(conf)
    default:
      throw new Error(`no such command: ${command.text}`)
  }
}

/** `1`, or `1 learner`: whom a leader would track, and as what. */
function tracked(conf: ConfState): string[] {
  const membership = new Membership(conf)
  return membership.replicas.map((replica) => (membership.isVoter(replica) ? `${replica}` : `${replica} learner`))
}

describe.skipIf(!hasData)(
  `conf changes, cases written by others${hasData ? '' : ' (skipped: OSTRAKA_TEST_DATA names no folder with raft/confchange)'}`,
  () => {
    const counts = {
      joint_autoleave: 4,
      joint_idempotency: 3,
      joint_learners_next: 3,
      joint_safety: 15,
      simple_idempotency: 11,
      simple_promote_demote: 7,
      simple_safety: 11,
      update: 3,
      zero: 1,
    }
    for (const [file, count] of Object.entries(counts)) {
      it(`answers all ${count} cases of ${file}`, () => {
        const cases = parseScript(readFileSync(join(folder as string, `${file}.txt`), 'utf8'))
        expect(cases).toHaveLength(count)
        let conf = initialConf([])
        for (const one of cases) {
          const [first = '', ...rest] = one.expected
          const outcome = outcomeOf(conf, one)
          const name = `line ${one.line}`
          if (outcome.ok) {
            conf = outcome.conf
            expect(renderConf(conf), name).toBe(first)
            const rows = rest.map((line) => (line.endsWith(' learner') ? `${line.split(':')[0]} learner` : line.split(':')[0]))
            expect(tracked(conf), name).toEqual(rows)
          } else {
            expect(outcome.reason, name).toBe(must(refusals[first], `a refusal: ${first}`))
          }
        }
      })
    }
  },
)

const replicas = fc.integer({ min: 1, max: 5 })
const someStep: fc.Arbitrary<ConfStep> = fc.record({
  type: fc.constantFrom<ConfStep['type']>('add-voter', 'add-learner', 'remove'),
  replica: replicas,
})
const someSteps = fc.array(someStep, { minLength: 1, maxLength: 6 })
/** Plain: neither joint nor without voters. */
const plainConf: fc.Arbitrary<ConfState> = fc
  .tuple(fc.uniqueArray(replicas, { minLength: 1, maxLength: 4 }), fc.uniqueArray(replicas, { maxLength: 3 }))
  .map(([voters, learners]) => ({
    ...initialConf([...voters].sort()),
    learners: learners.filter((replica) => !voters.includes(replica)).sort(),
  }))

/** All sets of replicas 1 to 5 that are a quorum of `conf`. */
function quorums(conf: ConfState): number[] {
  const quorum = new Quorum(conf)
  const all: number[] = []
  for (let set = 0; set < 32; set++) {
    const votes = new Map([1, 2, 3, 4, 5].map((replica) => [replica, (set & (1 << (replica - 1))) !== 0] as const))
    if (quorum.vote(votes) === 'won') all.push(set)
  }
  return all
}

function overlap(a: ConfState, b: ConfState): boolean {
  const others = quorums(b)
  return quorums(a).every((one) => others.every((other) => (one & other) !== 0))
}

function mustConf(outcome: ConfOutcome): ConfState {
  if (!outcome.ok) throw new Error(outcome.reason)
  return outcome.conf
}

describe('ways to change a configuration', () => {
  it('by a joint one: no two quorums are apart, on the way in and on the way out', () => {
    fc.assert(
      fc.property(plainConf, someSteps, (conf, steps) => {
        const entered = enterJoint(conf, true, steps)
        fc.pre(entered.ok)
        const left = mustConf(leaveJoint(mustConf(entered)))
        expect(overlap(conf, mustConf(entered))).toBe(true)
        expect(overlap(mustConf(entered), left)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  it('agree: a joint configuration, one step, and step by step come to the same', () => {
    fc.assert(
      fc.property(plainConf, someSteps, fc.boolean(), (conf, steps, autoLeave) => {
        const entered = enterJoint(conf, autoLeave, steps)
        const simple = changeSimply(conf, steps)
        expect(entered.ok).toBe(simple.ok || simple.reason === 'several-voters')
        if (!entered.ok) return
        const left = mustConf(leaveJoint(entered.conf))
        if (simple.ok) expect(left).toEqual(simple.conf)
        let single = conf
        for (const step of steps) {
          const outcome = changeSimply(single, [step])
          fc.pre(outcome.ok)
          single = mustConf(outcome)
        }
        expect(left).toEqual(single)
      }),
    )
  })

  it('depend on the last step of each replica only, in whatever order', () => {
    fc.assert(
      fc.property(plainConf, someSteps, (conf, steps) => {
        const last = new Map(steps.map((step) => [step.replica, step]))
        for (const change of [changeSimply, (from: ConfState, list: readonly ConfStep[]) => enterJoint(from, false, list)]) {
          const outcome = change(conf, steps)
          expect(change(conf, [...last.values()].reverse())).toEqual(outcome)
        }
      }),
    )
  })

  it('are chosen: one step where that is safe, else a joint configuration that is left by itself', () => {
    fc.assert(
      fc.property(plainConf, someSteps, (conf, steps) => {
        const simple = changeSimply(conf, steps)
        const expected = simple.ok || simple.reason !== 'several-voters' ? simple : enterJoint(conf, true, steps)
        expect(changeConf(conf, { transition: 'auto', steps })).toEqual(expected)
      }),
    )
  })
})
