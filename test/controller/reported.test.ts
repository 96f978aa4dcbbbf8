import { expect, it } from 'vitest'
import { Reported } from '../../controller/reported.ts'

const second = 1000

/** For how many seconds the group counts as full from `nowMs` on. */
function fullFor(reported: Reported, nowMs: number): number {
  let seconds = 0
  while (reported.hasNoRoom('g1@1', nowMs + seconds * second)) seconds++
  return seconds
}

it('takes a group for full for a quarter of a minute, and for longer each time it has no room again soon after', () => {
  const reported = new Reported()
  expect(reported.hasNoRoom('g1@1', 0)).toBe(false)
  let nowMs = 0
  for (const seconds of [15, 30, 60, 120, 240, 300, 300]) {
    reported.noteNoRoom('g1@1', nowMs)
    // Of shards that were planned before: no news.
    reported.noteNoRoom('g1@1', nowMs + 5 * second)
    expect(fullFor(reported, nowMs)).toBe(seconds)
    expect(reported.hasNoRoom('g2@2', nowMs)).toBe(false)
    nowMs += (seconds + 3) * second
  }
})

it('begins anew with a group that had room for a while', () => {
  const reported = new Reported()
  reported.noteNoRoom('g1@1', 0)
  reported.noteNoRoom('g1@1', 20 * second)
  expect(fullFor(reported, 20 * second)).toBe(30)
  reported.noteNoRoom('g1@1', 80 * second)
  expect(fullFor(reported, 80 * second)).toBe(15)
})
