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

/** Until no replica is that which n1 had, and all vote. */
async function replaced({ world, members }: Awaited<ReturnType<typeof damaged>>, before: Member): Promise<void> {
  await world.runUntil(() => members().every(({ replica, state }) => replica !== before.replica && state === 'voter'), 60_000)
  expect(
    members()
      .map(({ node }) => node)
      .sort(),
  ).toEqual(['n1', 'n2', 'n3'])
}

function replicaOnN1(members: readonly Member[]): Member {
  return must(
    members.find(({ node }) => node === 'n1'),
    'a replica on n1',
  )
}

it('a read that meets a damaged table has its replica retired and replaced: it is not refused for good', async () => {
  const rig = await damaged(3)
  const { world, cluster, members, scan } = rig
  const before = replicaOnN1(members())
  const { uid } = must(cluster.controllerState('c1')?.config?.groupByName('g1'), 'g1')
  while (cluster.groupLeader(uid) !== 'n1') {
    cluster.transferTo('n1')
    await world.runFor(1000)
  }
  expect(await world.settle(scan(), 60_000)).toBe(keys)
  await replaced(rig, before)
})

it('so has a digest of all records, which operators compare replicas by', async () => {
  const rig = await damaged(3)
  const { world, cluster, members } = rig
  const before = replicaOnN1(members())
  const digest = () => must(cluster.running('n1'), 'a process on n1').status({ hash: true })
  await expect(world.settle(digest(), 10_000)).rejects.toThrow('.sst')
  await replaced(rig, before)
  expect((await world.settle(digest(), 10_000)).replicas?.map(({ failure }) => failure)).toEqual([''])
})

it('but not while its vote is needed: what is whole of it is the majority then', async () => {
  const { world, cluster, client, members } = await damaged(3)
  const before = members().map(({ replica }) => replica)
  cluster.kill('n3')
  await world.runFor(1000)
  await expect(world.settle(must(cluster.running('n1'), 'a process on n1').status({ hash: true }), 10_000)).rejects.toThrow('.sst')
  await world.settle(client.put('key0', 'new'), 10_000)
  await world.runFor(5000)
  expect(members().map(({ replica }) => replica)).toEqual(before)
  expect((await world.settle(client.get('key0'), 10_000))?.value.toString()).toBe('new')
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
