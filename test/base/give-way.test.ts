import { describe, expect, it } from 'vitest'
import { GiveWay } from '../../base/give-way.ts'

class Machine {
  nowMs = 0
  /** How long who wakes waits for a processor. */
  lateMs = 0
  readonly rests: number[] = []

  monotonicMs(): number {
    return this.nowMs
  }

  wait(ms: number): void {
    this.rests.push(ms)
    this.nowMs += ms + this.lateMs
  }
}

describe('GiveWay', () => {
  it('rests hardly at all where a processor is free', () => {
    const machine = new Machine()
    const way = new GiveWay(machine)
    for (let i = 0; i < 3; i++) way.rest()
    expect(machine.rests).toEqual([0.1, 0.1, 0.1])
  })

  it('rests for twice as long as it works for as long as it wakes late', () => {
    const machine = new Machine()
    const way = new GiveWay(machine)
    machine.lateMs = 3
    for (let i = 0; i < 3; i++) way.rest()
    machine.lateMs = 0.2
    for (let i = 0; i < 2; i++) way.rest()
    expect(machine.rests).toEqual([0.1, 4, 4, 4, 0.1])
  })
})
