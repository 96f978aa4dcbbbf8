import { describe, expect, it } from 'vitest'
import { Arrivals } from '../../../shardserver/arrivals.ts'
import { SimNetwork } from '../../sim/sim-network.ts'
import { SimProcess } from '../../sim/sim-process.ts'
import { World } from '../../sim/world.ts'

const group = 'g1@1'

function setUp() {
  const world = new World({ seed: 1 })
  const { clock } = new SimProcess(world, { name: 'n1', network: new SimNetwork(world) })
  return { world, clock }
}

describe('calls that come before their shards', () => {
  it('go on as soon as theirs is served, and not before', async () => {
    const { world, clock } = setUp()
    const arrivals = new Arrivals(clock)
    const gone: number[] = []
    const early = new Set([3, 5])
    arrivals.changed(group, true)
    expect(arrivals.isImporting(group)).toBe(true)
    expect(arrivals.isImporting('g2@1')).toBe(false)
    for (const shard of [3, 5]) {
      const isEarly = () => early.has(shard)
      expect(arrivals.maybeWait(group, isEarly, false, () => gone.push(shard))).toBe(true)
    }
    early.delete(5)
    arrivals.changed(group, true)
    expect(gone).toEqual([5])
    early.delete(3)
    arrivals.changed(group, false)
    expect(gone).toEqual([5, 3])
    expect(arrivals.isImporting(group)).toBe(false)
    await world.runFor(2000)
    expect(gone).toEqual([5, 3])
  })

  it('wait half a second at most, and so many at most', async () => {
    const { world, clock } = setUp()
    const arrivals = new Arrivals(clock)
    let gone = 0
    const wait = () =>
      arrivals.maybeWait(
        group,
        () => true,
        false,
        () => gone++,
      )
    for (let i = 0; i < 4096; i++) expect(wait()).toBe(true)
    expect(wait()).toBe(false)
    await world.runFor(400)
    expect(gone).toBe(0)
    await world.runFor(200)
    expect(gone).toBe(4096)
    expect(wait()).toBe(true)
  })
})

describe('calls for several shards, of which some are not here yet', () => {
  it('wait as long as a move takes, and no more where that was in vain, until something changes', async () => {
    const { world, clock } = setUp()
    const arrivals = new Arrivals(clock)
    const gone: string[] = []
    const wait = (name: string, isMixed: boolean) =>
      arrivals.maybeWait(
        group,
        () => true,
        isMixed,
        () => gone.push(name),
      )
    arrivals.changed(group, true)
    expect([wait('mixed', true), wait('early', false)]).toEqual([true, true])
    await world.runFor(20)
    expect(gone).toEqual([])
    await world.runFor(10)
    expect(gone).toEqual(['mixed'])
    expect([wait('mixed again', true), wait('early again', false)]).toEqual([false, true])
    arrivals.changed(group, true)
    expect(wait('after a change', true)).toBe(true)
    await world.runFor(600)
    expect(gone).toEqual(['mixed', 'after a change', 'early', 'early again'])
  })
})
