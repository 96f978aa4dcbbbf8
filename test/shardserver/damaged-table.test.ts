import { expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import type { Member } from '../../proto/config.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { World } from '../sim/world.ts'

const seed = 5
const keys = 60

/** A cluster of `nodes` with one group on all of them, whose tables hold `keys` records; n1's largest table is damaged where nobody has read yet. */
async function damaged(nodes: number) {
  const world = new World({ seed })
  const cluster = new SimCluster(world, {
    controllers: 1,
    nodes,
    groups: 1,
    shards: 16,
    memtableBytes: 16 * 1024,
    snapshotLogBytes: 16 * 1024,
  })
  await cluster.form()
  const client = cluster.client('client', 30_000)
  await world.settle(client.ready(), 10_000)
  for (let i = 0; i < keys; i++) await world.settle(client.put(`key${i}`, 'x'.repeat(1000)), 10_000)
  const disk = cluster.disk('n1')
  const tablesOf = () => disk.paths().filter((path) => path.endsWith('.sst'))
  await world.runUntil(() => tablesOf().some((path) => disk.bytesOf(path).length > 10_000), 60_000)
  const largest = must(tablesOf().sort((a, b) => disk.bytesOf(b).length - disk.bytesOf(a).length)[0], 'a table')
  disk.flip(largest, disk.bytesOf(largest).length >> 1)
  const members = (): readonly Member[] => must(cluster.controllerState('c1')?.config?.groupByName('g1'), 'g1').members
  const scan = async () => {
    let count = 0
    for await (const _ of client.scan({})) count++
    return count
  }
  return { world, cluster, client, members, scan }
}

it('a read that meets a damaged table has its replica retired and replaced: it is not refused for good', async () => {
  const { world, cluster, members, scan } = await damaged(3)
  const before = must(
    members().find(({ node }) => node === 'n1'),
    'a replica on n1',
  )
  const { uid } = must(cluster.controllerState('c1')?.config?.groupByName('g1'), 'g1')
  while (cluster.groupLeader(uid) !== 'n1') {
    cluster.transferTo('n1')
    await world.runFor(1000)
  }
  expect(await world.settle(scan(), 60_000)).toBe(keys)
  await world.runUntil(() => members().every(({ replica, state }) => replica !== before.replica && state === 'voter'), 60_000)
  expect(
    members()
      .map(({ node }) => node)
      .sort(),
  ).toEqual(['n1', 'n2', 'n3'])
})

it('where no other replica is there it goes on with what is whole', async () => {
  const { world, client, scan } = await damaged(1)
  const outcome = await world.settle(
    scan().then(
      () => 'done',
      (error: Error) => error.message,
    ),
    60_000,
  )
  expect(outcome).toContain('damaged')
  await world.settle(client.put('key0', 'new'), 10_000)
  expect((await world.settle(client.get('key0'), 10_000))?.value.toString()).toBe('new')
})
