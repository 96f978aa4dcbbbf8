import { describe, expect, it } from 'vitest'
import { utf8, utf8Text } from '../../base/bytes.ts'
import { silentLogger } from '../../base/logger.ts'
import type { Route, Stream, StreamHandlers, StreamRoute } from '../../base/transport.ts'
import { decodeError } from '../../proto/error-codec.ts'
import type { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import type { Command } from '../../shardserver/commands.ts'
import { encodeMigration } from '../../shardserver/entry.ts'
import type { InFlightLimits } from '../../shardserver/in-flight.ts'
import type { MovesView } from '../../shardserver/kv-node.ts'
import { KvServer } from '../../shardserver/kv-server.ts'
import type { MigrationStep } from '../../shardserver/migration-entry.ts'
import { Caller, keyOf, TestClock, writeBatch } from './builders.ts'
import { configOf, FakeReplica, FakeWatcher } from './fake-replica.ts'

const group = 'g1@1'
const key = keyOf(3, 1)

class FakeStream implements Stream<pb.v1.ExecuteReply> {
  readonly replies: pb.v1.ExecuteReply[] = []
  /** Replies by turn. */
  readonly turns: number[] = []
  blocked = false
  closed = false
  #counted = false
  onReply: (() => void) | undefined
  handlers: StreamHandlers<pb.v1.ExecuteRequest> | undefined

  write(message: pb.v1.ExecuteReply): boolean {
    this.replies.push(pb.v1.ExecuteReply.decode(pb.v1.ExecuteReply.encode(message).finish()))
    if (!this.#counted) {
      this.turns.push(0)
      this.#counted = true
      queueMicrotask(() => {
        this.#counted = false
      })
    }
    this.turns[this.turns.length - 1] = (this.turns.at(-1) ?? 0) + 1
    this.onReply?.()
    return !this.blocked
  }

  end(): void {
    if (this.closed) return
    this.closed = true
    this.handlers?.onEnd(undefined)
  }

  count(wanted: number): Promise<void> {
    return new Promise((resolve) => {
      this.onReply = () => {
        if (this.replies.length >= wanted) resolve()
      }
      this.onReply()
    })
  }
}

async function setUp(
  options: { connectionLimits?: InFlightLimits; nodeLimits?: InFlightLimits; scansMax?: number; moves?: MovesView } = {},
) {
  const clock = new TestClock()
  const replica = await FakeReplica.open(group, [3, 5])
  const hosted = new Map([[group, { replica, stateMachine: replica.stateMachine }]])
  const watcher = new FakeWatcher()
  const host = { nodeOf: (_group: string, number: number) => (number === 0 ? undefined : `n${number}`) }
  const server = new KvServer({ clock, logger: silentLogger, hosts: hosted, host, watcher, ...options })
  const execute = (change: Partial<pb.v1.ExecuteRequest.$Properties>) => server.execute({ id: 9, group, configNumber: 3, ...change })
  const put = (value: string, change: Partial<Command> = {}) =>
    writeBatch(1, [{ shard: 3, sequence: 1, lowestOutstanding: 1, first: true, put: { key, value: utf8(value) }, ...change }])
  const open = () => {
    const stream = new FakeStream()
    const route = server.routes().find(({ method }: Route) => method.kind === 'stream') as StreamRoute<
      pb.v1.ExecuteRequest,
      pb.v1.ExecuteReply
    >
    const handlers = route.accept(stream, { listener: 'default', peer: 'test' })
    stream.handlers = handlers
    const send = (request: pb.v1.ExecuteRequest.$Properties) =>
      handlers.onMessage(new pb.v1.ExecuteRequest({ group, configNumber: 3, ...request }))
    return { stream, handlers, send }
  }
  return { clock, replica, hosted, watcher, server, execute, put, open }
}

function errorOf(message: pb.v1.Error.$Properties | null | undefined): OstrakaError {
  if (!message) throw new Error('no error')
  return decodeError(message)
}

function step(replica: FakeReplica, migration: MigrationStep): Promise<void> {
  return new Promise((resolve, reject) => {
    replica.propose(encodeMigration(replica.timeMs, migration), (outcome) => {
      if (outcome.kind === 'applied' && outcome.result.kind === 'migrated') resolve()
      else reject(new Error(JSON.stringify(outcome)))
    })
  })
}

describe('the KV server of a node', () => {
  it('answers writes and reads, the second time from the stored reply', async () => {
    const { execute, put, replica } = await setUp()
    const read = { shard: 3, key }
    const first = await execute({ writes: put('a') })
    expect(first).toMatchObject({ id: 9, configNumber: 3, error: null, writes: [{ revision: 1 }] })
    const again = await execute({ writes: put('b'), reads: [read, { shard: 5, key: keyOf(5, 1) }] })
    expect(again.writes).toMatchObject([{ revision: 1 }])
    const after = await execute({ reads: [read, { shard: 5, key: keyOf(5, 1) }] })
    expect(after.reads).toMatchObject([{ found: true, revision: 1 }, { found: false }])
    expect(utf8Text(after.reads[0]?.value ?? new Uint8Array(0))).toBe('a')
    expect(replica.log.entries).toHaveLength(3)
    expect(replica.readIndexes).toBe(2)
  })

  it('proposes nothing of a request that is not right', async () => {
    const { execute, put, replica, server } = await setUp()
    for (const change of [
      {},
      { writes: utf8('junk') },
      { writes: put('a', { shard: 4 }) },
      { writes: put('a', { sequence: 0 }) },
      { reads: [{ shard: 9, key }] },
    ]) {
      const error = errorOf((await execute(change)).error)
      expect([error.code, error.definite]).toEqual(['INVALID_ARGUMENT', true])
    }
    expect(errorOf((await server.execute({ group: 'g1@1', configNumber: 2 ** 60 })).error).code).toBe('INVALID_ARGUMENT')
    expect(replica.log.entries).toHaveLength(1)
  })

  it.each([
    ['not-leader', 'NOT_LEADER', true],
    ['overloaded', 'OVERLOADED', true],
    ['stopped', 'UNAVAILABLE', true],
    ['loses', 'UNKNOWN', false],
  ] as const)('says what became of a write: %s', async (mode, code, definite) => {
    const { execute, put, replica } = await setUp()
    replica.mode = mode
    replica.leader = 2
    const error = errorOf((await execute({ writes: put('a') })).error)
    expect([error.code, error.definite, error.details.leaderHint]).toEqual([code, definite, mode === 'not-leader' ? 'n2' : ''])
    if (mode === 'overloaded') expect(error.details.waitMs).toBeGreaterThan(0)
  })

  it.each([
    [2, false, 'n2 leads the group'],
    [2, true, 'n2 is being elected to lead the group'],
    [0, false, 'no leader is known here'],
  ])('says who leads, or only is to lead, in the text of a refusal: replica %i, heir %s', async (leader, isHeir, text) => {
    const { execute, put, replica, server } = await setUp()
    Object.assign(replica, { mode: 'not-leader', readMode: 'not-leader', leader, isHeir })
    const expected = { code: 'NOT_LEADER', message: text, definite: true, details: { leaderHint: leader === 0 ? '' : 'n2' } }
    expect(errorOf((await execute({ writes: put('a') })).error)).toMatchObject(expected)
    expect(errorOf((await execute({ reads: [{ shard: 3, key }] })).error)).toMatchObject(expected)
    expect(errorOf((await server.scan({ group, configNumber: 3, shards: [3] })).error)).toMatchObject(expected)
  })

  it('fails only the part of a request that failed', async () => {
    const { execute, put, replica } = await setUp()
    await execute({ writes: put('a') })
    replica.mode = 'loses'
    const half = await execute({ writes: put('b'), reads: [{ shard: 3, key }] })
    expect(half.error).toBeNull()
    expect(errorOf(half.writes[0]?.error).code).toBe('UNKNOWN')
    expect(half.reads).toMatchObject([{ found: true }])
    replica.mode = 'serves'
    replica.readMode = 'not-leader'
    const other = await execute({ writes: put('b'), reads: [{ shard: 3, key }] })
    expect(other.writes).toMatchObject([{ revision: 1 }])
    expect(errorOf(other.reads[0]?.error).code).toBe('NOT_LEADER')
  })

  it('refuses a request as a whole where all its parts are refused, so that its caller turns to the leader', async () => {
    const { execute, put, replica } = await setUp()
    replica.mode = 'not-leader'
    replica.readMode = 'not-leader'
    replica.leader = 2
    const both = await execute({ writes: put('a'), reads: [{ shard: 3, key }] })
    expect(errorOf(both.error)).toMatchObject({ code: 'NOT_LEADER', definite: true, details: { leaderHint: 'n2' } })
    expect([both.writes.length, both.reads.length]).toEqual([0, 0])
    replica.mode = 'loses'
    const lost = await execute({ writes: put('a'), reads: [{ shard: 3, key }] })
    expect(errorOf(lost.error)).toMatchObject({ code: 'UNKNOWN', definite: false })
  })

  it('reads no more than a reply may hold, and asks to come again for the rest', async () => {
    const { execute, replica, server } = await setUp()
    const large = new Uint8Array(3 * 1024 * 1024).fill(1)
    const writes = writeBatch(1, [{ shard: 3, sequence: 1, lowestOutstanding: 1, first: true, put: { key, value: large } }])
    expect((await execute({ writes })).writes).toMatchObject([{ revision: 1 }])
    const reads = Array.from({ length: 1000 }, () => ({ shard: 3, key }))
    for (const cold of [false, true]) {
      replica.store.cold = cold
      const before = replica.store.reads
      const reply = await execute({ reads })
      expect(reply.reads.filter((read) => read.found).length).toBe(2)
      expect(errorOf(reply.reads[999]?.error)).toMatchObject({ code: 'OVERLOADED', definite: true })
      expect(pb.v1.ExecuteReply.encode(reply).finish().length).toBeLessThan(16 * 1024 * 1024)
      expect(replica.store.reads - before).toBeLessThanOrEqual(1000)
    }
    // What was held has been given back.
    for (let i = 0; i < 100; i++)
      expect((await server.execute({ group, configNumber: 3, reads: reads.slice(0, 2) })).reads[1]?.found).toBe(true)
  })

  it('counts what was read as under way until the reply has left', async () => {
    const { open, execute, replica } = await setUp({ connectionLimits: { requests: 100, bytes: 50_000 } })
    const writes = writeBatch(1, [
      { shard: 3, sequence: 1, lowestOutstanding: 1, first: true, put: { key, value: new Uint8Array(20_000) } },
    ])
    await execute({ writes })
    const { stream, handlers, send } = open()
    stream.blocked = true
    for (let id = 1; id <= 6; id++) send({ id, reads: [{ shard: 3, key }] })
    await stream.count(1)
    await new Promise((resolve) => setImmediate(resolve))
    expect(stream.replies.length).toBe(1)
    stream.blocked = false
    handlers.onDrain?.()
    await stream.count(6)
    const found = stream.replies.map((reply) => reply.reads[0]?.found ?? false)
    expect(found.filter(Boolean).length).toBe(2)
    expect(errorOf(stream.replies[5]?.reads[0]?.error).code).toBe('OVERLOADED')
    send({ id: 7, reads: [{ shard: 3, key }] })
    await stream.count(7)
    expect(stream.replies[6]?.reads[0]?.found).toBe(true)
    expect(replica.readIndexes).toBe(7)
  })

  it('fetches the config of the request before it refuses', async () => {
    const { execute, put, hosted, replica, watcher } = await setUp()
    hosted.clear()
    const reply = execute({ writes: put('a'), configNumber: 4 })
    expect(watcher.asked).toEqual([4])
    hosted.set(group, { replica, stateMachine: replica.stateMachine })
    watcher.offer(configOf(4))
    expect(await reply).toMatchObject({ configNumber: 4, writes: [{ revision: 1 }] })
    hosted.clear()
    const waiting = execute({ writes: put('a'), configNumber: 5 })
    watcher.fail()
    const unreachable = errorOf((await waiting).error)
    expect([unreachable.code, unreachable.definite]).toEqual(['UNAVAILABLE', true])
    expect(errorOf((await execute({ writes: put('a') })).error).code).toBe('UNAVAILABLE')
    expect(errorOf((await execute({ writes: put('a'), group: 'g9@7' })).error)).toMatchObject({
      code: 'WRONG_GROUP',
      details: { configNumber: 4 },
    })
  })

  it('tells who has a shard that is not here, and to wait for one that is not born yet or that a newer config gives', async () => {
    const { execute, put } = await setUp()
    const far = keyOf(12, 1)
    const reply = await execute({ writes: put('a', { shard: 12, put: { key: far } }) })
    expect(errorOf(reply.writes[0]?.error)).toMatchObject({
      code: 'WRONG_GROUP',
      definite: true,
      details: { configNumber: 3, groupHint: 'g2@1' },
    })
    const read = await execute({ reads: [{ shard: 12, key: far }] })
    expect(errorOf(read.reads[0]?.error)).toMatchObject({ code: 'WRONG_GROUP', details: { groupHint: 'g2@1' } })
    const unborn = await execute({ writes: put('a', { shard: 6, put: { key: keyOf(6, 1) } }), reads: [{ shard: 6, key: keyOf(6, 1) }] })
    for (const error of [unborn.writes[0]?.error, unborn.reads[0]?.error]) {
      expect(errorOf(error)).toMatchObject({ code: 'SHARD_MOVING', definite: true })
      expect(errorOf(error).details.waitMs).toBeGreaterThan(0)
    }
    const ahead = await execute({ writes: put('a', { shard: 12, put: { key: far } }), configNumber: 8 })
    expect(errorOf(ahead.writes[0]?.error).code).toBe('SHARD_MOVING')
  })

  it('answers at the deadline: a write may have happened, a read has not', async () => {
    const { execute, put, replica, clock } = await setUp()
    clock.stepMs = 100
    replica.mode = 'holds'
    replica.readMode = 'holds'
    const write = errorOf((await execute({ writes: put('a'), timeoutMs: 300 })).error)
    expect([write.code, write.definite]).toEqual(['DEADLINE', false])
    const read = errorOf((await execute({ reads: [{ shard: 3, key }], timeoutMs: 300 })).error)
    expect([read.code, read.definite]).toEqual(['DEADLINE', true])
  })

  it('tells at the deadline what became of the writes, where that is known', async () => {
    const { execute, put, replica, clock } = await setUp()
    clock.stepMs = 100
    replica.readMode = 'holds'
    const reads = [{ shard: 3, key }]
    const done = await execute({ writes: put('a'), reads, timeoutMs: 2000 })
    expect(done).toMatchObject({ error: null, writes: [{ revision: 1 }] })
    expect(errorOf(done.reads[0]?.error)).toMatchObject({ code: 'DEADLINE', definite: true })
    replica.mode = 'loses'
    const lost = await execute({ writes: put('a'), reads, timeoutMs: 2000 })
    expect(errorOf(lost.error)).toMatchObject({ code: 'UNKNOWN', definite: false })
    replica.mode = 'holds'
    const held = await execute({ writes: put('a'), reads, timeoutMs: 2000 })
    expect(errorOf(held.error)).toMatchObject({ code: 'DEADLINE', definite: false })
    replica.mode = 'serves'
    const unproposed = await execute({ writes: put('a', { sequence: 0 }), reads, timeoutMs: 2000 })
    expect(errorOf(unproposed.error).code).toBe('INVALID_ARGUMENT')
  })

  it("logs one time mark for reads of records that only the leader's time has passed", async () => {
    const { execute, put, replica, server } = await setUp()
    await execute({ writes: put('a', { put: { key, value: utf8('a'), ttlMs: 50 } }) })
    replica.timeMs = 1020
    const early = await execute({ reads: [{ shard: 3, key }] })
    expect(early.reads).toMatchObject([{ found: true, expiresInMs: 30 }])
    replica.timeMs = 1051
    const entries = replica.log.entries.length
    const two = await execute({
      reads: [
        { shard: 3, key },
        { shard: 3, key },
      ],
    })
    expect(two.reads).toMatchObject([{ found: false }, { found: false }])
    expect(replica.log.entries.length).toBe(entries + 1)
    await execute({ writes: put('z', { sequence: 2, put: { key, value: utf8('z'), ttlMs: 10 } }) })
    replica.timeMs = 2000
    expect(await server.scan({ group, configNumber: 3, shards: [3, 5] })).toMatchObject({ error: null, entries: [], more: false })
    expect(replica.log.entries.length).toBe(entries + 3)
  })

  it('scans, and refuses as reads do', async () => {
    const { server, execute, replica } = await setUp()
    const caller = new Caller(1, 3)
    for (let i = 0; i < 5; i++) await execute({ writes: writeBatch(1, [caller.next({ put: { key: keyOf(3, i), value: utf8(`${i}`) } })]) })
    const page = await server.scan({ group, configNumber: 3, shards: [3, 5], limit: 3 })
    expect([page.entries.map((entry) => utf8Text(entry.key ?? new Uint8Array(0))[1]), page.more]).toEqual([['0', '1', '2'], true])
    const down = await server.scan({ group, configNumber: 3, shards: [3], reverse: true, consistency: pb.v1.Consistency.STALE })
    expect(down.entries.map((entry) => utf8Text(entry.value ?? new Uint8Array(0)))).toEqual(['4', '3', '2', '1', '0'])
    expect(replica.readIndexes).toBe(2)
    expect(errorOf((await server.scan({ group, configNumber: 3, shards: [12] })).error)).toMatchObject({
      code: 'WRONG_GROUP',
      details: { groupHint: 'g2@1' },
    })
    expect(errorOf((await server.scan({ group, configNumber: 3, shards: [] })).error).code).toBe('INVALID_ARGUMENT')
    replica.readMode = 'not-leader'
    expect(errorOf((await server.scan({ group, configNumber: 3, shards: [3] })).error).code).toBe('NOT_LEADER')
    replica.readMode = 'holds'
    expect(errorOf((await server.scan({ group, configNumber: 3, shards: [3], timeoutMs: 20 })).error)).toMatchObject({
      code: 'DEADLINE',
      definite: true,
    })
  })

  it('counts a scan until its work is over, also behind its deadline', async () => {
    const { server, replica } = await setUp({ scansMax: 1 })
    const scan = (timeoutMs: number) => server.scan({ group, configNumber: 3, shards: [3], timeoutMs })
    replica.readMode = 'holds'
    expect(errorOf((await scan(5)).error).code).toBe('DEADLINE')
    expect(errorOf((await scan(5)).error)).toMatchObject({ code: 'OVERLOADED', definite: true })
    replica.release()
    await new Promise((resolve) => setImmediate(resolve))
    replica.readMode = 'serves'
    expect((await scan(1000)).error).toBeNull()
  })

  it('is idle when all that came is answered, and does not wait longer than it is told', async () => {
    const { clock, server, execute, replica } = await setUp()
    await server.whenIdle(1000)
    replica.readMode = 'holds'
    const answered: string[] = []
    const read = execute({ reads: [{ shard: 3, key }], timeoutMs: 60_000 }).then(() => answered.push('read'))
    const idle = server.whenIdle(1000).then(() => answered.push('idle'))
    await new Promise((resolve) => setImmediate(resolve))
    expect(answered).toEqual([])
    replica.release()
    await Promise.all([read, idle])
    expect(answered).toEqual(['read', 'idle'])
    const open = execute({ reads: [{ shard: 3, key }], timeoutMs: 60_000 })
    clock.stepMs = 600
    await server.whenIdle(1000)
    replica.release()
    await open
  })

  it('sends the replies of a turn together, each with its id', async () => {
    const { open, put } = await setUp()
    const { stream, send } = open()
    for (let i = 1; i <= 10; i++) send({ id: i, writes: put(`${i}`, { sequence: i }) })
    for (let i = 11; i <= 20; i++) send({ id: i, reads: [{ shard: 3, key }] })
    await stream.count(20)
    expect(stream.replies.map(({ id }) => id).sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1))
    expect(stream.turns.length).toBeLessThan(10)
  })

  it('refuses early when too much is under way on a connection or on the node', async () => {
    const { open, put, replica } = await setUp({
      connectionLimits: { requests: 2, bytes: 10_000 },
      nodeLimits: { requests: 3, bytes: 1e9 },
    })
    replica.mode = 'holds'
    const one = open()
    for (let i = 1; i <= 3; i++) one.send({ id: i, writes: put('a') })
    await one.stream.count(1)
    expect(one.stream.replies).toMatchObject([{ id: 3 }])
    const error = errorOf(one.stream.replies[0]?.error)
    expect([error.code, error.definite]).toEqual(['OVERLOADED', true])
    expect(error.details.waitMs).toBeGreaterThan(0)
    const two = open()
    for (let i = 1; i <= 2; i++) two.send({ id: i, writes: put('a') })
    await two.stream.count(1)
    expect(two.stream.replies).toMatchObject([{ id: 2 }])
    const large = open()
    large.send({ id: 1, writes: new Uint8Array(20_000) })
    await large.stream.count(1)
    expect(errorOf(large.stream.replies[0]?.error).code).toBe('OVERLOADED')
  })

  it('takes a request off the count when its reply has left', async () => {
    const { open, put } = await setUp({ connectionLimits: { requests: 2, bytes: 1e6 }, nodeLimits: { requests: 2, bytes: 1e6 } })
    const { stream, send } = open()
    for (let i = 1; i <= 6; i++) {
      send({ id: i, writes: put('a', { sequence: i }) })
      await stream.count(i)
    }
    expect(stream.replies.map(({ error }) => error)).toEqual([null, null, null, null, null, null])
  })

  it('names the new owner of a shard that was handed over, as soon as a config says so', async () => {
    const { execute, put, replica, watcher } = await setUp()
    await step(replica, { kind: 'export', id: 1, shards: [3], attempt: 1 })
    await step(replica, { kind: 'release', id: 1, shards: [3] })
    const before = await execute({ writes: put('a') })
    expect(errorOf(before.writes[0]?.error).code).toBe('SHARD_MOVING')
    expect(watcher.asked).toEqual([4])
    watcher.offer(configOf(4, (shard) => (shard < 8 && shard !== 3 ? 'g1@1' : 'g2@1')))
    const after = errorOf((await execute({ writes: put('a'), reads: [{ shard: 3, key }] })).writes[0]?.error)
    expect([after.code, after.details.groupHint, after.details.configNumber]).toEqual(['WRONG_GROUP', 'g2@1', 4])
  })

  it('keeps writes back whose new group does not keep up, refuses more of them, and proposes none whose deadline has passed', async () => {
    const { clock, execute, replica, server } = await setUp()
    let sequence = 0
    const put = () =>
      writeBatch(1, [
        { shard: 3, sequence: ++sequence, lowestOutstanding: sequence, first: true, put: { key, value: new Uint8Array(900) } },
      ])
    server.slow(group, { migration: 1, shards: [3], replayRate: 1000 })
    expect((await execute({ writes: put() })).writes).toMatchObject([{ revision: 1 }])
    const proposed = replica.log.entries.length
    const held = execute({ writes: put(), timeoutMs: 50 })
    const refused = errorOf((await execute({ writes: put() })).error)
    expect([refused.code, refused.definite]).toEqual(['OVERLOADED', true])
    expect(refused.details.waitMs).toBeGreaterThan(2000)
    clock.nowMs += 60
    const late = errorOf((await held).error)
    expect([late.code, late.definite]).toEqual(['DEADLINE', true])
    server.shardsChanged(group, false, [])
    expect(replica.log.entries).toHaveLength(proposed)
    expect((await execute({ writes: put() })).writes).toMatchObject([{ revision: 2 }])
  })

  it('lets a request wait for a shard that the config has given to this group and that is being filled', async () => {
    const { execute, replica, server } = await setUp()
    await step(replica, { kind: 'import', id: 1, shards: [4], attempt: 1, from: 'g2@1' })
    server.shardsChanged(group, true, [])
    const elsewhere = writeBatch(1, [
      { shard: 4, sequence: 1, lowestOutstanding: 1, first: true, put: { key: keyOf(4, 1), value: utf8('a') } },
    ])
    let answered = false
    const early = execute({ writes: elsewhere }).finally(() => {
      answered = true
    })
    const others = await execute({ reads: [{ shard: 5, key: keyOf(5, 1) }] })
    expect(others.reads).toMatchObject([{ found: false }])
    expect(answered).toBe(false)
    await step(replica, { kind: 'outcome', id: 1, shards: [4], outcome: 'aborted', epochs: [] })
    server.shardsChanged(group, false, [])
    expect(errorOf((await early).writes[0]?.error).code).toBe('SHARD_MOVING')
  })

  it('names the group that serves a shard until it has given it here', async () => {
    const moves = { sourceOf: (to: string, shard: number) => (to === group && shard === 4 ? 'g2@1' : undefined) }
    const { execute, replica, server } = await setUp({ moves })
    await step(replica, { kind: 'import', id: 1, shards: [4], attempt: 1, from: 'g2@1' })
    server.shardsChanged(group, true, [])
    const writes = writeBatch(1, [
      { shard: 4, sequence: 1, lowestOutstanding: 1, first: true, put: { key: keyOf(4, 1), value: utf8('a') } },
    ])
    const reply = await execute({ writes, reads: [{ shard: 4, key: keyOf(4, 1) }] })
    for (const { error } of [...reply.writes, ...reply.reads]) {
      expect([errorOf(error).code, errorOf(error).details.groupHint]).toEqual(['SHARD_MOVING', 'g2@1'])
    }
  })

  it('answers what a request asks of other shards though the source of one that is being filled is gone', async () => {
    const { execute, replica, server } = await setUp()
    await step(replica, { kind: 'import', id: 1, shards: [4], attempt: 1, from: 'g2@1' })
    server.shardsChanged(group, true, [])
    const moving = { shard: 4, key: keyOf(4, 1) }
    let answered = false
    const early = execute({ reads: [moving] }).finally(() => {
      answered = true
    })
    for (let i = 0; i < 3; i++) {
      const { reads } = await execute({ reads: [moving, { shard: 5, key: keyOf(5, 1) }] })
      expect(errorOf(reads[0]?.error).code).toBe('SHARD_MOVING')
      expect(reads[1]).toMatchObject({ found: false })
    }
    expect(answered).toBe(false)
    expect(errorOf((await early).reads[0]?.error).code).toBe('SHARD_MOVING')
  })

  it('lets a request wait whose config gives it the shard, where this node has not heard of that config yet', async () => {
    const { execute, replica, server, watcher } = await setUp()
    await step(replica, { kind: 'import', id: 1, shards: [12], attempt: 1, from: 'g2@1' })
    server.shardsChanged(group, true, [])
    const read = { shard: 12, key: keyOf(12, 1) }
    const before = await execute({ reads: [read] })
    expect(errorOf(before.reads[0]?.error).code).toBe('SHARD_MOVING')
    let answered = false
    const early = execute({ reads: [read], configNumber: 4 }).finally(() => {
      answered = true
    })
    watcher.offer(configOf(4, (shard) => (shard < 8 || shard === 12 ? 'g1@1' : 'g2@1')))
    await execute({ reads: [{ shard: 5, key: keyOf(5, 1) }] })
    expect(answered).toBe(false)
    await step(replica, { kind: 'outcome', id: 1, shards: [12], outcome: 'aborted', epochs: [] })
    server.shardsChanged(group, false, [])
    expect((await early).reads).toHaveLength(1)
  })

  it('sends who comes early to the leader, who lets it wait', async () => {
    const { execute, replica, server } = await setUp()
    await step(replica, { kind: 'import', id: 1, shards: [4], attempt: 1, from: 'g2@1' })
    server.shardsChanged(group, true, [])
    replica.role = 'follower'
    replica.leader = 2
    replica.mode = 'not-leader'
    replica.readMode = 'not-leader'
    const writes = writeBatch(1, [
      { shard: 4, sequence: 1, lowestOutstanding: 1, first: true, put: { key: keyOf(4, 1), value: utf8('a') } },
    ])
    for (const request of [{ writes }, { reads: [{ shard: 4, key: keyOf(4, 1) }] }]) {
      expect(errorOf((await execute(request)).error)).toMatchObject({ code: 'NOT_LEADER', details: { leaderHint: 'n2' } })
    }
    let answered = false
    const stale = execute({ reads: [{ shard: 4, key: keyOf(4, 1), consistency: pb.v1.Consistency.FOLLOWER }] }).finally(() => {
      answered = true
    })
    await execute({ reads: [{ shard: 5, key: keyOf(5, 1) }] })
    expect(answered).toBe(false)
    replica.readMode = 'serves'
    replica.mode = 'serves'
    await step(replica, { kind: 'outcome', id: 1, shards: [4], outcome: 'aborted', epochs: [] })
    server.shardsChanged(group, false, [])
    expect((await stale).reads).toHaveLength(1)
  })

  it('lets a large request through on an idle connection', async () => {
    const { open, put } = await setUp({ connectionLimits: { requests: 2, bytes: 300 } })
    const { stream, send } = open()
    send({ id: 1, writes: put('x'.repeat(5000)) })
    send({ id: 2, writes: put('y') })
    await stream.count(2)
    expect(stream.replies.find(({ id }) => id === 1)?.writes).toMatchObject([{ revision: 1 }])
    expect(errorOf(stream.replies.find(({ id }) => id === 2)?.error).code).toBe('OVERLOADED')
  })

  it('holds replies back while the other side takes none, and ends the stream of one who never reads', async () => {
    const { open, put, replica } = await setUp({ connectionLimits: { requests: 4, bytes: 1e6 } })
    const { stream, handlers, send } = open()
    stream.blocked = true
    for (let i = 1; i <= 4; i++) send({ id: i, writes: put('a', { sequence: i }) })
    await stream.count(1)
    expect(stream.replies).toHaveLength(1)
    for (let i = 5; i <= 30 && !stream.closed; i++) {
      send({ id: i, writes: put('a', { sequence: i }) })
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(stream.closed).toBe(true)
    expect(replica.log.entries.length).toBeLessThanOrEqual(6)
    handlers.onDrain?.()
    const other = open()
    for (let i = 1; i <= 4; i++) other.send({ id: i, writes: put('a', { sequence: i }) })
    await other.stream.count(4)
    expect(other.stream.replies.every(({ error }) => error === null)).toBe(true)
  })

  it('goes on after a client that left with requests under way', async () => {
    const { open, put, replica, execute } = await setUp({ nodeLimits: { requests: 3, bytes: 1e9 } })
    const { stream, send } = open()
    for (let i = 1; i <= 3; i++) send({ id: i, writes: put('a', { sequence: i }) })
    stream.end()
    while (replica.log.entries.length < 4) await new Promise((resolve) => setImmediate(resolve))
    await new Promise((resolve) => setImmediate(resolve))
    expect(stream.replies).toHaveLength(0)
    const replies = await Promise.all([1, 2, 3].map((sequence) => execute({ writes: put('a', { sequence }) })))
    expect(replies.every(({ error }) => error === null)).toBe(true)
  })

  it('answers reads that fail on this node, at once or later, and goes on', async () => {
    const { execute, hosted, replica } = await setUp()
    const broken = (read: () => never) => hosted.set(group, { replica, stateMachine: { ...bound(replica), read } as never })
    const failures: (() => never)[] = [
      () => {
        throw new Error('damaged table')
      },
      (() => Promise.reject(new Error('damaged table'))) as () => never,
    ]
    for (const failure of failures) {
      broken(failure)
      for (const consistency of [pb.v1.Consistency.LINEARIZABLE, pb.v1.Consistency.STALE]) {
        const error = errorOf((await execute({ reads: [{ shard: 3, key, consistency }] })).error)
        expect([error.code, error.definite]).toEqual(['UNAVAILABLE', true])
        expect(error.message).toContain('damaged table')
      }
    }
  })

  it('reads what is not in memory', async () => {
    const { execute, put, hosted, replica } = await setUp()
    await execute({ writes: put('a') })
    const { stateMachine } = replica
    const read = async (...call: Parameters<typeof stateMachine.read>) => stateMachine.read(...call)
    hosted.set(group, { replica, stateMachine: { ...bound(replica), read } as never })
    expect(
      (
        await execute({
          reads: [
            { shard: 3, key },
            { shard: 3, key },
          ],
        })
      ).reads,
    ).toMatchObject([{ found: true }, { found: true }])
  })
})

function bound({ stateMachine }: FakeReplica) {
  return { scan: stateMachine.scan.bind(stateMachine), timeMs: stateMachine.timeMs }
}
