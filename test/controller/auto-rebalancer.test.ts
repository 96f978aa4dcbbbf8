import { describe, expect, it } from 'vitest'
import type { MigrationRecord } from '../../controller/migration-record.ts'
import { protocolVersion } from '../../proto/limits.ts'
import { pb } from '../../proto/messages.ts'
import { nonce } from './entries.ts'
import { fakeControllers } from './fake-controllers.ts'

const timeoutMs = 5000
const nodes = ['n1', 'n2', 'n3']
const { REPORT_READY, REPORT_ACTIVE, REPORT_CLEAN, REPORT_CANNOT } = pb.v1.ReportKind

/** Groups g1 to g3 over three nodes, each led by a node of its own, which tells what its shards serve and how large they are. */
async function cluster() {
  const fake = await fakeControllers()
  const { world, client, clock, group: controllers } = fake
  const run = <T>(promise: Promise<T>) => world.settle(promise)
  const members = nodes.map((node) => ({ node, address: `${node}:7410` }))
  for (const id of nodes) {
    const addresses = [{ name: 'default', address: `${id}:7410` }]
    await run(client.register({ id, nonce: nonce(4), addresses, pid: 7, protocolVersion }, { timeoutMs }))
  }
  await run(client.join({ groups: ['g1', 'g2', 'g3'].map((name) => ({ name, members })), author: 'op' }, { timeoutMs }))
  const leaders = new Map(nodes.map((node, at) => [`g${at + 1}@${at + 1}`, { leader: node, term: 1 }]))
  const live = new Set(nodes)
  /** They tell of no loads. */
  const silent = new Set<string>()
  const loads = new Map<number, number>()
  const sizes = new Map<number, number>()
  const state = () => {
    const leading = fake.machine(controllers.leader || 1).state
    const { config } = leading
    if (config === undefined) throw new Error('not formed')
    return { ...leading, config, migrations: leading.migrations }
  }
  const ownedBy = (id: string) => [...leaders].flatMap(([uid, { leader }]) => (leader === id ? state().config.shardsOf(uid) : []))
  const beat = async (id: string) => {
    const hosted = [...leaders].map(([group, { leader, term }]) => {
      const mine = leader === id
      const held = mine ? state().config.shardsOf(group) : []
      const told = held.map((shard) => ({ shard, bytes: sizes.get(shard) ?? 0 }))
      return { group, term, leader, tellsSizes: mine, sizes: told, progress: open().map((record) => ({ migration: record.id })) }
    })
    const busy = ownedBy(id).filter((shard) => loads.has(shard))
    const of = (part: number) => busy.map((shard) => (loads.get(shard) ?? 0) * part)
    const told = silent.has(id) ? {} : { loads: { shards: busy, reads: of(0.75), writes: of(0.25) } }
    await run(client.heartbeat({ id, nonce: nonce(4), groups: hosted, ...told }, { timeoutMs }))
  }
  const open = (): MigrationRecord[] => state().migrations.open()
  const live1 = async () => {
    for (const id of live) await beat(id)
    await world.runFor(900)
  }
  const runFor = async (forMs: number) => {
    for (const end = clock.monotonicMs() + forMs; clock.monotonicMs() < end; ) await live1()
  }
  const until = async (what: string, isSo: () => boolean, withinMs = 400_000) => {
    for (const end = clock.monotonicMs() + withinMs; !isSo(); ) {
      if (clock.monotonicMs() > end) throw new Error(`not within ${withinMs} ms: ${what}`)
      await live1()
    }
  }
  const report = (id: number, kind: pb.v1.ReportKind, from: string) =>
    run(client.report({ migration: id, kind, group: from }, { timeoutMs }))
  const complete = async ({ id, from, to }: MigrationRecord) => {
    await report(id, REPORT_READY, to)
    await report(id, REPORT_ACTIVE, to)
    for (const uid of [from, to]) await report(id, REPORT_CLEAN, uid)
  }
  const completeAll = async () => {
    for (const record of open()) await complete(record)
  }
  const set = (more: pb.v1.AutoRebalanceRequest.$Properties = {}, requestId = '') =>
    run(client.autoRebalance({ on: true, author: 'op', requestId, ...more }, { timeoutMs }))
  const status = async () => (await run(client.status({ timeoutMs, shards: true }))).autoRebalance
  const shardOf = (name: string, at: number) => {
    const { config } = state()
    return config.shardsOf(config.groupByName(name)?.uid ?? '')[at] ?? 0
  }
  /** One group with two busy shards, the others with little to do. */
  const makeHot = (name: string) => {
    loads.clear()
    for (const other of ['g1', 'g2', 'g3']) loads.set(shardOf(other, 0), 100)
    for (const at of [1, 2]) loads.set(shardOf(name, at), 300)
  }
  const shape = (record: MigrationRecord) => `${record.from.slice(0, 2)}→${record.to.slice(0, 2)} ${record.shards.length}`
  const parts = { run, runFor, until, open, complete, completeAll, set, status, shardOf, makeHot, shape, report, state }
  return { ...fake, ...parts, leaders, live, silent, loads, sizes, controllers }
}

describe('rebalancing by itself', () => {
  it('is off at first, and tells how uneven it is', async () => {
    const { runFor, makeHot, state, status } = await cluster()
    makeHot('g2')
    await runFor(400_000)
    expect(state().migrations.next).toBe(1)
    expect(await status()).toMatchObject({
      rules: { on: false, byLoad: true, bySize: true, above: 1.3, until: 1.1, sustainMs: 120_000, restMs: 600_000 },
      load: { group: 'g2', ratio: expect.closeTo(700 / 300, 1), active: false },
      waitsFor: '',
    })
  })

  it('moves one step after the other, with little in return, until it is even, and then nothing more', async () => {
    const { runFor, until, makeHot, set, open, completeAll, shape, state, status, clock, client, run } = await cluster()
    makeHot('g2')
    await runFor(100_000)
    const asked = clock.monotonicMs()
    const { note } = await set()
    expect(note).toBe('auto-rebalance is on: by load and size, above 1.3 for 120 s until 1.1, shards rest 600 s')
    await until('the first step', () => open().length > 0)
    expect(clock.monotonicMs() - asked).toBeGreaterThanOrEqual(120_000)
    expect(open().map(shape).sort()).toEqual(['g2→g3 1', 'g3→g2 1'])
    const why = 'auto-rebalance: g2 has 2.33 times its share of the load, then 1.67'
    expect(open().map(({ author, cause }) => [author, cause])).toEqual([
      ['auto', why],
      ['auto', why],
    ])
    expect(await status()).toMatchObject({ load: { active: true }, waitsFor: '2 migrations under way' })
    await runFor(60_000)
    expect(state().migrations.next).toBe(3)
    await completeAll()
    const ended = clock.monotonicMs()
    await until('the second step', () => open().length > 0)
    expect(clock.monotonicMs() - ended).toBeGreaterThanOrEqual(30_000)
    expect(open().map(shape).sort()).toEqual(['g1→g2 1', 'g2→g1 1'])
    await completeAll()
    await runFor(1_500_000)
    expect(state().migrations.next).toBe(5)
    expect(await status()).toMatchObject({ load: { ratio: expect.closeTo(1, 1), active: false }, waitsFor: '' })
    const { config } = await run(client.query(0, { timeoutMs }))
    expect([config.author, config.cause]).toEqual(['auto', expect.stringMatching(/^move \d+ from g\d to g\d \(auto-rebalance: g2 has /)])
    // What it did a rebalance leaves as it is.
    expect((await run(client.rebalance({}, { timeoutMs }))).note).toContain('nothing to do')
  })

  it('evens sizes out, too, and only what it was told to', async () => {
    const { runFor, until, set, open, shape, sizes, shardOf, state } = await cluster()
    for (const at of [0, 1, 2]) sizes.set(shardOf('g3', at), 200 * 1024 * 1024)
    await set({ byLoad: true })
    await runFor(300_000)
    expect(state().migrations.next).toBe(1)
    await set({ bySize: true, sustainMs: 1000 })
    await until('a step', () => open().length > 0, 20_000)
    expect(open().map(shape).sort()).toEqual(['g2→g3 1', 'g3→g2 1'])
    expect(open()[0]?.cause).toContain('of the bytes')
  })

  it('waits while anything else moves, a group drains, lacks its majority or changes its members', async () => {
    const { runFor, until, makeHot, set, open, complete, completeAll, status, shardOf, run, client, live, state } = await cluster()
    makeHot('g2')
    await runFor(100_000)
    await set({ sustainMs: 1000 })
    const moved = shardOf('g1', 3)
    await run(client.move({ shard: moved, group: 'g3', author: 'op' }, { timeoutMs }))
    await runFor(60_000)
    expect([open().length, (await status())?.waitsFor]).toEqual([1, '1 migration under way'])
    await completeAll()
    live.delete('n1')
    live.delete('n3')
    await runFor(10_000)
    expect((await status())?.waitsFor).toBe('g1 has no leader that is heard')
    expect(open()).toEqual([])
    live.add('n1')
    live.add('n3')
    await runFor(5000)
    await run(client.changeMembers({ group: 'g1', add: [{ node: 'n4', address: 'n4:1' }] }, { timeoutMs }))
    await runFor(200_000)
    expect([open(), (await status())?.waitsFor]).toEqual([[], 'the members of g1 change'])
    const voters = (state().config.groupByName('g1')?.members ?? []).map(({ replica }) => replica)
    await run(client.reportMembers({ group: 'g1@1', index: 9, voters, learners: [] }, { timeoutMs }))
    await run(client.leave({ group: 'g3' }, { timeoutMs }))
    for (const record of open()) await complete(record)
    await until('a step between the other two', () => open().some(({ author }) => author === 'auto'))
    expect(state().config.groupByName('g3')).toBeUndefined()
  })

  it('does not build on figures that are old, or of a group with a new leader', async () => {
    const { runFor, makeHot, set, open, status, silent, leaders, until } = await cluster()
    makeHot('g2')
    await runFor(100_000)
    silent.add('n3')
    await runFor(20_000)
    await set({ sustainMs: 1000 })
    await runFor(60_000)
    expect([open(), (await status())?.waitsFor]).toEqual([[], 'n3 has not told what it serves'])
    silent.clear()
    leaders.set('g1@1', { leader: 'n2', term: 2 })
    await runFor(60_000)
    expect([open(), (await status())?.waitsFor]).toEqual([[], 'g1 has a new leader'])
    await until('a step', () => open().length > 0, 60_000)
  })

  it('lets a shard rest that has moved, whoever moved it, also under a new leader of the controllers', async () => {
    const { runFor, until, makeHot, set, open, completeAll, shardOf, run, client, controllers, loads, clock } = await cluster()
    makeHot('g2')
    await runFor(100_000)
    const hot = [shardOf('g2', 1), shardOf('g2', 2)]
    for (const shard of loads.keys()) if (!hot.includes(shard)) loads.delete(shard)
    for (const shard of hot) {
      await run(client.move({ shard, group: 'g3', author: 'op' }, { timeoutMs }))
      await run(client.unpin({ shard }, { timeoutMs }))
    }
    await completeAll()
    const ended = clock.monotonicMs()
    await set({ sustainMs: 1000, restMs: 300_000 })
    await runFor(200_000)
    expect(open()).toEqual([])
    controllers.elect(2)
    const elected = clock.monotonicMs()
    await runFor(250_000)
    // Nobody knows here when they moved: they rest as if it had just been.
    expect(clock.monotonicMs() - ended).toBeGreaterThan(300_000)
    expect(open()).toEqual([])
    await until('a step', () => open().length > 0, 200_000)
    expect(clock.monotonicMs() - elected).toBeGreaterThanOrEqual(300_000)
    expect(
      open()
        .flatMap(({ shards }) => shards)
        .some((shard) => hot.includes(shard)),
    ).toBe(true)
  })

  it('lets be for a while after a step that came to nothing', async () => {
    const { runFor, until, makeHot, set, open, report, status, clock, state } = await cluster()
    makeHot('g2')
    await runFor(100_000)
    await set({ sustainMs: 1000, restMs: 200_000 })
    await until('a step', () => open().length > 0)
    for (const { id, to } of open()) await report(id, REPORT_CANNOT, to)
    const failed = clock.monotonicMs()
    await runFor(100_000)
    expect([open(), (await status())?.waitsFor]).toEqual([[], 'its last migration came to nothing'])
    await until('the next step', () => open().length > 0)
    expect(clock.monotonicMs() - failed).toBeGreaterThanOrEqual(200_000)
    expect(state().migrations.next).toBe(5)
  })

  it('is switched once for each request, is refused what would never end, and is the same on every controller', async () => {
    const { set, state, machine, controllers, run, client } = await cluster()
    const first = await set({ above: 2 }, 'mine')
    expect(first.configNumber).toBe(4)
    expect(await set({ above: 2 }, 'mine')).toMatchObject({ configNumber: 4, migrations: [] })
    await expect(set({ above: 3 }, 'mine')).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    await expect(set({ until: 2 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(set({ above: 0.5 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(set({ restMs: 2 ** 31 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect((await set({ above: 2 })).note).toContain('nothing to do')
    controllers.elect(3)
    expect(await set({ on: false })).toMatchObject({ configNumber: 5, note: 'auto-rebalance is off' })
    expect(state().balanceRules).toMatchObject({ on: false, above: 2, until: 1.1 })
    for (const at of [1, 2, 3]) expect(machine(at).state).toEqual(machine(1).state)
    const { config } = await run(client.query(4, { timeoutMs }))
    expect([config.author, config.cause]).toEqual(['op', expect.stringMatching(/^auto-rebalance on: by load and size, above 2 /)])
  })

  it('tells loads and sizes of groups and shards, of what each node serves the sum', async () => {
    const { runFor, run, client, makeHot, sizes, shardOf, clock, live } = await cluster()
    makeHot('g1')
    sizes.set(shardOf('g1', 1), 4096)
    await runFor(10_000)
    // Follower reads: another node serves of the shard, too.
    const more = { loads: { shards: [shardOf('g1', 1)], reads: [50], writes: [0] } }
    live.delete('n2')
    await run(client.heartbeat({ id: 'n2', nonce: nonce(4), groups: [], ...more }, { timeoutMs }))
    const { groups, shards } = await run(client.status({ timeoutMs, shards: true }))
    expect(groups[0]).toMatchObject({ name: 'g1', readsPerSecond: 575, writesPerSecond: 175, bytes: 4096 })
    expect(shards).toHaveLength(16)
    expect(shards[shardOf('g1', 1)]).toMatchObject({
      group: 'g1',
      readsPerSecond: 275,
      writesPerSecond: 75,
      bytes: 4096,
      pinned: false,
      migration: 0,
    })
    expect((await run(client.status({ timeoutMs }))).shards).toEqual([])
    const wrong = { shards: [1, 2], reads: [1], writes: [1, 1] }
    const refused = run(client.heartbeat({ id: 'n2', nonce: nonce(4), groups: [], loads: wrong }, { timeoutMs }))
    await expect(refused).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(clock.monotonicMs()).toBeGreaterThan(0)
  })
})
