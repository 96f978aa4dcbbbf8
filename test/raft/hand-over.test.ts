import { expect, it } from 'vitest'
import type { ProgressStatus } from '../../raft/core/types.ts'
import { heirs } from '../../raft/hand-over.ts'

const minuteMs = 60_000

/** The followers of replica 1, in the order in which Raft would take them. */
function leader(...followers: Partial<ProgressStatus>[]) {
  const progress = followers.map((follower, i) => ({
    replica: i + 2,
    learner: false,
    state: 'replicate' as const,
    match: 100,
    next: 101,
    inflightBytes: 0,
    pendingSnapshot: 0,
    active: true,
    ...follower,
  }))
  return { progress: () => progress, successors: () => progress.map(({ replica }) => replica) }
}

/** `ms[0]` is how long the node of replica 2 has been connected. */
const connected =
  (...ms: (number | undefined)[]) =>
  (replica: number) =>
    ms[replica - 2]

it('takes the one first whose process has run for longest, up to a minute', () => {
  expect(heirs(leader({}, {}), connected(5000, minuteMs))).toEqual([3, 2])
  expect(heirs(leader({}, {}), connected(minuteMs, 5000))).toEqual([2, 3])
})

it('leaves those as Raft would take them that have run for a minute, however much longer one has', () => {
  expect(heirs(leader({}, {}), connected(minuteMs, 100 * minuteMs))).toEqual([2, 3])
})

it.each<[string, Partial<ProgressStatus>]>([
  ['has much on its way to it', { inflightBytes: 1 << 20 }],
  ['is being probed', { state: 'probe' }],
  ['takes a snapshot', { state: 'snapshot', pendingSnapshot: 90 }],
  ['was not heard from', { active: false }],
])('takes a process just started before one that %s', (_what, far) => {
  expect(heirs(leader({}, far), connected(5, 100 * minuteMs))).toEqual([2, 3])
})

it('leaves those out that nothing can be sent to', () => {
  expect(heirs(leader({}, {}, {}), connected(undefined, 7, undefined))).toEqual([3])
  expect(heirs(leader({}), connected(undefined))).toEqual([])
})
