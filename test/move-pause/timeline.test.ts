import { describe, expect, it } from 'vitest'
import { Timeline } from './timeline.ts'

function timelineOf(...answers: readonly (readonly [dueMs: number, answeredMs: number])[]): Timeline {
  const timeline = new Timeline()
  for (const [dueMs, answeredMs] of answers) timeline.add(dueMs, answeredMs)
  return timeline
}

describe('the longest time without an answer', () => {
  const timeline = timelineOf([0, 1], [1, 2], [2, 30], [3, 31], [40, 45])

  it('is that between two answers', () => {
    expect(timeline.longestGapMs(0, 31)).toBe(28)
    expect(timeline.longestGapMs(30.5, 45)).toBe(14)
  })

  it('counts whole where it only begins or ends in the window', () => {
    expect(timeline.longestGapMs(10, 12)).toBe(28)
    expect(timeline.longestGapMs(29, 31)).toBe(28)
  })

  it('ends with the window where no answer does', () => {
    expect(timeline.longestGapMs(31, 145)).toBe(100)
    expect(new Timeline().longestGapMs(5, 25)).toBe(20)
  })
})

describe('the longest call', () => {
  it('is counted from when it was due, not from when it was sent', () => {
    expect(timelineOf([0, 1], [2, 30], [40, 45]).longestCallMs(0, 100)).toBe(28)
  })

  it('is one of those answered in the window', () => {
    const timeline = timelineOf([0, 1], [2, 30], [40, 45])
    expect(timeline.longestCallMs(31, 100)).toBe(5)
    expect(timeline.longestCallMs(0, 30)).toBe(1)
    expect(timeline.longestCallMs(50, 100)).toBe(0)
  })
})
