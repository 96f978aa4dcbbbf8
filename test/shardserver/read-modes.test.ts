import { describe, expect, it } from 'vitest'
import { utf8 } from '../../base/bytes.ts'
import { silentLogger } from '../../base/logger.ts'
import { decodeError } from '../../proto/error-codec.ts'
import { pb } from '../../proto/messages.ts'
import { encodeMigration } from '../../shardserver/entry.ts'
import { KvServer } from '../../shardserver/kv-server.ts'
import { keyOf, TestClock, writeBatch } from './builders.ts'
import { FakeReplica, FakeWatcher } from './fake-replica.ts'

const group = 'g1@1'
const key = keyOf(3, 1)
const { LINEARIZABLE, LEASE, FOLLOWER, STALE } = pb.v1.Consistency

async function setUp() {
  const clock = new TestClock()
  const replica = await FakeReplica.open(group, [3, 5])
  const hosts = new Map([[group, { replica, stateMachine: replica.stateMachine }]])
  const host = { nodeOf: (_group: string, number: number) => (number === 0 ? undefined : `n${number}`) }
  const server = new KvServer({ clock, logger: silentLogger, hosts, host, watcher: new FakeWatcher() })
  const put = (change: Partial<pb.v1.Put.$Properties> = {}) =>
    server.execute({
      group,
      configNumber: 3,
      writes: writeBatch(1, [{ shard: 3, sequence: 1, lowestOutstanding: 1, first: true, put: { key, value: utf8('a'), ...change } }]),
    })
  const read = (...reads: Partial<pb.v1.Read.$Properties>[]) =>
    server.execute({ group, configNumber: 3, reads: reads.map((each) => ({ shard: 3, key, ...each })) })
  const scan = (change: pb.v1.ScanRequest.$Properties) => server.scan({ group, configNumber: 3, shards: [3], ...change })
  await put()
  return { clock, replica, server, put, read, scan }
}

describe('how fresh a read must be', () => {
  it('decides how its read index is had; reads that agree on it share one', async () => {
    const { replica, read } = await setUp()
    await read({ consistency: LINEARIZABLE }, { consistency: LEASE }, { consistency: FOLLOWER }, { consistency: LEASE }, {})
    expect(replica.kinds.sort()).toEqual(['follower', 'lease', 'quorum'])
  })

  it('stale: served at once where what is applied was confirmed within the bound, else by a round of its own', async () => {
    const { clock, replica, read } = await setUp()
    clock.nowMs = 100_000
    expect((await read({ consistency: STALE })).reads).toMatchObject([{ found: true }])
    expect(replica.kinds).toEqual(['follower'])
    replica.freshAsOfMs = 90_000
    await read({ consistency: STALE })
    expect(replica.kinds).toHaveLength(1)
    clock.nowMs += 1
    await read({ consistency: STALE })
    expect(replica.kinds).toHaveLength(2)
    replica.freshAsOfMs = clock.nowMs - 50
    await read({ consistency: STALE, maxStalenessMs: 50 })
    expect(replica.kinds).toHaveLength(2)
    await read({ consistency: STALE, maxStalenessMs: 49 })
    expect(replica.kinds).toHaveLength(3)
  })

  it('stale: a replica that cannot be confirmed refuses, and says who leads', async () => {
    const { replica, read, scan } = await setUp()
    replica.role = 'follower'
    replica.leader = 2
    replica.readMode = 'not-leader'
    const { error } = await read({ consistency: STALE })
    expect(decodeError(error ?? {})).toMatchObject({ code: 'NOT_LEADER', definite: true, details: { leaderHint: 'n2' } })
    expect(decodeError((await scan({ consistency: STALE })).error ?? {})).toMatchObject({ code: 'NOT_LEADER' })
  })

  it('some reads of a request that are refused are refused alone', async () => {
    const { clock, replica, read } = await setUp()
    clock.nowMs = 1000
    replica.freshAsOfMs = 999
    replica.readMode = 'not-leader'
    const reply = await read({ consistency: STALE }, { consistency: FOLLOWER })
    expect(reply.error ?? undefined).toBeUndefined()
    expect(reply.reads).toMatchObject([{ found: true }, {}])
    expect(decodeError(reply.reads[1]?.error ?? {}).code).toBe('NOT_LEADER')
  })

  it('no replica answers for a shard that it does not serve, however stale an answer may be', async () => {
    const { replica, read } = await setUp()
    replica.freshAsOfMs = Number.POSITIVE_INFINITY
    const { reads } = await read({ shard: 4, key: keyOf(4, 1), consistency: STALE })
    expect(decodeError(reads[0]?.error ?? {}).code).toMatch(/SHARD_MOVING|WRONG_GROUP/)
  })

  it('a shard that is handed over while the read index is confirmed is not read', async () => {
    const { replica, read } = await setUp()
    replica.readMode = 'holds'
    const reply = read({})
    const other = read({ shard: 5, key: keyOf(5, 1) })
    await new Promise((resolve) => setImmediate(resolve))
    for (const kind of ['export', 'release'] as const) {
      const step = { kind, id: 7, shards: [3], attempt: 1 }
      await replica.stateMachine.apply([replica.log.add(encodeMigration(replica.timeMs, step))])
    }
    replica.release()
    expect(decodeError((await reply).reads[0]?.error ?? {}).code).toMatch(/SHARD_MOVING|WRONG_GROUP/)
    expect((await other).reads).toEqual([{ found: false }])
  })

  it.each([FOLLOWER, STALE])("a record that has expired by the leader's time alone is for the leader to bury (%s)", async (consistency) => {
    const { replica, put, server } = await setUp()
    await put()
    const ttl = { shard: 3, sequence: 2, lowestOutstanding: 2, first: false, put: { key, value: utf8('a'), ttlMs: 50 } }
    await server.execute({ group, configNumber: 3, writes: writeBatch(1, [ttl]) })
    const entries = replica.log.entries.length
    replica.role = 'follower'
    replica.leader = 2
    replica.timeMs += 51
    const request = { group, configNumber: 3 }
    const reply = await server.execute({ ...request, reads: [{ shard: 3, key, consistency }] })
    expect(decodeError(reply.reads[0]?.error ?? {})).toMatchObject({ code: 'NOT_LEADER', details: { leaderHint: 'n2' } })
    expect(decodeError((await server.scan({ ...request, shards: [3], consistency })).error ?? {})).toMatchObject({ code: 'NOT_LEADER' })
    expect(replica.log.entries).toHaveLength(entries)
    replica.role = 'leader'
    const led = await server.execute({ ...request, reads: [{ shard: 3, key, consistency }] })
    expect(led.reads).toEqual([{ found: false }])
    expect(replica.log.entries).toHaveLength(entries + 1)
  })

  it('a bound above an hour is refused', async () => {
    const { read, scan } = await setUp()
    const wrong = { consistency: STALE, maxStalenessMs: 3_600_001 }
    expect(decodeError((await read(wrong)).error ?? {})).toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(decodeError((await scan(wrong)).error ?? {})).toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})
