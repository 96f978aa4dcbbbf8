import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { DeadlineWheel } from '../../client/deadline-wheel.ts'
import { Operation, operationKinds } from '../../client/operation.ts'

const none = new Uint8Array(0)

describe('the deadline wheel', () => {
  it('gives each operation within a tick of its deadline, never before', () => {
    const random = new SeededRandom(3)
    const wheel = new DeadlineWheel(1000.5, 10)
    const open = new Set<Operation>()
    let nowMs = 1000.5
    for (let step = 0; step < 3000; step++) {
      for (let i = random.below(4); i > 0; i--) {
        const operation = new Operation(operationKinds.get, 0, none, none, 0, nowMs, nowMs + random.next() * 20_000)
        open.add(operation)
        wheel.add(operation)
      }
      const [some] = open
      if (some !== undefined && random.below(3) === 0) {
        open.delete(some)
        wheel.remove(some)
        wheel.remove(some)
      }
      nowMs += random.below(20) === 0 ? random.next() * 9000 : random.next() * 30
      for (const operation of wheel.due(nowMs)) {
        expect(operation.deadlineMs).toBeLessThanOrEqual(nowMs)
        expect(open.delete(operation)).toBe(true)
        wheel.remove(operation)
      }
      for (const operation of open) expect(operation.deadlineMs, `step ${step}`).toBeGreaterThan(nowMs - 10)
      expect(wheel.size).toBe(open.size)
    }
    expect(new Set(wheel.all())).toEqual(open)
  })
})
