import { describe, expect, test } from 'vitest'
import { CoreSpeed, loopMs } from './core-speed.ts'

describe('the speed of an undisturbed core', () => {
  const seeds = (count: number, kind: string, cpuMs: number, ms: number) =>
    Array.from({ length: count }, () => ({ kind, virtualMs: 60_000, cpuMs, loopMs: ms }))

  function speedOf(...all: ReturnType<typeof seeds>[]) {
    const speed = new CoreSpeed()
    for (const seed of all.flat()) speed.add(seed)
    return speed.undisturbed()
  }

  test('counts only seeds between fast loops', () => {
    expect(speedOf(seeds(10, 'cluster', 1500, 10), seeds(10, 'cluster', 2500, 12), seeds(30, 'cluster', 4000, 12.1))).toEqual({
      perSecond: 30,
      seeds: 20,
      bestLoopMs: 10,
    })
  })

  test('gives each kind its share of all seeds, not of the undisturbed ones', () => {
    // 40 seeds of each kind; of the slow kind only a quarter ran undisturbed.
    const slow = [seeds(10, 'moves', 4000, 10), seeds(30, 'moves', 8000, 20)]
    expect(speedOf(seeds(40, 'cluster', 2000, 11), ...slow)).toEqual({ perSecond: 20, seeds: 50, bestLoopMs: 10 })
  })

  test('is not known where a kind was hardly ever undisturbed', () => {
    expect(speedOf(seeds(40, 'cluster', 2000, 10), seeds(9, 'moves', 4000, 10), seeds(30, 'moves', 8000, 20))).toBeUndefined()
    expect(speedOf()).toBeUndefined()
  })

  test('the loop takes time', () => {
    expect(loopMs()).toBeGreaterThan(0)
  })
})
