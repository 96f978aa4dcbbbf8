import { describe, expect, it } from 'vitest'
import type { Client } from '../../client/client.ts'
import { pb } from '../../proto/messages.ts'
import { FakeCluster, refusal } from './fake-cluster.ts'

/** n1 leads, and the client knows it. */
async function start(seed: number): Promise<{ cluster: FakeCluster; db: Client; nodes: () => string[] }> {
  const cluster = await new FakeCluster(seed).start()
  const db = await cluster.connect()
  await cluster.settle(db.put('k', 'v'))
  cluster.seen.length = 0
  return { cluster, db, nodes: () => cluster.seen.map(({ node }) => node) }
}

describe('reads that any replica may answer', () => {
  for (const read of ['follower', 'stale'] as const) {
    it(`are spread over the replicas (${read})`, async () => {
      const { cluster, db, nodes } = await start(1)
      for (let i = 0; i < 6; i++) expect((await cluster.settle(db.get('k', { read })))?.value.toString()).toBe('v')
      expect([...nodes()].sort()).toEqual(['n1', 'n1', 'n2', 'n2', 'n3', 'n3'])
    })
  }

  it('say how old an answer may be', async () => {
    const { cluster, db } = await start(2)
    const reads: pb.v1.Read.$Properties[] = []
    cluster.onReads = (all) => reads.push(...all)
    await cluster.settle(db.get('k', { read: 'stale' }))
    await cluster.settle(db.get('k', { read: 'stale', maxStalenessMs: 70 }))
    expect(reads.map(({ consistency, maxStalenessMs }) => [consistency, maxStalenessMs])).toEqual([
      [pb.v1.Consistency.STALE, 10_000],
      [pb.v1.Consistency.STALE, 70],
    ])
  })

  it('go to the leader once a replica could not answer, be it one of them or all', async () => {
    const { cluster, db, nodes } = await start(3)
    await cluster.settle(Promise.all(['k', 'other'].map((key) => db.put(key, key))))
    for (const refuse of [
      { refuse: refusal('NOT_LEADER', true, { leaderHint: 'n1' }) },
      { refuseReads: (_: number, key: string) => (key === 'k' ? refusal('NOT_LEADER', true, { leaderHint: 'n1' }) : undefined) },
    ]) {
      cluster.script = (seen) => (seen.isForAnyReplica && seen.node !== 'n1' ? refuse : undefined)
      for (let i = 0; i < 3; i++) {
        cluster.seen.length = 0
        const found = await cluster.settle(Promise.all(['k', 'other'].map((key) => db.get(key, { read: 'follower' }))))
        expect(found.map((each) => each?.value.toString())).toEqual(['k', 'other'])
        expect(nodes().at(-1)).toBe('n1')
        expect(nodes().length).toBeLessThanOrEqual(2)
      }
    }
  })

  it('pass by a replica that is dead, and do not take one that answers for the leader', async () => {
    const { cluster, db, nodes } = await start(4)
    cluster.processes.get('n2')?.kill()
    for (let i = 0; i < 12; i++) await cluster.settle(db.get('k', { read: 'stale' }))
    expect(new Set(nodes())).toEqual(new Set(['n1', 'n3']))
    cluster.seen.length = 0
    await cluster.settle(db.put('k', 'w'))
    expect(nodes()).toEqual(['n1'])
  })

  it('of a replica that says nothing are answered by the leader', async () => {
    const { cluster, db, nodes } = await start(5)
    cluster.script = (seen) => (seen.node === 'n1' ? undefined : 'ignore')
    for (let i = 0; i < 3; i++) expect((await cluster.settle(db.get('k', { read: 'follower' })))?.value.toString()).toBe('v')
    expect(nodes().at(-1)).toBe('n1')
  })

  it('keep their place behind earlier writes of the same key', async () => {
    const { cluster, db } = await start(6)
    const calls = [db.put('k', 'new'), db.get('k', { read: 'follower' }), db.get('k'), db.get('k', { read: 'stale' })] as const
    const [, ...found] = await cluster.settle(Promise.all(calls))
    expect(found.map((each) => each?.value.toString())).toEqual(['new', 'new', 'new'])
  })

  it('are no matter of writes, whatever the client reads by default', async () => {
    const cluster = await new FakeCluster(7).start()
    const db = await cluster.connect({ read: 'stale' })
    await cluster.settle(db.put('k', 'v'.repeat(2000)))
    cluster.seen.length = 0
    const outcome = await cluster.settle(db.compareAndSet('k', { absent: true }, 'w'))
    expect(outcome).toMatchObject({ applied: false, current: { value: Buffer.from('v'.repeat(2000)) } })
    expect(cluster.seen.every((seen) => !seen.isForAnyReplica)).toBe(true)
    expect((await cluster.settle(db.explain('k'))).leader).toBe('n1')
  })

  it('scan: pages come from any replica, and from the leader where one cannot', async () => {
    const { cluster, db } = await start(8)
    const keys = Array.from({ length: 30 }, (_, i) => `key-${String(i).padStart(2, '0')}`)
    await cluster.settle(db.putMany(keys.map((key) => [key, key])))
    const asked: string[] = []
    cluster.scanScript = (node) => {
      asked.push(node)
      return node === 'n3' ? refusal('NOT_LEADER', true, { leaderHint: 'n1' }) : undefined
    }
    const found: string[] = []
    const run = async () => {
      for await (const { key } of db.scan({ prefix: 'key-', read: 'follower' })) found.push(key.toString())
    }
    await cluster.settle(run())
    expect(found).toEqual(keys)
    expect(new Set(asked)).toEqual(new Set(['n1', 'n2', 'n3']))
  })
})
