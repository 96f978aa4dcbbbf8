import { createRequire } from 'node:module'
import { describe, expect, it, vi } from 'vitest'
import { checkLeave } from '../../controller/admin-checks.ts'
import { ChangeQueue } from '../../controller/change-queue.ts'
import { computeJoin, groupsMax } from '../../controller/join.ts'
import type { LeaderView, Outcome } from '../../controller/leader-view.ts'
import { computeLeave } from '../../controller/leave.ts'
import { computeRebalance } from '../../controller/move.ts'
import { type PlacementInput, place, placing } from '../../controller/placement.ts'
import type { Proposals } from '../../controller/proposals.ts'
import { quantum, type Slices, toEnd } from '../../controller/slices.ts'
import { joinOf, Lab } from './lab.ts'

const shardCount = 16_384
/** What may come between two yields beside the quantum: all groups or shards looked at once, plainly. */
const pieceMax = quantum + shardCount

/** Steps of each piece, and how many hashes were made in the one that made most: hashes cost most, and are counted from outside. */
function measure<T>(slices: Slices<T>) {
  const crypto = createRequire(import.meta.url)('node:crypto') as typeof import('node:crypto')
  const hashing = vi.spyOn(crypto, 'createHash')
  const pieces: number[] = []
  let hashesMax = 0
  try {
    for (;;) {
      hashing.mockClear()
      const next = slices.next()
      hashesMax = Math.max(hashesMax, hashing.mock.calls.length)
      if (next.done) return { value: next.value, pieces, hashesMax }
      pieces.push(next.value)
    }
  } finally {
    hashing.mockRestore()
  }
}

const named = (count: number) => Array.from({ length: count }, (_, at) => ({ name: `g${at + 1}`, weight: 1 }))

describe('placement in slices', () => {
  it('of 16,384 shards over 1,000 groups, a join and a leave: never more between two yields than a small piece', () => {
    let current: readonly (string | undefined)[] = Array.from({ length: shardCount }, () => undefined)
    for (const count of [1000, 1001, 1000]) {
      const input: PlacementInput = { shardCount, groups: named(count), current, pins: new Map() }
      const { value, pieces, hashesMax } = measure(placing(input))
      expect(value).toEqual(place(input))
      expect(value.moves.length).toBe(current[0] === undefined ? shardCount : 16)
      expect(Math.max(...pieces)).toBeLessThan(2 * quantum)
      expect(hashesMax).toBeLessThan(500)
      expect(pieces.reduce((sum, steps) => sum + steps, 0)).toBeGreaterThan(2 * shardCount)
      current = value.owners
    }
  })

  it('of groups of which one is to have nearly all: shards walk far for it, in small pieces too', () => {
    const groups = named(1000).map((group, at) => ({ ...group, weight: at === 500 ? 1000 : 1 }))
    const current = Array.from({ length: shardCount }, () => undefined)
    const { value, pieces, hashesMax } = measure(placing({ shardCount, groups, current, pins: new Map() }))
    expect(value.owners.filter((owner) => owner === 'g501').length).toBeGreaterThan(8000)
    expect(Math.max(...pieces)).toBeLessThan(pieceMax)
    expect(hashesMax).toBeLessThan(500)
  })

  it('changes that place shards give way as well: a join, a rebalance, a leave', () => {
    const lab = new Lab(shardCount)
    lab.join(Array.from({ length: 200 }, (_, at) => `g${at + 1}`))
    const computations: Slices<Outcome>[] = [
      computeJoin(lab.view, joinOf(Array.from({ length: 200 }, (_, at) => `h${at + 1}`))),
      computeRebalance(lab.view, { author: '', requestId: new Uint8Array(0), base: 0, baseMigrations: 0 }),
      computeLeave(lab.view, checkLeave({ group: 'g7' })),
    ]
    for (const computation of computations) {
      const { pieces, hashesMax } = measure(computation)
      expect(pieces.length).toBeGreaterThan(10)
      expect(Math.max(...pieces)).toBeLessThan(pieceMax)
      expect(hashesMax).toBeLessThan(500)
    }
  })

  it(`${groupsMax} groups is the limit`, () => {
    const lab = new Lab(16)
    const names = Array.from({ length: groupsMax }, (_, at) => `g${at + 1}`)
    for (let at = 0; at < groupsMax; at += 256) lab.join(names.slice(at, at + 256))
    expect(lab.config.groups.length).toBe(groupsMax)
    expect(() => lab.join(['one-more'])).toThrow(`a cluster has at most ${groupsMax} groups`)
  })
})

/** A queue over a lab's state; time passes only between its slices. */
function queueOf(lab: Lab) {
  let nowMs = 0
  const between: (() => void)[] = []
  const proposed: unknown[] = []
  const proposals = {
    propose: async (entry: unknown) => {
      proposed.push(entry)
      return { outcome: 'applied', configNumber: 0 }
    },
  } as unknown as Proposals
  const queue = new ChangeQueue({
    clock: {
      // Each look at it takes half a slice.
      monotonicMs: () => (nowMs += 2.5),
      soon: (callback) => {
        between.shift()?.()
        queueMicrotask(callback)
      },
    },
    proposals,
    read: async () => lab.view,
    answered: () => undefined,
  })
  return { queue, between, proposed }
}

describe('a change computed in slices', () => {
  const waiting = { hint: () => '', waitingMax: 10 }

  it('is computed anew where the config or a migration changed between two slices', async () => {
    const lab = new Lab(1024)
    lab.join(['g1', 'g2'])
    const { queue, between, proposed } = queueOf(lab)
    const seen: number[] = []
    const compute = function* (view: LeaderView): Slices<Outcome> {
      seen.push(view.state.config?.number ?? 0)
      return yield* computeJoin(view, joinOf(['g3']))
    }
    between.push(
      () => {},
      () => lab.move(5, 'g1'),
      () => {},
      () => lab.steer(lab.open()[0]?.shards[0] ?? 0, 'pause'),
    )
    const moved = lab.config.groupOf(5)?.name === 'g1' ? 'g2' : 'g1'
    between[1] = () => lab.move(5, moved)
    await queue.submit(compute, waiting)
    expect(seen).toEqual([2, 3, 3])
    expect(proposed).toEqual([{ kind: 'change', change: expect.objectContaining({ base: 3 }) }])
  })

  it('comes to the same as in one go', async () => {
    const lab = new Lab(1024)
    lab.join(['g1', 'g2'])
    const { queue, proposed } = queueOf(lab)
    const asked = await queue.ask(
      (view) => computeJoin(view, joinOf(['g3'])),
      () => '',
      (_, outcome) => outcome,
    )
    expect(asked).toEqual(toEnd(computeJoin(lab.view, joinOf(['g3']))))
    expect(proposed).toEqual([])
  })
})
