import { describe, expect, it } from 'vitest'
import type { Clock, Timer } from '../../base/clock.ts'
import { YieldingRate } from '../../raft/yielding-rate.ts'

/** Virtual time, in which every timer is as late as the test says. */
class LateClock implements Clock {
  nowMs = 1000
  lateMs = 0
  #timers: { atMs: number; callback: () => void }[] = []

  get timers(): number {
    return this.#timers.length
  }

  monotonicMs(): number {
    return this.nowMs
  }

  wallMs(): number {
    return 0
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = { atMs: this.nowMs + delayMs, callback }
    this.#timers.push(timer)
    return { cancel: () => this.#timers.splice(this.#timers.indexOf(timer), 1) }
  }

  soon(callback: () => void): void {
    this.setTimer(0, callback)
  }

  /** `each` is called for each millisecond. */
  run(ms: number, each: () => void = () => undefined): void {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; ) {
      this.nowMs++
      each()
      const due = this.#timers.filter(({ atMs }) => atMs + this.lateMs <= this.nowMs)
      this.#timers = this.#timers.filter((timer) => !due.includes(timer))
      for (const { callback } of due) callback()
    }
  }
}

const MB = 1_000_000

/** Copies as fast as the rate allows, at most `most`, while `perSecond` requests are served. */
class Copy {
  readonly clock = new LateClock()
  served = 0
  readonly rate: YieldingRate

  constructor(limit: number) {
    this.rate = new YieldingRate(this.clock, { bytesPerSecond: limit, served: () => this.served })
  }

  run(ms: number, { lateMs, requests, most = 100 * MB }: { lateMs: number; requests: boolean; most?: number }): number {
    this.clock.lateMs = lateMs
    this.clock.run(ms, () => {
      if (requests) this.served++
      this.rate.used(Math.min(this.rate.bytesPerSecond, most) / 1000)
    })
    return this.rate.bytesPerSecond
  }
}

describe('a rate that gives way to clients', () => {
  it('falls while they are served and turns are long, not below what brings a copy to its end, and rises again', () => {
    const copy = new Copy(Number.POSITIVE_INFINITY)
    expect(copy.run(2000, { lateMs: 1, requests: true })).toBe(Number.POSITIVE_INFINITY)
    const fallen = copy.run(400, { lateMs: 20, requests: true })
    expect(fallen).toBeGreaterThanOrEqual(32 * MB)
    expect(fallen).toBeLessThanOrEqual(50 * MB)
    expect(copy.run(10_000, { lateMs: 20, requests: true })).toBe(32 * MB)
    const rising = copy.run(3000, { lateMs: 1, requests: true })
    expect(rising).toBeGreaterThan(64 * MB)
    expect(rising).toBeLessThan(800 * MB)
    expect(copy.run(20_000, { lateMs: 1, requests: true })).toBe(Number.POSITIVE_INFINITY)
  })

  it('stays where nobody is served, however long the turns', () => {
    const copy = new Copy(Number.POSITIVE_INFINITY)
    expect(copy.run(5000, { lateMs: 50, requests: false })).toBe(Number.POSITIVE_INFINITY)
  })

  it('keeps to its limit, and to a tenth of it at least', () => {
    const copy = new Copy(400 * MB)
    expect(copy.run(2000, { lateMs: 1, requests: true, most: 400 * MB })).toBe(400 * MB)
    expect(copy.run(10_000, { lateMs: 20, requests: true, most: 400 * MB })).toBe(40 * MB)
    expect(copy.run(20_000, { lateMs: 1, requests: true, most: 400 * MB })).toBe(400 * MB)
    const slow = new Copy(5000)
    expect(slow.run(5000, { lateMs: 20, requests: true })).toBe(5000)
  })

  it('does not answer for turns that are long while nothing is copied', () => {
    const copy = new Copy(80 * MB)
    copy.run(500, { lateMs: 1, requests: true })
    copy.clock.lateMs = 50
    copy.clock.run(900, () => copy.served++)
    expect(copy.rate.bytesPerSecond).toBeGreaterThan(36 * MB)
  })

  it('watches nothing once the copies are over and it is whole again', () => {
    const copy = new Copy(80 * MB)
    copy.run(1000, { lateMs: 20, requests: true })
    expect(copy.clock.timers).toBe(1)
    copy.clock.lateMs = 0
    copy.clock.run(30_000)
    expect([copy.clock.timers, copy.rate.bytesPerSecond]).toEqual([0, 80 * MB])
  })
})
