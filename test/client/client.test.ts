import { describe, expect, it } from 'vitest'
import { OstrakaError } from '../../proto/errors.ts'
import { type Deed, FakeCluster, refusal, type Seen } from './fake-cluster.ts'

async function start(seed: number, options: ConstructorParameters<typeof FakeCluster>[1] & { deadlineMs?: number } = {}) {
  const cluster = await new FakeCluster(seed, options).start()
  const { deadlineMs } = options
  const db = await cluster.connect(deadlineMs === undefined ? {} : { deadlineMs })
  return { cluster, db }
}

/** Each of the first requests gets one of the deeds, the later ones none. */
function inTurn(...deeds: (Deed | undefined)[]) {
  let next = 0
  return () => deeds[next++]
}

/** The error of a call that must not succeed; handled from the start. */
function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => {
      throw new Error('the call succeeded')
    },
    (error: unknown) => error,
  )
}

const numbersOf = (seen: readonly Seen[]) => seen.map((request) => request.commands.map((command) => command.sequence))

describe('streams', () => {
  it('are open to every node of a group in use, so that the next leader is not dialled only when it leads', async () => {
    const { cluster, db } = await start(7)
    await cluster.settle(db.put('k', 'one'))
    await cluster.world.runFor(20)
    expect([...cluster.dialled].sort()).toEqual(['n1', 'n2', 'n3'])
    const before = cluster.seen.length
    cluster.leaders.set('g1@1', 'n2')
    await cluster.world.runFor(1000)
    await cluster.settle(db.put('k', 'two'))
    expect(cluster.seen.slice(before).map(({ node }) => node)).toEqual(['n1', 'n2'])
    expect(cluster.dialled).toHaveLength(3)
    await cluster.settle(db.close())
  })

  it('are opened again to a node that was down, once it is up and the group is in use', async () => {
    const { cluster, db } = await start(8)
    cluster.network.isolate('n3', 'refuse')
    await cluster.settle(db.put('k', 'one'))
    await cluster.world.runFor(100)
    expect(cluster.dialled).not.toContain('n3')
    cluster.network.heal()
    await cluster.world.runFor(1000)
    await cluster.settle(db.put('k', 'two'))
    await cluster.world.runFor(100)
    expect(cluster.dialled).toContain('n3')
    await cluster.settle(db.close())
  })
})

describe('every call', () => {
  it('does what the contract says', async () => {
    const { cluster, db } = await start(1)
    const run = <T>(promise: Promise<T>) => cluster.settle(promise)
    expect(await run(db.put('k', 'one', { ttlMs: 60_000 }))).toEqual({ revision: 1 })
    expect(await run(db.get('k'))).toEqual({ value: Buffer.from('one'), revision: 1 })
    expect(await run(db.get('missing'))).toBeUndefined()
    expect(await run(db.append('k', new Uint8Array([33])))).toEqual({ length: 4, revision: 2 })
    expect(await run(db.increment('{k}n', 5))).toMatchObject({ value: 5n })
    expect(await run(db.increment('{k}n'))).toMatchObject({ value: 6n })
    expect(await run(db.increment('{k}n', -(2n ** 40n)))).toMatchObject({ value: 6n - 2n ** 40n })
    expect(await run(db.compareAndSet('k', { value: 'no' }, 'x'))).toEqual({
      applied: false,
      current: { value: Buffer.from('one!'), revision: 2 },
    })
    expect(await run(db.compareAndSet('k', { revision: 2 }, 'two'))).toMatchObject({
      applied: true,
      current: { value: Buffer.from('two') },
    })
    expect(await run(db.compareAndSet('k', { value: 'two' }, { delete: true }))).toEqual({ applied: true, current: undefined })
    expect(await run(db.compareAndSet('k', { absent: true }, ''))).toMatchObject({ applied: true, current: { value: Buffer.alloc(0) } })
    expect(await run(db.expire('k', 1000))).toEqual({ existed: true })
    expect(await run(db.expire('k', null))).toEqual({ existed: true })
    expect(await run(db.delete('k'))).toEqual({ existed: true })
    expect(await run(db.delete('k'))).toEqual({ existed: false })
    const { revision } = await run(db.put('{t}a', 'v'))
    expect((await run(db.batch([{ check: '{t}a', revision }, { put: '{t}b', value: 'w' }, { delete: '{t}a' }]))).revision).toBeGreaterThan(
      revision,
    )
    expect(cluster.value('{t}a')).toBeUndefined()
    expect(cluster.value('{t}b')).toBe('w')
    expect(await cluster.outcome(db.batch([{ check: '{t}b', revision: 999 }, { delete: '{t}b' }]))).toMatchObject({
      code: 'CONDITION_FAILED',
      definite: true,
    })
    expect(await run(db.getMany(['{t}b', 'nothing']))).toMatchObject([{ value: Buffer.from('w') }, undefined])
    const explained = await run(db.explain('{t}b'))
    expect(explained).toMatchObject({ shard: cluster.shardOf('t'), group: 'g1', leader: 'n1', configNumber: 1 })
    expect(cluster.breaches).toEqual([])
  })

  it('refuses wrong arguments at once and as definite', async () => {
    const { cluster, db } = await start(2)
    const wrong: (() => Promise<unknown>)[] = [
      () => db.put('', 'v'),
      () => db.put('k'.repeat(4097), 'v'),
      () => db.put('k', Buffer.alloc(4 * 1024 * 1024 + 1)),
      () => db.put('k', 'v', { ttlMs: 0 }),
      () => db.put('k', 'v', { ttlMs: 1.5 }),
      () => db.put('k', 'v', { ttlMs: 2 ** 51 }),
      () => db.compareAndSet('k', { absent: true }, null as unknown as string),
      () => db.batch([null as unknown as { delete: string }]),
      () => db.put('k', 'v', { deadlineMs: 0 }),
      () => db.put('k', 'v', { deadlineMs: 600_001 }),
      () => db.put(5 as unknown as string, 'v'),
      () => db.put('k', undefined as unknown as string),
      () => db.get('k', { read: 'newest' as 'stale' }),
      () => db.get('k', { maxStalenessMs: 0 }),
      () => db.get('k', { maxStalenessMs: 3_600_001 }),
      () => db.scan({ maxStalenessMs: 1.5 }).next(),
      () => db.increment('k', 2n ** 63n),
      () => db.increment('k', 0.5),
      () => db.compareAndSet('k', {} as { absent: true }, 'v'),
      () => db.compareAndSet('k', { revision: -1 }, 'v'),
      () => db.batch([]),
      () =>
        db.batch([
          { put: 'a', value: '1' },
          { put: 'b', value: '2' },
          { put: 'c', value: '3' },
        ]),
      () => db.batch(Array.from({ length: 1001 }, () => ({ delete: 'k' }))),
      () => db.scan({ limit: -1 }).next(),
    ]
    for (const [index, call] of wrong.entries()) {
      const error = await cluster.outcome(call())
      expect(error, `call ${index}`).toMatchObject({ code: 'INVALID_ARGUMENT', definite: true })
      expect((error as OstrakaError).message).not.toContain('\n')
    }
    expect(cluster.seen).toEqual([])
    await cluster.settle(db.put('k'.repeat(4096), Buffer.alloc(4 * 1024 * 1024)))
  })

  it('names the controllers where none answers', async () => {
    const { Client } = await import('../../client/client.ts')
    const cluster = new FakeCluster(3)
    const { SimProcess } = await import('../sim/sim-process.ts')
    const { clock, random, transport, logger } = new SimProcess(cluster.world, { name: 'app', network: cluster.network })
    const client = new Client({ transport, clock, random, logger, controllers: ['c1:7400', 'c2:7400'], deadlineMs: 300 })
    const error = await cluster.outcome(client.ready())
    expect(error).toMatchObject({ code: 'UNAVAILABLE', definite: true })
    expect((error as OstrakaError).message).toMatch(/^[^\n]*c1:7400, c2:7400[^\n]*$/)
    await client.close()
  })
})

describe('batching', () => {
  it('sends what one turn issues as one request per group, over one stream a node', async () => {
    const { cluster, db } = await start(10, { groups: 2 })
    await cluster.settle(
      Promise.all([db.put('warm1', ''), db.put('warm2', ''), db.put('warm3', ''), db.put('warm4', ''), db.put('warm5', '')]),
    )
    cluster.seen.length = 0
    await cluster.settle(Promise.all(Array.from({ length: 200 }, (_, i) => db.put(`key${i}`, 'v'))))
    expect(cluster.seen.map((request) => request.group).sort()).toEqual(['g1@1', 'g2@1'])
    expect(cluster.seen.reduce((sum, request) => sum + request.commands.length, 0)).toBe(200)
  })

  it('bounds a request by operations and bytes', async () => {
    const { cluster, db } = await start(11)
    await cluster.settle(db.put('warm', ''))
    cluster.seen.length = 0
    await cluster.settle(Promise.all(Array.from({ length: 3000 }, (_, i) => db.put(`key${i}`, 'v'))))
    expect(Math.max(...cluster.seen.map((request) => request.commands.length))).toBe(1000)
    cluster.seen.length = 0
    await cluster.settle(Promise.all(Array.from({ length: 64 }, (_, i) => db.put(`key${i}`, Buffer.alloc(64 * 1024)))))
    expect(Math.max(...cluster.seen.map((request) => request.bytes))).toBeLessThan(512 * 1024)
  })

  it('counts the members of batches, and what needs a whole present value', async () => {
    const { cluster, db } = await start(16)
    await cluster.settle(db.put('warm', ''))
    cluster.seen.length = 0
    const batches = Array.from({ length: 5 }, (_, i) => {
      return db.batch(Array.from({ length: 400 }, (_, j) => ({ put: `{t}${i}-${j}`, value: 'v' })))
    })
    await cluster.settle(Promise.all(batches))
    const members = cluster.seen.map((request) => request.commands.reduce((sum, { batch }) => sum + (batch?.writes?.length ?? 0), 0))
    expect(members.reduce((sum, count) => sum + count, 0)).toBe(2000)
    expect(Math.max(...members)).toBe(800)
    cluster.seen.length = 0
    await cluster.settle(Promise.all(Array.from({ length: 100 }, (_, i) => db.append(`key${i}`, 'v'))))
    expect(Math.max(...cluster.seen.map((request) => request.commands.length))).toBe(32)
  })

  it('keeps a bounded number of requests under way', async () => {
    const { cluster, db } = await start(12)
    await cluster.settle(db.put('warm', ''))
    cluster.seen.length = 0
    cluster.script = () => ({ delayMs: 400 })
    const puts = Promise.all(Array.from({ length: 100 }, (_, i) => db.put(`key${i}`, Buffer.alloc(300 * 1024))))
    await cluster.world.runFor(300)
    expect(cluster.seen.length).toBe(8)
    cluster.script = () => undefined
    await cluster.settle(puts)
    expect(cluster.seen.length).toBe(100)
  })
})

describe('back-pressure', () => {
  it('writes no more to a stream that is full, and goes on when it drains', async () => {
    const { cluster, db } = await start(15, { network: { windowBytes: 100_000, conditions: { bytesPerMs: 1000 } } })
    await cluster.settle(db.put('warm', ''))
    const puts = Promise.all(Array.from({ length: 40 }, (_, i) => db.put(`key${i}`, Buffer.alloc(50_000, i))))
    await cluster.world.runFor(1000)
    // A request takes some 250 ms on this link: with the window full at most one waits behind the one that arrives.
    expect(cluster.seen.length).toBeLessThanOrEqual(1 + 1000 / 250 + 1)
    await cluster.settle(puts)
    expect(cluster.value('key39')?.length).toBe(50_000)
    expect(cluster.executed.length).toBe(41)
  })
})

describe('exactly once', () => {
  it('repeats a write under its number where the answer was lost', async () => {
    const { cluster, db } = await start(20)
    cluster.script = inTurn('execute and say nothing', 'break after')
    expect(await cluster.settle(db.increment('k'))).toMatchObject({ value: 1n })
    expect(new Set(numbersOf(cluster.seen).flat())).toEqual(new Set([1]))
    expect(cluster.seen.length).toBeGreaterThanOrEqual(3)
    expect(cluster.executed.length).toBe(1)
  })

  it('raises the lowest number as outcomes come in, and marks writes as first until one came', async () => {
    const { cluster, db } = await start(21)
    for (let i = 0; i < 3; i++) await cluster.settle(db.put('k', 'v'))
    expect(cluster.seen.map(({ commands: [command] }) => [command?.sequence, command?.lowestOutstanding, command?.first])).toEqual([
      [1, 1, true],
      [2, 2, false],
      [3, 3, false],
    ])
  })

  it('counts each shard by itself', async () => {
    const { cluster, db } = await start(22)
    const keys = Array.from({ length: 100 }, (_, i) => `some${i * 7919}`)
    await cluster.settle(Promise.all(keys.map((key) => db.put(key, 'v'))))
    const byShard = new Map<number, number[]>()
    for (const { shard, sequence } of cluster.executed) byShard.set(shard, [...(byShard.get(shard) ?? []), sequence])
    for (const numbers of byShard.values()) expect(numbers).toEqual(numbers.map((_, i) => i + 1))
    expect(byShard.size).toBeGreaterThan(8)
  })

  it('holds back what lies beyond the session window, and goes on when it moves', async () => {
    const { cluster, db } = await start(23, { deadlineMs: 60_000 })
    await cluster.settle(db.put('{s}warm', ''))
    let stuck = true
    cluster.script = (seen) =>
      stuck && seen.commands.some((command) => command.sequence === 2) ? { refuse: refusal('OVERLOADED', true, { waitMs: 50 }) } : undefined
    const puts = Promise.all(Array.from({ length: 3000 }, (_, i) => db.put(`{s}${i}`, 'v')))
    await cluster.world.runFor(1000)
    stuck = false
    await cluster.settle(puts)
    expect(cluster.executed.length).toBe(3001)
    expect(cluster.breaches).toEqual([])
  })

  it('goes on under a new client id after its session ended, if the write was not applied', async () => {
    const { cluster, db } = await start(24)
    await cluster.settle(db.increment('k'))
    cluster.dropSessions()
    expect(await cluster.settle(db.increment('k'))).toMatchObject({ value: 2n })
    expect(await cluster.settle(db.increment('k'))).toMatchObject({ value: 3n })
    expect(new Set(cluster.executed.map((executed) => executed.client)).size).toBe(2)
    expect(cluster.breaches).toEqual([])
  })

  it('reports UNKNOWN where the session ended before an outcome was known', async () => {
    const { cluster, db } = await start(25)
    await cluster.settle(db.increment('k'))
    cluster.script = (seen) => {
      cluster.script = () => {
        cluster.dropSessions()
        return undefined
      }
      return seen.commands.length > 0 ? 'execute and say nothing' : undefined
    }
    expect(await cluster.outcome(db.increment('k'))).toMatchObject({ code: 'UNKNOWN', definite: false })
    expect(cluster.value('k')).toBe('2')
  })

  it('sends nothing newer to a shard before a number given up is fenced off', async () => {
    const { cluster, db } = await start(26)
    await cluster.settle(db.append('{s}k', '0'))
    // The first is executed long after its caller gave up; another write of the shard keeps `lowest` below it.
    cluster.script = (seen) =>
      seen.commands.some((c) => c.sequence === 2)
        ? { executeAfterMs: 700 }
        : seen.commands.some((c) => c.sequence === 3)
          ? { executeAfterMs: 900 }
          : undefined
    const other = db.append('{s}other', 'x')
    await cluster.world.runFor(5)
    const first = db.append('{s}k', '1', { deadlineMs: 100 })
    expect(await cluster.outcome(first)).toMatchObject({ code: 'DEADLINE', definite: false })
    const second = db.append('{s}k', '2')
    await cluster.settle(Promise.all([other, second]))
    await cluster.world.runFor(2000)
    expect(['02', '012']).toContain(cluster.value('{s}k'))
    expect(cluster.seen.find((seen) => seen.commands.some((c) => c.sequence === 4))?.commands[0]?.lowestOutstanding).toBeGreaterThan(3)
  })
})

describe('a shard that its owner does not serve yet', () => {
  /** By config 3 shards of g1 belong to g2, which has not got them: the nodes go on by config 2. `after`: config 3. */
  async function commit(seed: number) {
    const { cluster, db } = await start(seed, { groups: 2, deadlineMs: 5000 })
    const key = 'k'
    const before = cluster.makeConfig(2, () => 'g1@1')
    const after = cluster.makeConfig(3, () => 'g2@1')
    cluster.publish(before)
    await cluster.settle(db.put(key, ''))
    cluster.publish(after)
    cluster.config = before
    await cluster.world.runFor(50)
    const moving = refusal('SHARD_MOVING', true, { waitMs: 50, groupHint: 'g1@1', configNumber: 3 })
    cluster.script = ({ group }) => (group === 'g2@1' ? { refuseWrites: () => moving, refuseReads: () => moving } : undefined)
    return { cluster, db, key, after }
  }

  it('is asked for at the group that its owner names, and no more at the owner', async () => {
    const { cluster, db, key } = await commit(40)
    const from = cluster.seen.length
    const startMs = cluster.world.nowMs
    for (let i = 0; i < 5; i++) await cluster.settle(db.append(key, String(i)))
    expect((await cluster.settle(db.get(key)))?.value.toString()).toBe('01234')
    expect(cluster.world.nowMs - startMs).toBeLessThan(50)
    expect(cluster.seen.slice(from).filter(({ group }) => group === 'g2@1')).toHaveLength(1)
  })

  it('is asked for at its owner again once that group has given it away, in the order of the calls', async () => {
    const { cluster, db, key, after } = await commit(41)
    const calls = Array.from({ length: 5 }, (_, i) => db.append(key, String(i)))
    await cluster.settle(Promise.all(calls))
    cluster.config = after
    cluster.script = () => undefined
    for (let i = 5; i < 10; i++) calls.push(db.append(key, String(i)))
    await cluster.settle(Promise.all(calls))
    expect(cluster.value(key)).toBe('0123456789')
    const from = cluster.seen.length
    await cluster.settle(db.get(key))
    expect(cluster.seen.slice(from).map(({ group }) => group)).toEqual(['g2@1'])
  })

  it('is waited for where neither has it: that group is not asked twice', async () => {
    const { cluster, db, key, after } = await commit(42)
    const from = cluster.seen.length
    cluster.config = after
    expect(await cluster.outcome(db.put(key, 'x', { deadlineMs: 1000 }))).toMatchObject({ code: 'DEADLINE', definite: true })
    expect(cluster.seen.slice(from).filter(({ group }) => group === 'g1@1')).toHaveLength(1)
    cluster.script = () => undefined
    await cluster.settle(db.put(key, 'y'))
    expect(cluster.value(key)).toBe('y')
  })
})

describe('the order of calls on one key', () => {
  it('is kept within a turn, over refusals of members and of requests, and between reads and writes', async () => {
    const { cluster, db } = await start(30)
    await cluster.settle(db.put('{s}warm', ''))
    let requests = 0
    cluster.script = () => {
      requests++
      if (requests === 1) return { refuseWrites: (index) => (index === 0 ? refusal('SHARD_MOVING', true, { waitMs: 30 }) : undefined) }
      return requests === 3 ? { refuse: refusal('OVERLOADED', true, { waitMs: 10 }) } : undefined
    }
    const calls: Promise<unknown>[] = []
    const reads: Promise<{ value: Buffer } | undefined>[] = []
    for (let i = 0; i < 10; i++) {
      calls.push(db.append('{s}k', String(i)))
      if (i % 3 === 0) reads.push(db.get('{s}k'))
    }
    await cluster.settle(Promise.all(calls))
    expect(cluster.value('{s}k')).toBe('0123456789')
    const seen = await cluster.settle(Promise.all(reads))
    expect(seen.map((found) => found?.value.toString())).toEqual(['0', '0123', '0123456', '0123456789'])
  })

  it('does not make other keys wait', async () => {
    const { cluster, db } = await start(31)
    await cluster.settle(db.put('warm', ''))
    cluster.script = (seen) => ({
      refuseWrites: (index) =>
        Buffer.from(seen.commands[index]?.put?.key ?? []).toString() === 'slow'
          ? refusal('SHARD_MOVING', true, { waitMs: 200 })
          : undefined,
    })
    const slow = cluster.outcome.bind(cluster)
    const first = db.put('slow', '1', { deadlineMs: 1000 })
    await cluster.settle(db.put('quick', '1'))
    expect(cluster.world.nowMs).toBeLessThan(100)
    expect(await slow(first)).toMatchObject({ code: 'DEADLINE', definite: true })
  })

  it('is kept for a batch of several keys', async () => {
    const { cluster, db } = await start(32)
    const calls = [
      db.append('{t}a', '1'),
      db.batch([
        { put: '{t}a', value: 'B' },
        { put: '{t}b', value: 'B' },
      ]),
      db.append('{t}b', '2'),
      db.append('{t}a', '3'),
    ]
    cluster.script = inTurn('break before', { refuse: refusal('NOT_LEADER') })
    await cluster.settle(Promise.all(calls))
    expect([cluster.value('{t}a'), cluster.value('{t}b')]).toEqual(['B3', 'B2'])
  })

  it('holds a failed comparison with a long value in its place while the value is read', async () => {
    const { cluster, db } = await start(33)
    const long = 'x'.repeat(5000)
    await cluster.settle(db.put('k', long))
    const calls = Promise.all([db.compareAndSet('k', { value: 'other' }, 'new'), db.put('k', 'after')])
    expect((await cluster.settle(calls))[0]).toEqual({ applied: false, current: { value: Buffer.from(long), revision: 1 } })
    expect(cluster.value('k')).toBe('after')
  })
})

describe('finding the leader', () => {
  it('follows hints at once', async () => {
    const { cluster, db } = await start(40)
    cluster.leaders.set('g1@1', 'n3')
    await cluster.settle(db.put('k', 'v'))
    expect(cluster.seen.map((seen) => seen.node)).toEqual(['n1', 'n3'])
    await cluster.settle(db.put('k', 'v'))
    expect(cluster.seen.map((seen) => seen.node)).toEqual(['n1', 'n3', 'n3'])
  })

  it('turns to the leader although a part of its request was served', async () => {
    const { cluster, db } = await start(44)
    await cluster.settle(db.put('k', 'v'))
    cluster.leaders.set('g1@1', 'n3')
    cluster.seen.length = 0
    // n1 leads no more.
    cluster.script = (seen) => (seen.node === 'n1' ? { refuseWrites: () => refusal('NOT_LEADER', true, { leaderHint: 'n3' }) } : undefined)
    const startedMs = cluster.world.nowMs
    await cluster.settle(Promise.all([db.put('k', 'w'), db.get('other')]))
    expect(cluster.seen.map((seen) => seen.node)).toEqual(['n1', 'n3'])
    expect(cluster.world.nowMs - startedMs).toBeLessThan(50)
    expect(cluster.value('k')).toBe('w')
  })

  it('asks the others when the leader dies, and costs little beyond the election', async () => {
    const { cluster, db } = await start(41)
    await cluster.settle(db.put('k', 'v'))
    cluster.processes.get('n1')?.kill()
    cluster.leaders.set('g1@1', '')
    const killedMs = cluster.world.nowMs
    cluster.world.schedule(1500, undefined, 'elected', () => cluster.leaders.set('g1@1', 'n3'))
    await cluster.settle(db.put('k', 'w'))
    expect(cluster.world.nowMs - killedMs).toBeGreaterThan(1500)
    expect(cluster.world.nowMs - killedMs).toBeLessThan(1650)
  })

  it('leaves a connection that is half open after about a second', async () => {
    const { cluster, db } = await start(42, { network: { leastBreakMs: 60_000, mostBreakMs: 61_000 } })
    await cluster.settle(db.put('k', 'v'))
    cluster.network.isolate('n1')
    cluster.leaders.set('g1@1', 'n2')
    const cutMs = cluster.world.nowMs
    await cluster.settle(Promise.all([db.put('k', 'w'), db.get('other')]))
    expect(cluster.world.nowMs - cutMs).toBeLessThan(1300)
    expect(cluster.executed.length).toBe(2)
  })

  it('takes an answer that comes after the attempt was given up', async () => {
    const { cluster, db } = await start(43)
    cluster.script = () => ({ delayMs: 1500 })
    const startMs = cluster.world.nowMs
    await cluster.settle(db.put('k', 'v'))
    expect(cluster.world.nowMs - startMs).toBeLessThan(1600)
  })

  it('fetches a newer config where the shard has another group, and moves on with what is queued', async () => {
    const { cluster, db } = await start(44, { groups: 2 })
    await cluster.settle(db.put('k', 'v'))
    const old = cluster.config
    const to = old.groupOf(cluster.shardOf('k'))?.uid === 'g1@1' ? 'g2@1' : 'g1@1'
    // The nodes know first.
    cluster.config = cluster.makeConfig(2, () => to, 2)
    const put = db.put('k', 'w')
    await cluster.world.runFor(100)
    expect(cluster.value('k')).toBe('v')
    cluster.publish(cluster.config)
    await cluster.settle(put)
    expect(cluster.seen.at(-1)).toMatchObject({ group: to, configNumber: 2 })
    expect(cluster.breaches).toEqual([])
  })

  it('waits for a group where a shard has none', async () => {
    const { cluster, db } = await start(45)
    cluster.publish(cluster.makeConfig(2, () => undefined))
    await cluster.world.runFor(50)
    const put = db.put('k', 'v')
    await cluster.world.runFor(500)
    cluster.publish(cluster.makeConfig(3, () => 'g1@1'))
    await cluster.settle(put)
    cluster.publish(cluster.makeConfig(4, () => undefined))
    await cluster.world.runFor(50)
    expect(await cluster.outcome(db.put('k', 'v', { deadlineMs: 200 }))).toMatchObject({ code: 'DEADLINE', definite: true })
  })
})

describe('what is reported', () => {
  const table: { story: string; deeds: Deed[]; code: string; definite: boolean }[] = [
    { story: 'never answered', deeds: ['ignore'], code: 'DEADLINE', definite: false },
    { story: 'executed, never answered', deeds: ['execute and say nothing'], code: 'DEADLINE', definite: false },
    { story: 'broken streams', deeds: ['break before'], code: 'DEADLINE', definite: false },
    { story: 'OVERLOADED throughout', deeds: [{ refuse: refusal('OVERLOADED') }], code: 'DEADLINE', definite: true },
    { story: 'NOT_LEADER throughout', deeds: [{ refuse: refusal('NOT_LEADER') }], code: 'DEADLINE', definite: true },
    { story: 'WRONG_GROUP throughout', deeds: [{ refuse: refusal('WRONG_GROUP') }], code: 'DEADLINE', definite: true },
    { story: 'SHARD_MOVING throughout', deeds: [{ refuse: refusal('SHARD_MOVING') }], code: 'DEADLINE', definite: true },
    {
      story: 'UNKNOWN once, refused since',
      deeds: [{ refuse: refusal('UNKNOWN', false) }, { refuse: refusal('NOT_LEADER') }],
      code: 'DEADLINE',
      definite: false,
    },
    {
      story: 'a broken stream once, refused since',
      deeds: ['break before', { refuse: refusal('OVERLOADED') }],
      code: 'DEADLINE',
      definite: false,
    },
    { story: 'refused, then never answered', deeds: [{ refuse: refusal('OVERLOADED') }, 'ignore'], code: 'DEADLINE', definite: false },
    { story: 'INVALID_ARGUMENT', deeds: [{ refuse: refusal('INVALID_ARGUMENT') }], code: 'INVALID_ARGUMENT', definite: true },
    {
      story: 'UNKNOWN, then INVALID_ARGUMENT',
      deeds: [{ refuse: refusal('UNKNOWN', false) }, { refuse: refusal('INVALID_ARGUMENT') }],
      code: 'INVALID_ARGUMENT',
      definite: false,
    },
    {
      story: 'UNKNOWN, then the stored refusal',
      deeds: ['break before', { refuseWrites: () => refusal('CONDITION_FAILED') }],
      code: 'CONDITION_FAILED',
      definite: true,
    },
  ]
  for (const [index, { story, deeds, code, definite }] of table.entries()) {
    it(`of a write, ${story}: ${code}, ${definite ? 'definite' : 'indefinite'}`, async () => {
      const { cluster, db } = await start(100 + index)
      let next = 0
      cluster.script = () => deeds[Math.min(next++, deeds.length - 1)]
      const startMs = cluster.world.nowMs
      expect(await cluster.outcome(db.put('k', 'v', { deadlineMs: 700 }))).toMatchObject({ code, definite })
      if (code === 'DEADLINE') expect(cluster.world.nowMs - startMs).toBeGreaterThanOrEqual(700)
      expect(cluster.world.nowMs - startMs).toBeLessThan(730)
    })
  }

  it('of a read is always definite', async () => {
    const { cluster, db } = await start(130)
    cluster.script = () => 'ignore'
    expect(await cluster.outcome(db.get('k', { deadlineMs: 100 }))).toMatchObject({ code: 'DEADLINE', definite: true })
  })

  it('of a call given up: CANCELLED, definite only if it never left or was refused', async () => {
    const { cluster, db } = await start(131)
    const abort = new AbortController()
    cluster.script = () => 'ignore'
    const sent = failure(db.put('k', '1', { signal: abort.signal }))
    const parked = failure(db.get('k', { signal: abort.signal }))
    const behind = failure(db.put('k', '2', { signal: abort.signal }))
    await cluster.world.runFor(50)
    abort.abort()
    expect(await cluster.outcome(sent)).toMatchObject({ code: 'CANCELLED', definite: false })
    expect(await cluster.outcome(parked)).toMatchObject({ code: 'CANCELLED', definite: true })
    expect(await cluster.outcome(behind)).toMatchObject({ code: 'CANCELLED', definite: true })
    expect(await cluster.outcome(db.put('k', '3', { signal: abort.signal }))).toMatchObject({ code: 'CANCELLED', definite: true })
    cluster.script = () => undefined
    await cluster.settle(db.put('k', '4'))
    expect(cluster.value('k')).toBe('4')
  })

  it('on close: what is pending is CANCELLED and indefinite, what comes later definite', async () => {
    const { cluster, db } = await start(132)
    cluster.script = () => 'ignore'
    const put = failure(db.put('k', 'v'))
    const get = failure(db.get('k'))
    await cluster.world.runFor(20)
    const closeMs = cluster.world.nowMs
    await db.close()
    expect(cluster.world.nowMs).toBe(closeMs)
    expect(await put).toMatchObject({ code: 'CANCELLED', definite: false })
    expect(await get).toMatchObject({ code: 'CANCELLED', definite: false })
    expect(await cluster.outcome(db.put('k', 'v'))).toMatchObject({ code: 'CANCELLED', definite: true })
    await db.close()
    await cluster.world.runFor(10_000)
  })

  it('of putMany lists the members that failed, and makes the others', async () => {
    const { cluster, db } = await start(133)
    await cluster.settle(db.put('warm', ''))
    cluster.script = (seen) => ({
      refuseWrites: (index) =>
        Buffer.from(seen.commands[index]?.put?.key ?? []).toString() === 'key3' ? refusal('CONDITION_FAILED') : undefined,
    })
    const entries = Array.from({ length: 6 }, (_, i): [string, string] => [i === 5 ? '' : `key${i}`, 'v'])
    const error = await cluster.outcome(db.putMany(entries))
    expect(error).toMatchObject({ code: 'CONDITION_FAILED', definite: false })
    expect((error as OstrakaError).failed?.map((member) => [member.index, member.error.code])).toEqual([
      [3, 'CONDITION_FAILED'],
      [5, 'INVALID_ARGUMENT'],
    ])
    expect(cluster.value('key4')).toBe('v')
    const many = Array.from({ length: 10_000 }, (_, i): [string, string] => [`m${i}`, 'v'])
    cluster.script = () => undefined
    expect((await cluster.settle(db.putMany(many))).length).toBe(10_000)
  })
})

describe('stack traces', () => {
  it('are switched off for errors of the dispatcher only', async () => {
    const { cluster, db } = await start(140)
    const limit = Error.stackTraceLimit
    cluster.script = () => 'ignore'
    const error = await cluster.outcome(db.put('k', 'v', { deadlineMs: 50 }))
    expect((error as OstrakaError).stack).not.toContain('\n    at ')
    expect(error).toBeInstanceOf(OstrakaError)
    expect(Error.stackTraceLimit).toBe(limit)
  })
})
