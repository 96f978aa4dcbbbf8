import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { GroupTime } from '../../raft/group-time.ts'

function makeTime(heardMs = 0) {
  const clock = {
    nowMs: 1_000_000.25,
    monotonicMs: () => clock.nowMs,
    wallMs: () => 0,
    setTimer: () => ({ cancel: () => {} }),
    soon: () => {},
  }
  return { clock, time: new GroupTime(clock, heardMs) }
}

describe("a group's time", () => {
  it('stands while this replica does not lead, and runs by its monotonic clock while it does', () => {
    const { clock, time } = makeTime(500)
    clock.nowMs += 10_000
    expect(time.now()).toBe(500)
    time.run()
    clock.nowMs += 70
    expect(time.now()).toBe(570)
    time.stand()
    clock.nowMs += 10_000
    expect(time.now()).toBe(570)
  })

  it('goes on from the largest time heard, also while it leads', () => {
    const { clock, time } = makeTime(500)
    time.hear(400)
    expect(time.now()).toBe(500)
    time.run()
    clock.nowMs += 10
    time.hear(900)
    clock.nowMs += 5
    time.hear(600)
    expect(time.now()).toBe(905)
  })

  it('a second word of the same office does not set it back', () => {
    const { clock, time } = makeTime()
    time.run()
    clock.nowMs += 50
    time.run()
    expect(time.now()).toBe(50)
  })

  it('whatever happens it never goes back, is whole, and never outruns the time that passed and was heard of', () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('wait' as const), ms: fc.double({ min: 0, max: 100, noNaN: true }) }),
      fc.record({ do: fc.constant('hear' as const), ms: fc.integer({ min: 0, max: 2000 }) }),
      fc.record({ do: fc.constantFrom('run' as const, 'stand' as const), ms: fc.constant(0) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { clock, time } = makeTime(100)
        let before = 100
        let most = 100
        for (const { do: what, ms } of steps) {
          if (what === 'wait') {
            clock.nowMs += ms
            most += ms
          } else if (what === 'hear') {
            time.hear(ms)
            most = Math.max(most, ms)
          } else time[what]()
          const now = time.now()
          expect(now).toBeGreaterThanOrEqual(before)
          expect(Number.isInteger(now)).toBe(true)
          expect(now).toBeLessThanOrEqual(most + 1e-6)
          before = now
        }
      }),
    )
  })
})
