/** kill -9 of real processes under load. What clients saw must be linearizable: no acknowledged write is lost, none done twice; no call fails. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connect } from '../../client/index.ts'
import { ClusterUnderLoad } from '../chaos/cluster-under-load.ts'
import { thinkMs } from './expectations.ts'
import { Up } from './up.ts'

const seed = Math.floor(Math.random() * 2 ** 31)

/** Resolves when the clients have had `count` more answers. */
async function answers(load: ClusterUnderLoad, count: number): Promise<void> {
  const goal = load.workload.counts.ok + count
  // Each of these calls is answered behind some of theirs.
  while (load.workload.counts.ok < goal) await load.client.get('pace')
}

describe(`kill -9 under load (seed ${seed})`, () => {
  let up: Up
  let load: ClusterUnderLoad
  beforeAll(async () => {
    up = await Up.start(['--shards', '16', '--election-timeout-ms', '300'])
    load = new ClusterUnderLoad(up, { seed, clients: 4, keys: 60, deadlineMs: 30_000, thinkMs })
    await load.start()
    await answers(load, 200)
  })
  afterAll(async () => {
    await load?.stop()
    await up?.dispose()
  })

  it('of the leader of a group: another serves its shards', async () => {
    const { groups, nodes } = await load.status()
    const victim = nodes.find(({ id }) => id === groups.g1?.leader)
    process.kill(victim?.pid ?? 0, 'SIGKILL')
    await answers(load, 500)
    await up.saw(`${victim?.id} is back`)
    await answers(load, 200)
  })

  it("of the controllers' leader: clients notice nothing, and another answers queries", async () => {
    const before = await load.status()
    const victim = before.controllers.find(({ role }) => role === 'leader')
    process.kill(victim?.pid ?? 0, 'SIGKILL')
    await answers(load, 500)
    expect((await load.status()).groups.g1?.shards).toBe(before.groups.g1?.shards)
    await up.saw(`${victim?.id} is back`)
  })

  it('of everything at once: what was acknowledged before is there after the restart', async () => {
    const acknowledged: string[] = []
    const writer = await connect({ controllers: [...up.ready.controllers], deadlineMs: 30_000 })
    let writing = true
    const writes = (async () => {
      for (let i = 0; writing; i++) {
        await writer.put(`kept ${i}`, `value ${i}`)
        acknowledged.push(`kept ${i}`)
      }
    })()
    while (acknowledged.length < 50) await load.client.get('pace')
    await up.killAll()
    const before = acknowledged.length
    await up.restart()
    await answers(load, 200)
    writing = false
    await writes
    await writer.close()
    expect(before).toBeGreaterThanOrEqual(50)
    expect(acknowledged.length).toBeGreaterThan(before)
    const found = await load.client.getMany(acknowledged)
    expect(found.map((record) => record?.value.toString())).toEqual(acknowledged.map((_, i) => `value ${i}`))
  })

  it('through all of it no call has failed, what clients saw is linearizable, and all replicas are equal', async () => {
    await load.stop()
    const { failed, unknown, lastError } = load.workload.counts
    expect({ failed, unknown, lastError }).toEqual({ failed: 0, unknown: 0, lastError: '' })
    expect(load.check()).toBeGreaterThan(1000)
    expect(await load.compareReplicas()).toBe(9)
  })
})
