import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { type Admin, type ConfigView, type MigrationView, Refusal } from './admin.ts'
import { Operator } from './operator.ts'

const shards = 16

/** A cluster without a cluster: every move is done at once. */
class InstantCluster implements Admin {
  readonly groups = new Map<string, { weight: number; state: 'active' | 'draining' }>()
  readonly pins = new Map<number, string>()
  readonly moved: MigrationView[] = []
  readonly configs: ConfigView[] = []
  assignment: string[]

  constructor(groups: readonly string[]) {
    for (const group of groups) this.groups.set(group, { weight: 1, state: 'active' })
    this.assignment = Array.from({ length: shards }, (_, shard) => groups[shard % groups.length] ?? '')
    this.commit('form')
  }

  async join(group: string) {
    if (!this.groups.has(group)) this.groups.set(group, { weight: 1, state: 'active' })
    return this.even(`join ${group}`)
  }

  async leave(group: string) {
    if (!this.groups.has(group)) throw new Refusal(`no group ${group}`)
    if (this.groups.size === 1) throw new Refusal(`${group} is the last group`)
    this.groups.delete(group)
    return this.even(`leave ${group}`)
  }

  async move(shard: number, group: string) {
    if (shard >= shards || !this.groups.has(group)) throw new Refusal(`no shard ${shard} or no group ${group}`)
    this.pins.set(shard, group)
    return this.change(shard, group)
  }

  async unpin(shard: number) {
    this.pins.delete(shard)
    return this.commit(`unpin ${shard}`)
  }

  async rebalance() {
    return this.even('rebalance')
  }

  async steer(): Promise<never> {
    throw new Refusal('the shard does not move')
  }

  async config(number?: number) {
    const config = this.configs[(number ?? this.configs.length) - 1]
    if (config === undefined) throw new Refusal(`no config ${number}`)
    return config
  }

  async migrations() {
    return this.moved
  }

  protected even(cause: string) {
    const names = [...this.groups.keys()]
    this.assignment = this.assignment.map((_, shard) => names[shard % names.length] ?? '')
    return this.commit(cause)
  }

  protected change(shard: number, to: string) {
    const id = this.moved.length + 1
    const from = this.assignment[shard] ?? ''
    this.assignment = this.assignment.with(shard, to)
    this.moved.push({ id, shards: [shard], from, to, phase: 'done', givenBack: false, reason: '', pauseMs: 1 })
    return this.commit(`move ${shard} to ${to}`, [id])
  }

  protected commit(cause: string, migrations: readonly number[] = []) {
    const number = this.configs.length + 1
    this.configs.push({ number, cause, groups: new Map(this.groups), assignment: this.assignment, pins: new Map(this.pins) })
    return { configNumber: number, migrations }
  }
}

class ForgetsPins extends InstantCluster {
  override async move(shard: number, group: string) {
    if (shard >= shards || !this.groups.has(group)) throw new Refusal(`no shard ${shard} or no group ${group}`)
    return this.change(shard, group)
  }
}

class TakesNonsense extends InstantCluster {
  override async leave(group: string) {
    return this.groups.has(group) ? await super.leave(group) : this.commit(`leave ${group}`)
  }
}

class NeverEven extends InstantCluster {
  protected override even(cause: string) {
    this.assignment = this.assignment.map(() => 'g1')
    return this.commit(cause)
  }
}

const groups = ['g1', 'g2', 'g3']

async function operate(cluster: Admin, seed: number) {
  const operator = new Operator(cluster, new SeededRandom(seed), { shards, groups, steady: ['g1'] })
  for (let i = 0; i < 100; i++) await operator.one()
  await operator.settle(async () => {})
  await operator.check()
  return operator.counts
}

describe('the operator', () => {
  it('has nothing against a cluster that does what the contract says (seed 1)', async () => {
    const counts = await operate(new InstantCluster(groups), 1)
    expect(counts.changes).toBeGreaterThan(50)
    expect(counts.refused).toBeGreaterThan(0)
    expect(counts.unknown).toBe(0)
  })

  it('notices a move that does not pin (seed 2)', async () => {
    await expect(operate(new ForgetsPins(groups), 2)).rejects.toThrow(/is not pinned in g\d after its move/)
  })

  it('notices nonsense that is accepted (seed 3)', async () => {
    await expect(operate(new TakesNonsense(groups), 3)).rejects.toThrow('nonsense was accepted')
  })

  it('notices groups that are not even after a rebalance (seed 4)', async () => {
    await expect(operate(new NeverEven(groups), 4)).rejects.toThrow('after a rebalance')
  })
})
