import { describe, expect, it } from 'vitest'
import { decodeRules, encodeRules, firstRules, rulesAfter, wrongRules } from '../../controller/balance-rules.ts'
import { ConfigState } from '../../controller/config-state.ts'
import { ConfigStateMachine, loadConfigStateMachine } from '../../controller/config-state-machine.ts'
import { firstOf } from '../raft/standings.ts'
import { entryAt, formed, joined } from './entries.ts'
import { MemoryDatabase } from './fake-controllers.ts'

const others = { on: true, byLoad: true, bySize: false, above: 2, until: 1.5, sustainMs: 1000, restMs: 2000 }

describe('rules of rebalancing by itself', () => {
  it('are changed where something is said, and stay as they are else', () => {
    const nothing = { on: true, byLoad: false, bySize: false, above: 0, until: 0, sustainMs: 0, restMs: 0 }
    expect(rulesAfter(firstRules, nothing)).toEqual({ ...firstRules, on: true })
    expect(rulesAfter(others, { ...nothing, on: false })).toEqual({ ...others, on: false })
    expect(rulesAfter(others, { ...nothing, bySize: true, above: 3 })).toEqual({ ...others, byLoad: false, bySize: true, above: 3 })
  })

  it('would begin, and end', () => {
    expect(wrongRules(firstRules)).toBeUndefined()
    const wrong = [
      { byLoad: false },
      { above: 1 },
      { above: 101 },
      { above: Number.NaN },
      { until: 0.9 },
      { until: 2 },
      { restMs: 2 ** 30 },
    ]
    for (const more of wrong) expect(wrongRules({ ...others, ...more }), JSON.stringify(more)).toBeDefined()
    expect(() => decodeRules({})).toThrow(RangeError)
    expect(decodeRules(encodeRules(others))).toEqual(others)
  })

  it('are part of the state: kept in its records, off in records of before there were any, and refused where they are none', async () => {
    const database = new MemoryDatabase()
    const machine = new ConfigStateMachine(database, new ConfigState(), firstOf(3), 16)
    machine.apply([entryAt(1, formed())])
    machine.apply([entryAt(2, joined(machine.state, ['g1']))])
    await machine.flush()
    const load = async () => (await loadConfigStateMachine(database, { first: firstOf(3), shardCount: 16 })).state
    expect((await load()).balanceRules).toEqual(firstRules)
    const change = (index: number, autoRebalance: object) =>
      machine.apply([entryAt(index, { kind: 'change', change: { base: 1, autoRebalance } })])
    expect(change(3, { on: true })).toMatchObject([{ outcome: 'refused' }])
    expect(machine.state.balanceRules).toBe(firstRules)
    expect(change(4, encodeRules(others))).toMatchObject([{ outcome: 'applied' }])
    await machine.flush()
    expect((await load()).balanceRules).toEqual(others)
    expect(await load()).toEqual(machine.state)
  })
})
