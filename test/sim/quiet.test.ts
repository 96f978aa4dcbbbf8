import { describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { MapCluster } from './map-cluster.ts'
import { Nemesis } from './nemesis.ts'
import { World } from './world.ts'

const names = ['r1', 'r2', 'r3'] as const
const electionTimeoutMs = 500
/** What a simulated disk and network take for a write, at most. */
const writeMs = 40

class Rig {
  readonly world: World
  readonly cluster: MapCluster

  constructor(seed: number) {
    this.world = new World({ seed })
    this.cluster = new MapCluster(this.world)
  }

  get leader(): string {
    return must(this.cluster.leader(), 'a leader')
  }

  get followers(): string[] {
    return names.filter((name) => name !== this.leader)
  }

  quiet(): boolean[] {
    return names.map((name) => this.cluster.replica(name)?.quiet === true)
  }

  /** Writes once through whoever leads, and waits until the group is quiet. */
  async rest(): Promise<void> {
    await this.world.runUntil(() => this.cluster.leader() !== undefined, 10_000)
    await this.put('first')
    await this.world.runUntil(() => this.quiet().every(Boolean), 10_000)
  }

  /** Resolves with how long it took, virtual milliseconds. */
  async put(value: string): Promise<number> {
    const startMs = this.world.nowMs
    let outcome: string | undefined
    this.cluster.put(this.leader, 'key', value, (how) => {
      outcome = how
    })
    await this.world.runUntil(() => outcome !== undefined, 10_000)
    expect(outcome).toBe('applied')
    return this.world.nowMs - startMs
  }

  /** Resolves with how long it takes until another than `former` leads. */
  async untilAnotherLeads(former: string): Promise<number> {
    const startMs = this.world.nowMs
    await this.world.runUntil(
      () => names.some((name) => name !== former && this.cluster.isAlive(name) && this.cluster.replica(name)?.role === 'leader'),
      60_000,
    )
    return this.world.nowMs - startMs
  }
}

async function atRest(seed: number): Promise<Rig> {
  const rig = new Rig(seed)
  await rig.rest()
  return rig
}

const seeds = [1, 2, 3, 4, 5, 6, 7, 8]

describe('a quiet group', () => {
  it.each(seeds)(
    'never has time run faster than it does: whoever ran by its own clock takes the word of a leader that knows less (seed %i)',
    async (seed) => {
      const rig = await atRest(seed)
      const { world, cluster } = rig
      const timeOf = (name: string) => must(cluster.replica(name), 'a replica').groupTimeMs()
      const guesser = must(rig.followers[0], 'a follower')
      const others = names.filter((name) => name !== guesser)
      await world.runFor(6000)
      expect(timeOf(guesser)).toBeGreaterThan(6000)
      // Their next lives know of no time at all.
      cluster.network.isolate(guesser, 'stall')
      for (const name of others) cluster.kill(name)
      for (const name of others) cluster.restart(name)
      await world.runUntil(() => others.some((name) => cluster.replica(name)?.role === 'leader'), 10_000)
      cluster.network.heal()
      await rig.put('dated by who knows less')
      const [before, fromMs] = [timeOf(rig.leader), world.nowMs]
      expect(before).toBeLessThan(5000)
      await world.runUntil(() => timeOf(guesser) <= timeOf(rig.leader), 10_000)
      const leads = () => cluster.replica(guesser)?.role === 'leader'
      // Given up where its log is still behind.
      for (let tries = 0; tries < 10 && !leads(); tries++) {
        cluster.transferTo(guesser)
        await world.runFor(electionTimeoutMs)
      }
      expect(leads()).toBe(true)
      expect(timeOf(guesser) - before).toBeLessThanOrEqual(1.1 * (world.nowMs - fromMs) + 1)
    },
  )

  it('stays quiet, with the same leader and term, while nobody wants anything', async () => {
    const rig = await atRest(1)
    const { leader } = rig
    const term = rig.cluster.replica(leader)?.term
    await rig.world.runFor(60_000)
    expect(rig.quiet()).toEqual([true, true, true])
    expect(rig.leader).toBe(leader)
    expect(rig.cluster.replica(leader)?.term).toBe(term)
  })

  it.each(seeds)('serves the first write without waiting for a heartbeat (seed %i)', async (seed) => {
    const rig = await atRest(seed)
    expect(await rig.put('second')).toBeLessThan(writeMs)
    await rig.world.runUntil(() => rig.quiet().every(Boolean), 10_000)
  })

  it.each(seeds)('with a leader that died elects another within 2 T (seed %i)', async (seed) => {
    const rig = await atRest(seed)
    const { leader } = rig
    rig.cluster.kill(leader)
    expect(await rig.untilAnotherLeads(leader)).toBeLessThan(2 * electionTimeoutMs)
  })

  it.each(seeds)('with a leader whose machine lost power, so that no stream breaks, elects another within 2 T (seed %i)', async (seed) => {
    const rig = await atRest(seed)
    const { leader } = rig
    rig.cluster.powerLoss(leader)
    expect(await rig.untilAnotherLeads(leader)).toBeLessThan(2 * electionTimeoutMs)
  })

  it.each(seeds)('with a leader that was paused elects another within 2 T (seed %i)', async (seed) => {
    const rig = await atRest(seed)
    const { leader } = rig
    rig.cluster.pause(leader, 20 * electionTimeoutMs)
    expect(await rig.untilAnotherLeads(leader)).toBeLessThan(2 * electionTimeoutMs)
    await rig.world.runUntil(() => rig.quiet().every(Boolean), 60_000)
  })

  it.each(seeds)('with a leader that was cut off elects another within 2 T, and the old one steps down (seed %i)', async (seed) => {
    const rig = await atRest(seed)
    const { leader } = rig
    rig.cluster.network.isolate(leader, 'stall')
    expect(await rig.untilAnotherLeads(leader)).toBeLessThan(2 * electionTimeoutMs)
    await rig.world.runUntil(() => rig.cluster.replica(leader)?.role !== 'leader', 3 * electionTimeoutMs)
  })

  it.each(seeds)('keeps its leader when a follower restarts, which hears of it, and is quiet again (seed %i)', async (seed) => {
    const rig = await atRest(seed)
    const { leader, followers } = rig
    const [victim] = followers as [string]
    const term = rig.cluster.replica(leader)?.term
    rig.cluster.powerLoss(victim)
    rig.cluster.restart(victim)
    await rig.world.runUntil(() => rig.cluster.replica(victim)?.leader === names.indexOf(leader as 'r1') + 1, 10_000)
    await rig.world.runUntil(() => rig.quiet().every(Boolean), 10_000)
    expect(rig.leader).toBe(leader)
    expect(rig.cluster.replica(leader)?.term).toBe(term)
  })

  it.each(seeds)('notices a leader whose replica stopped while its process lives on (seed %i)', async (seed) => {
    const rig = await atRest(seed)
    const { leader } = rig
    rig.cluster.replica(leader)?.stop()
    expect(await rig.untilAnotherLeads(leader)).toBeLessThan(4 * electionTimeoutMs)
  })

  it('keeps its leader where one follower is cut off from the leader alone', async () => {
    const rig = await atRest(2)
    const { leader, followers } = rig
    const term = rig.cluster.replica(leader)?.term
    rig.cluster.network.cutBoth(leader, followers[0] as string, 'refuse')
    await rig.world.runFor(10 * electionTimeoutMs)
    expect(rig.cluster.replica(leader)?.role).toBe('leader')
    rig.cluster.network.heal()
    await rig.world.runUntil(() => rig.quiet().every(Boolean), 20_000)
    expect(rig.leader).toBe(leader)
    expect(rig.cluster.replica(leader)?.term).toBe(term)
  })

  it.each(seeds)('survives all faults, one after the other with rests between (seed %i)', async (seed) => {
    const rig = await atRest(seed)
    const nemesis = new Nemesis(rig.world, rig.cluster.network, rig.cluster, { intervalMs: 2500, deadMsMax: 1500, partitionMsMax: 1500 })
    nemesis.start()
    let rests = 0
    for (let i = 0; i < 600; i++) {
      await rig.world.runFor(50)
      if (rig.quiet().every(Boolean)) rests++
    }
    nemesis.stop()
    await rig.rest()
    expect(await rig.put('last')).toBeLessThan(writeMs)
    expect([...nemesis.done.values()].length).toBeGreaterThan(0)
    expect(rests).toBeGreaterThan(0)
  })
})
