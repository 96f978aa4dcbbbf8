import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { loadHalfLifeMs, ShardLoads } from '../../shardserver/shard-loads.ts'

function counted() {
  const clock = { nowMs: 1000, monotonicMs: () => clock.nowMs }
  return { clock, loads: new ShardLoads(clock) }
}

/** `perSecond` reads of shard 3 for so long, looked at every `everyMs`. */
function read({ clock, loads }: ReturnType<typeof counted>, perSecond: number, forMs: number, everyMs = 5000): void {
  for (const end = clock.nowMs + forMs; clock.nowMs < end; ) {
    clock.nowMs += everyMs
    for (let i = 0; i < (perSecond * everyMs) / 1000; i++) loads.countRead(3)
    loads.busy()
  }
}

describe('loads of shards', () => {
  it('come within a half-life to half of what is served, and go as they came', () => {
    const one = counted()
    read(one, 100, loadHalfLifeMs)
    expect(one.loads.readsOf(3)).toBeCloseTo(50, 9)
    read(one, 100, 10 * loadHalfLifeMs)
    expect(one.loads.readsOf(3)).toBeCloseTo(100, 0)
    read(one, 0, loadHalfLifeMs)
    expect(one.loads.readsOf(3)).toBeCloseTo(50, 0)
    read(one, 0, 20 * loadHalfLifeMs)
    expect([one.loads.readsOf(3), one.loads.busy()]).toEqual([0, []])
  })

  it('are the same however often they are looked at', () => {
    const [often, seldom] = [counted(), counted()]
    read(often, 40, 120_000, 250)
    read(seldom, 40, 120_000, 60_000)
    expect(often.loads.readsOf(3)).toBeCloseTo(seldom.loads.readsOf(3), 9)
  })

  it('stay the same in sum where another node serves from now on', () => {
    const [before, after] = [counted(), counted()]
    read(before, 80, 100 * loadHalfLifeMs)
    for (let step = 0; step < 30; step++) {
      read(before, 0, 5000)
      read(after, 80, 5000)
      expect(before.loads.readsOf(3) + after.loads.readsOf(3)).toBeCloseTo(80, 6)
    }
  })

  it('are told of the busy shards alone, reads and writes apart', () => {
    const { clock, loads } = counted()
    for (let i = 0; i < 10; i++) loads.countWrite(7)
    for (let i = 0; i < 20; i++) loads.countRead(16_383)
    clock.nowMs += 1000
    const share = 1 - 2 ** (-1000 / loadHalfLifeMs)
    expect(loads.busy()).toEqual([
      { shard: 7, reads: 0, writes: expect.closeTo(10 * share, 9) },
      { shard: 16_383, reads: expect.closeTo(20 * share, 9), writes: 0 },
    ])
    expect([loads.writesOf(7), loads.writesOf(8)]).toEqual([expect.closeTo(10 * share, 9), 0])
  })

  it('count nowhere what no cluster has', () => {
    const { clock, loads } = counted()
    loads.countRead(16_384)
    loads.countWrite(2 ** 31)
    clock.nowMs += 60_000
    expect(loads.busy()).toEqual([])
  })

  it('of random calls are the weighted mean that they say', () => {
    const random = new SeededRandom(17)
    const { clock, loads } = counted()
    const events: { atMs: number; count: number }[] = []
    for (let step = 0; step < 500; step++) {
      const count = random.below(200)
      for (let i = 0; i < count; i++) loads.countWrite(1)
      clock.nowMs += 1000
      events.push({ atMs: clock.nowMs, count })
      loads.busy()
    }
    const weight = (ageMs: number) => 2 ** (-ageMs / loadHalfLifeMs)
    const mean = events.reduce((sum, { atMs, count }) => sum + count * weight(clock.nowMs - atMs) * (1 - weight(1000)), 0)
    expect(loads.writesOf(1)).toBeCloseTo(mean, 6)
  })
})
