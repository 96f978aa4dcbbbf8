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

  it('goes on from the largest time that a leader told or that is logged, also while it leads', () => {
    const { clock, time } = makeTime(500)
    time.hear(1, 600)
    time.hear(1, 550)
    expect(time.now()).toBe(600)
    time.run()
    clock.nowMs += 10
    time.logged(900)
    clock.nowMs += 5
    time.logged(700)
    expect(time.now()).toBe(905)
  })

  it('is what the leader says after a quiet time of its own, and what a new leader says, though that is less; never less than what is logged', () => {
    const { clock, time } = makeTime(500)
    time.hear(1, 1000)
    time.run()
    clock.nowMs += 6000
    time.hear(2, 1010)
    expect(time.now()).toBe(1010)
    time.hear(2, 1005)
    expect(time.now()).toBe(1010)
    time.stand()
    time.run()
    clock.nowMs += 300
    time.stand()
    expect(time.now()).toBe(1310)
    time.hear(2, 1020)
    expect(time.now()).toBe(1020)
    time.logged(1100)
    time.hear(3, 1050)
    expect(time.now()).toBe(1100)
  })

  it('a second word of the same office does not set it back', () => {
    const { clock, time } = makeTime()
    time.run()
    clock.nowMs += 50
    time.run()
    expect(time.now()).toBe(50)
  })

  it('whatever happens it is whole, never less than what is logged, and never outruns the time that passed since the newest word', () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('wait' as const), ms: fc.double({ min: 0, max: 100, noNaN: true }), more: fc.constant(0) }),
      fc.record({ do: fc.constant('hear' as const), ms: fc.integer({ min: 0, max: 2000 }), more: fc.integer({ min: 0, max: 1 }) }),
      fc.record({ do: fc.constant('logged' as const), ms: fc.integer({ min: 0, max: 2000 }), more: fc.constant(0) }),
      fc.record({ do: fc.constantFrom('run' as const, 'stand' as const), ms: fc.constant(0), more: fc.constant(0) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { clock, time } = makeTime(100)
        let [term, logged, most] = [1, 100, 100]
        for (const { do: what, ms, more } of steps) {
          if (what === 'wait') {
            clock.nowMs += ms
            most += ms
          } else if (what === 'hear') {
            const isNew = more === 1
            if (isNew) term++
            time.hear(term, ms)
            most = isNew ? Math.max(logged, ms) : Math.max(most, ms)
          } else if (what === 'logged') {
            time.logged(ms)
            logged = Math.max(logged, ms)
            most = Math.max(most, ms)
          } else time[what]()
          const now = time.now()
          expect(Number.isInteger(now)).toBe(true)
          expect(now).toBeGreaterThanOrEqual(logged)
          expect(now).toBeLessThanOrEqual(most + 1e-6)
        }
      }),
    )
  })
})
