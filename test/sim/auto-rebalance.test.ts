/** Hot shards in one group of a whole cluster: they are spread by themselves, and then everything stays where it is. */
import { expect, it } from 'vitest'
import { shardOf, slotOf } from '../../base/slot.ts'
import type { Client } from '../../client/client.ts'
import type { ConfigState } from '../../controller/config-state.ts'
import { SimCluster } from './sim-cluster.ts'
import { World } from './world.ts'

const shards = 16
const timeoutMs = 5000

/** A key of each shard. */
const keys = Array.from({ length: shards }, (_, shard) => {
  for (let n = 0; ; n++) if (shardOf(slotOf(Buffer.from(`key${n}`)), shards) === shard) return `key${n}`
})

/** Each second so many writes to each shard, until stopped. */
class Traffic {
  readonly #world: World
  readonly #db: Client
  readonly #perSecond: readonly number[]
  failed: unknown[] = []
  written = 0
  #stopped = false

  constructor(world: World, db: Client, perSecond: readonly number[]) {
    this.#world = world
    this.#db = db
    this.#perSecond = perSecond
    this.#tick()
  }

  stop(): void {
    this.#stopped = true
  }

  #tick(): void {
    if (this.#stopped) return
    const entries = this.#perSecond.flatMap((count, shard) => Array.from({ length: count }, () => [keys[shard] ?? '', 'value'] as const))
    this.#db.putMany(entries).then(
      () => {
        this.written += entries.length
      },
      (error: unknown) => this.failed.push(error),
    )
    this.#world.schedule(1000, undefined, 'traffic', () => this.#tick())
  }
}

it('spreads hot shards over the groups, one step after the other, and then moves nothing more, whoever leads the controllers', async () => {
  const world = new World({ seed: 37 })
  const cluster = new SimCluster(world, { controllers: 3, nodes: 3, groups: 3, shards })
  await cluster.form()
  const admin = cluster.admin('admin')
  const call = <T>(promise: Promise<T>) => world.settle(promise, 20_000)
  const state = (): ConfigState => {
    const leader = cluster.controllerLeader()
    const known = leader === undefined ? undefined : cluster.controllerState(leader)
    if (known?.config === undefined) throw new Error(`seed ${world.seed}: no controller leads`)
    return known
  }
  const ownerOf = (shard: number) => state().config?.groupOf(shard)?.name ?? ''
  const first = ownerOf(0)
  const own = Array.from({ length: shards }, (_, shard) => shard).filter((shard) => ownerOf(shard) === first)
  const perSecond = Array.from({ length: shards }, (_, shard) => (own.slice(0, 3).includes(shard) ? 40 : 4))
  const worst = () => {
    const loads = new Map<string, number>()
    for (const [shard, rate] of perSecond.entries()) loads.set(ownerOf(shard), (loads.get(ownerOf(shard)) ?? 0) + rate)
    return (Math.max(...loads.values()) * 3) / perSecond.reduce((sum, rate) => sum + rate, 0)
  }
  const db = cluster.client('client', 10_000)
  await world.settle(db.ready(30_000), 40_000)
  const traffic = new Traffic(world, db, perSecond)
  expect(worst()).toBeGreaterThan(2)
  await call(admin.autoRebalance({ on: true, sustainMs: 20_000, author: 'test' }, { timeoutMs }))
  await world.runUntil(() => worst() < 1.3 && state().migrations.open().length === 0, 400_000)
  const made = state().migrations.next
  const records = [...state().migrations.byId.values()]
  expect(records.map(({ phase, author }) => `${phase} ${author}`)).toEqual(records.map(() => 'done auto'))
  expect(records.length).toBeLessThanOrEqual(4)
  // Not even a leader that knows nothing of what was moved moves it back.
  cluster.kill(cluster.controllerLeader() ?? '')
  await world.runFor(750_000)
  expect([state().migrations.next, worst() < 1.3]).toEqual([made, true])
  expect((await call(admin.rebalance({ author: 'test' }, { timeoutMs }))).note).toContain('nothing to do')
  traffic.stop()
  await world.runFor(15_000)
  expect(traffic.failed).toEqual([])
  expect(traffic.written).toBeGreaterThan(100_000)
  await world.settle(db.close())
}, 120_000)
