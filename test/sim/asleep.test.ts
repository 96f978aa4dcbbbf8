/** Who misses many configs knows the newest after a refresh or two, however many it missed (issue "Shards move and nobody notices", line 7). */
import { expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { pb } from '../../proto/messages.ts'
import { controllerMethods } from '../../proto/methods.ts'
import { SimCluster } from './sim-cluster.ts'
import { World } from './world.ts'

const changes = 50
const shardCount = 16
const options = { timeoutMs: 5000 }

it.each([
  { seed: 701, what: 'hears what piled up', cut: false },
  { seed: 702, what: 'has lost its streams', cut: true },
])(
  '50 config changes while one node sleeps and a client idles: at most two refreshes for each when it $what, seed $seed',
  async ({ seed, cut }) => {
    const world = new World({ seed })
    const cluster = new SimCluster(world, { controllers: 3, nodes: 3, groups: 2, shards: shardCount })
    await cluster.form()
    const { network } = cluster
    const settle = <T>(promise: Promise<T>) => world.settle(promise, 60_000)
    const client = cluster.client('idle', 30_000)
    await settle(client.ready())
    const keys = Array.from({ length: 3 * shardCount }, (_, at) => new TextEncoder().encode(`key ${at}`))
    for (const key of keys) await settle(client.put(key, key))

    const [admin, begun] = [cluster.admin('admin'), cluster.controllerState('c1')?.configNumber ?? 0]
    const numberNow = () => Math.max(...cluster.controllerNames.map((name) => cluster.controllerState(name)?.configNumber ?? 0))
    cluster.pause('n1', 3_600_000)
    if (cut) network.process('idle')?.pause(3_600_000)
    const letGo = cut ? network.hold(['n1', 'idle'].flatMap((name) => cluster.controllerNames.flatMap((one) => both(name, one)))) : () => {}
    // Some move (a pin and a commit), the others are held where they are and let go: what moves goes on slowly while a node does not answer.
    for (let shard = 0; shard < 4; shard++) {
      const { config } = await settle(admin.query(0, options))
      const group = config.groupOf(shard)?.name === 'g1' ? 'g2' : 'g1'
      const [id] = (await settle(admin.move({ shard, group, author: 'test' }, options))).migrations
      const isDone = () => cluster.controllerState('c1')?.migrations.byId.get(id ?? 0)?.phase === 'done'
      await world.runUntil(isDone, 200_000)
    }
    const { config } = await settle(admin.query(0, options))
    for (let shard = 4; numberNow() < begun + changes; shard = shard === 15 ? 4 : shard + 1) {
      await settle(admin.move({ shard, group: config.groupOf(shard)?.name ?? '', author: 'test' }, options))
      await settle(admin.unpin({ shard, author: 'test' }, options))
    }
    const newest = numberNow()
    expect(newest).toBeGreaterThanOrEqual(begun + changes)
    letGo()

    const refreshes = { node: 0, client: 0, queries: 0 }
    network.overhear((path, _, bytes) => {
      if (path === controllerMethods.watch.path) refreshes[pb.v1.WatchRequest.decode(bytes).migrations ? 'node' : 'client']++
      if (path === controllerMethods.query.path) refreshes.queries++
    })
    for (const name of ['n1', 'idle']) network.process(name)?.resume()
    for (const key of keys) expect((await settle(client.get(key)))?.value).toEqual(Buffer.from(key))
    const numberOf = async () => (await settle(must(cluster.running('n1'), 'n1 runs').status({}))).replicas[0]?.configNumber ?? 0
    for (let waitedMs = 0; (await numberOf()) < newest && waitedMs < 20_000; waitedMs += 10) await world.runFor(10)
    expect(await numberOf()).toBe(newest)
    expect(refreshes.queries).toBe(0)
    expect(Math.max(refreshes.node, refreshes.client), `seed ${seed}`).toBeLessThanOrEqual(2)
    if (cut) expect(Math.min(refreshes.node, refreshes.client)).toBeGreaterThanOrEqual(1)
    // And nothing is left to be said of it.
    await world.runFor(10_000)
    expect(Math.max(refreshes.node, refreshes.client)).toBeLessThanOrEqual(2)
    await settle(client.close())
    admin.close()
  },
)

function both(a: string, b: string): (readonly [string, string])[] {
  return [
    [a, b],
    [b, a],
  ]
}
