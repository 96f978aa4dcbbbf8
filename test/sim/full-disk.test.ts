import { describe, expect, it } from 'vitest'
import { SimCluster } from './sim-cluster.ts'
import { World } from './world.ts'

const memtableBytes = 32 * 1024

async function setUp(seed: number, bytesOfMemtable = memtableBytes) {
  const world = new World({ seed })
  const cluster = new SimCluster(world, {
    controllers: 1,
    nodes: 3,
    groups: 1,
    shards: 16,
    memtableBytes: bytesOfMemtable,
    snapshotLogBytes: 128 * 1024,
  })
  await cluster.form()
  const client = cluster.client('client', 3000)
  await world.settle(client.ready(), 10_000)
  const put = (key: string, bytes = 400) => world.settle(client.put(key, 'x'.repeat(bytes)), 10_000)
  const group = cluster.hosted('n1')[0]?.replica.group ?? ''
  const leader = () => cluster.groupLeader(group) ?? ''
  return { world, cluster, client, put, leader }
}

describe('a node whose disk is full', () => {
  it('refuses writes definitely, answers reads, is elected, and takes writes again when there is room', async () => {
    const { world, cluster, client, put, leader } = await setUp(11)
    await put('a')
    for (const name of cluster.nodeNames) {
      const disk = cluster.disk(name)
      disk.quotaBytes = disk.usedBytes() + memtableBytes
    }
    await world.runFor(1500)
    await expect(put('b')).rejects.toMatchObject({ code: 'DEADLINE', definite: true })
    expect((await world.settle(client.get('a')))?.value.length).toBe(400)
    const before = leader()
    cluster.kill(before)
    await world.runUntil(() => leader() !== '' && leader() !== before, 10_000)
    expect((await world.settle(client.get('a'), 10_000))?.value.length).toBe(400)
    cluster.restart(before)
    await world.runUntil(() => cluster.isReady, 20_000)
    for (const name of cluster.nodeNames) cluster.disk(name).quotaBytes = Number.POSITIVE_INFINITY
    await world.runFor(1500)
    await put('b')
    expect((await world.settle(client.get('b')))?.value.length).toBe(400)
  })

  it.each([40, 200])('takes from a new leader the %i entries that it lacks, and is all but full: the group reads on', async (count) => {
    const roomyBytes = 256 * 1024
    const { world, cluster, client, put, leader } = await setUp(15, roomyBytes)
    await put('a')
    const before = leader()
    const [lagging, level] = cluster.nodeNames.filter((name) => name !== before) as [string, string]
    for (const name of [before, level]) cluster.network.cutBoth(name, lagging)
    for (let i = 0; i < count; i++) await put(`key${i}`, 100)
    for (const name of cluster.nodeNames) {
      const disk = cluster.disk(name)
      disk.quotaBytes = disk.usedBytes() + 0.9 * (roomyBytes / 4)
    }
    await world.runFor(1500)
    cluster.kill(before)
    cluster.network.heal()
    await world.runUntil(() => leader() === level, 10_000)
    expect((await world.settle(client.get(`key${count - 1}`), 10_000))?.value.length).toBe(100)
    for (const name of [level, lagging]) expect(cluster.isAlive(name)).toBe(true)
  })

  it('holds up nobody where others have room, and catches up when it has', async () => {
    const { world, cluster, put, leader } = await setUp(12)
    await put('a')
    const full = cluster.nodeNames.find((name) => name !== leader()) ?? ''
    const disk = cluster.disk(full)
    disk.quotaBytes = disk.usedBytes()
    await world.runFor(1500)
    for (let i = 0; i < 600; i++) await put(`key${i}`)
    expect(cluster.isAlive(full)).toBe(true)
    disk.quotaBytes = Number.POSITIVE_INFINITY
    const applied = () => cluster.hosted(full)[0]?.replica.applied ?? 0
    const target = cluster.hosted(leader())[0]?.replica.applied ?? 0
    await world.runUntil(() => applied() >= target, 30_000)
  })

  it.each(['.sst', 'MANIFEST', '.log'])('loses nothing where writes to %s find no room for a while', async (kindOfFile) => {
    const { world, cluster, client, put } = await setUp(13)
    let failed = 0
    for (const name of cluster.nodeNames) {
      cluster.disk(name).inject = ({ kind, path }) => {
        if (kind !== 'write' || !path.includes(kindOfFile) || failed >= 30) return undefined
        failed++
        return 'ENOSPC'
      }
    }
    for (let i = 0; i < 400; i++) await put(`key${i}`).catch(() => put(`key${i}`))
    expect(failed).toBe(30)
    for (let i = 0; i < 400; i += 7) expect((await world.settle(client.get(`key${i}`)))?.value.length).toBe(400)
    for (const name of cluster.nodeNames) expect(cluster.isAlive(name)).toBe(true)
  })
})
