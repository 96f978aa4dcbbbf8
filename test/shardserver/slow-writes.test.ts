import { describe, expect, it } from 'vitest'
import { SlowWrites } from '../../shardserver/slow-writes.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'

const group = 'g1@1'
/** With it 75 bytes a millisecond pass. */
const replayRate = 100_000

function setUp() {
  const world = new World({ seed: 1 })
  const { clock } = new SimProcess(world, { name: 'n1', network: new SimNetwork(world) })
  const writes = new SlowWrites(clock)
  const left: string[] = []
  const refused: number[] = []
  const pass = (name: string, shards: readonly number[], bytes = 750, to = group) => {
    const commands = shards.map((shard) => ({ shard }))
    writes.pass(to, { commands, bytes, run: () => left.push(name), refuse: (waitMs) => refused.push(waitMs) })
  }
  const slow = (migration: number, shards: readonly number[], rate = replayRate) =>
    writes.slow(group, { migration, shards, replayRate: rate })
  return { world, writes, left, refused, pass, slow }
}

describe('writes to a shard whose new group does not keep up', () => {
  it('leave below the rate at which that replays, in their order; others at once', async () => {
    const { world, left, pass, slow } = setUp()
    slow(1, [3])
    for (const name of ['a', 'b', 'c']) pass(name, [3])
    pass('other shard', [4])
    pass('other group', [3], 750, 'g2@1')
    expect(left).toEqual(['a', 'other shard', 'other group'])
    await world.runFor(9)
    expect(left).toHaveLength(3)
    await world.runFor(2)
    expect(left).toEqual(['a', 'other shard', 'other group', 'b'])
    await world.runFor(10)
    expect(left.at(-1)).toBe('c')
    await world.runFor(1000)
    pass('d', [3])
    expect(left.at(-1)).toBe('d')
  })

  it('never are more than it replays, however many come: who would wait for long is refused, with how long', async () => {
    const { world, left, refused, pass, slow } = setUp()
    for (let ms = 0; ms < 10_000; ms++) {
      if (ms % 1000 === 0) slow(1, [3])
      pass(`${ms}`, [3])
      await world.runFor(1)
    }
    expect(left.length * 750).toBeLessThanOrEqual(75 * 10_000 + 750)
    expect(left.length * 750).toBeGreaterThan(75 * 10_000 * 0.9)
    expect(refused.length).toBeGreaterThan(8000)
    expect(Math.min(...refused)).toBeGreaterThan(2000)
    expect(left).toEqual([...left].sort((a, b) => Number(a) - Number(b)))
  })

  it('count by their part of a batch', async () => {
    const { world, left, pass, slow } = setUp()
    slow(1, [3])
    pass('a', [3, 4, 4, 4, 4, 4, 4, 4, 4, 4])
    pass('b', [3])
    await world.runFor(2)
    expect(left).toEqual(['a', 'b'])
  })

  it('are free some seconds after the target has last asked, each migration for itself', async () => {
    const { world, left, pass, slow } = setUp()
    slow(1, [3])
    slow(2, [5])
    for (let second = 0; second < 6; second++) {
      await world.runFor(1000)
      slow(2, [5])
    }
    for (const name of ['a', 'b']) pass(name, [3])
    for (const name of ['c', 'd']) pass(name, [5])
    expect(left).toEqual(['a', 'b', 'c'])
    await world.runFor(11)
    expect(left.at(-1)).toBe('d')
  })

  it('leave at once when the target asks no more while they wait', async () => {
    const { world, left, pass, slow } = setUp()
    slow(1, [3], 10)
    await world.runFor(4500)
    for (const name of ['a', 'b']) pass(name, [3], 10)
    await world.runFor(400)
    expect(left).toEqual(['a'])
    await world.runFor(200)
    expect(left).toEqual(['a', 'b'])
  })

  it.each(['keeps up', 'ended'])('leave at once when the migration %s, and in their order', async (why) => {
    const { world, writes, left, pass, slow } = setUp()
    slow(1, [3])
    slow(2, [5])
    pass('a', [3])
    pass('b', [5])
    pass('c', [5], 7500)
    pass('both', [3, 5], 10)
    pass('d', [3])
    pass('e', [5])
    expect(left).toEqual(['a', 'b'])
    if (why === 'ended') writes.keepOnly(group, [2])
    else slow(1, [3], 0)
    // What another migration has wait before one of these goes with it.
    expect(left).toEqual(['a', 'b', 'c', 'both', 'd'])
    pass('f', [3])
    expect(left.at(-1)).toBe('f')
    await world.runFor(200)
    expect(left.at(-1)).toBe('e')
    expect(writes.slows(group)).toBe(true)
    writes.keepOnly(group, [])
    pass('g', [5])
    expect(writes.slows(group)).toBe(false)
  })

  it('to several migrations leave behind all that came before to any of them', async () => {
    const { world, left, pass, slow } = setUp()
    slow(1, [3], 10_000)
    slow(2, [5], 100_000)
    pass('a', [3], 750)
    pass('b', [3], 75)
    pass('c', [5, 3], 75)
    pass('d', [5], 75)
    await world.runFor(1000)
    expect(left).toEqual(['a', 'b', 'c', 'd'])
  })
})
