import { describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { MapCluster } from './map-cluster.ts'
import { World } from './world.ts'

const names = ['r1', 'r2', 'r3'] as const
const electionTimeoutMs = 500
const swift = { leastMs: 0.1, mostMs: 1 }
/** One sync takes so long; far more than a leader may wait. */
const stallMs = 20_000

/** Three replicas whose disks can be made to stall, with a leader that has written once. */
class Rig {
  readonly world: World
  readonly cluster: MapCluster
  readonly #syncs = names.map(() => ({ ...swift }))
  readonly outcomes: string[] = []

  constructor(seed: number) {
    this.world = new World({ seed })
    const disks = Object.fromEntries(names.map((name, i) => [name, { latency: { sync: must(this.#syncs[i], 'a latency') } }]))
    this.cluster = new MapCluster(this.world, undefined, disks)
  }

  get leader(): string {
    return must(this.cluster.leader(), 'a leader')
  }

  async lead(): Promise<string> {
    await this.world.runUntil(() => this.cluster.leader() !== undefined, 10_000)
    await this.put(this.leader)
    return this.leader
  }

  /** From the next sync of `name` on each takes `ms`. */
  setSync(name: string, ms: number): void {
    Object.assign(must(this.#syncs[names.indexOf(name as 'r1')], 'a latency'), { leastMs: ms, mostMs: ms })
  }

  propose(name: string): void {
    this.cluster.put(name, 'key', 'value', (outcome) => this.outcomes.push(outcome))
  }

  async put(name: string): Promise<void> {
    const before = this.outcomes.length
    this.propose(name)
    await this.world.runUntil(() => this.outcomes.length > before, 5000)
    expect(this.outcomes.at(-1)).toBe('applied')
  }
}

describe('a leader whose disk stalls', () => {
  it.each([1, 2, 3, 4, 5, 6])('hands its office over after an election timeout, and no outcome stays open (seed %i)', async (seed) => {
    const rig = new Rig(seed)
    const leader = await rig.lead()
    rig.setSync(leader, stallMs)
    const startMs = rig.world.nowMs
    // Its followers commit it without this disk.
    rig.propose(leader)
    await rig.world.runUntil(() => rig.cluster.leader() !== leader && rig.cluster.leader() !== undefined, 10_000)
    const tookMs = rig.world.nowMs - startMs
    expect(tookMs).toBeGreaterThan(electionTimeoutMs)
    expect(tookMs).toBeLessThan(1.5 * electionTimeoutMs)
    expect(rig.outcomes).toEqual(['applied', 'applied'])
    rig.propose(leader)
    await rig.world.runUntil(() => rig.outcomes.length === 3)
    expect(rig.outcomes[2]).toBe('refused')
    await rig.put(rig.leader)
  })

  it('steps down where nobody can take the office: what waits is unknown, what comes is refused', async () => {
    const rig = new Rig(7)
    const leader = await rig.lead()
    for (const name of names) if (name !== leader) rig.cluster.kill(name)
    rig.setSync(leader, stallMs)
    rig.propose(leader)
    await rig.world.runUntil(() => rig.cluster.replica(leader)?.role !== 'leader', 10_000)
    await rig.world.runUntil(() => rig.outcomes.length === 2)
    expect(rig.outcomes[1]).toBe('unknown')
    rig.propose(leader)
    await rig.world.runUntil(() => rig.outcomes.length === 3)
    expect(rig.outcomes[2]).toBe('refused')
  })

  it('does not stand for election before an append is durable again; then it may', async () => {
    const rig = new Rig(8)
    const leader = await rig.lead()
    rig.setSync(leader, stallMs)
    rig.propose(leader)
    await rig.world.runUntil(() => rig.cluster.leader() !== leader && rig.cluster.leader() !== undefined, 10_000)
    const next = rig.leader
    rig.setSync(leader, 1)
    rig.cluster.transferTo(leader)
    await rig.world.runFor(4 * electionTimeoutMs)
    expect(rig.leader).toBe(next)
    await rig.world.runFor(20_000)
    rig.cluster.transferTo(leader)
    await rig.world.runUntil(() => rig.cluster.leader() === leader, 5000)
    await rig.put(leader)
  })

  it('keeps its office where every sync is slow, but not as slow as that', async () => {
    const rig = new Rig(9)
    const leader = await rig.lead()
    // An append that just missed a sync waits for that one and its own.
    rig.setSync(leader, 0.45 * electionTimeoutMs)
    for (let i = 0; i < 40; i++) {
      rig.propose(leader)
      await rig.world.runFor(100)
    }
    expect(rig.leader).toBe(leader)
  })

  it('keeps its office where it writes after a long rest: while its group was quiet nothing ticked', async () => {
    const rig = new Rig(11)
    const leader = await rig.lead()
    await rig.world.runUntil(() => names.every((name) => rig.cluster.replica(name)?.quiet === true), 10_000)
    await rig.world.runFor(4 * electionTimeoutMs)
    rig.setSync(leader, 0.2 * electionTimeoutMs)
    await rig.put(leader)
    await rig.world.runFor(electionTimeoutMs)
    expect(rig.leader).toBe(leader)
    expect(rig.cluster.replica(leader)?.term).toBe(1)
  })

  it('keeps its office where the process was paused, not its disk', async () => {
    const rig = new Rig(10)
    const leader = await rig.lead()
    rig.propose(leader)
    rig.cluster.pause(leader, 0.8 * electionTimeoutMs)
    await rig.world.runFor(4 * electionTimeoutMs)
    expect(rig.leader).toBe(leader)
  })
})
