import { describe, expect, it } from 'vitest'
import { ConfigWatcher } from '../../proto/config-watcher.ts'
import { protocolVersion } from '../../proto/limits.ts'
import { pb } from '../../proto/messages.ts'
import { controllerMethods } from '../../proto/methods.ts'
import { nonce } from './entries.ts'
import { fakeControllers } from './fake-controllers.ts'

const timeoutMs = 5000
const { REPORT_READY, REPORT_ACTIVE, REPORT_CLEAN, REPORT_CANNOT } = pb.v1.ReportKind
const group = (name: string) => ({ name, members: ['n1', 'n2', 'n3'].map((node) => ({ node, address: `${node}:7410` })) })

async function cluster() {
  const fake = await fakeControllers()
  const { world, client, machine } = fake
  const run = <T>(promise: Promise<T>) => world.settle(promise)
  for (const id of ['n1', 'n2', 'n3']) {
    const addresses = [{ name: 'default', address: `${id}:7410` }]
    await run(client.register({ id, nonce: nonce(4), addresses, pid: 7, protocolVersion }, { timeoutMs }))
  }
  await run(client.join({ groups: [group('g1'), group('g2')], author: 'op' }, { timeoutMs }))
  const report = (migration: number, kind: pb.v1.ReportKind, from?: string) =>
    run(client.report({ migration, kind, group: from ?? machine(1).state.migrations.byId.get(migration)?.to ?? 'x@1' }, { timeoutMs }))
  const complete = async (id: number) => {
    const { from, to } = machine(1).state.migrations.byId.get(id) ?? { from: '', to: '' }
    await report(id, REPORT_READY)
    await report(id, REPORT_ACTIVE)
    for (const uid of [from, to]) await report(id, REPORT_CLEAN, uid)
  }
  const beat = (more: pb.v1.HostedGroup.$Properties) => {
    const hosted = { term: 1, leader: 'n1', tellsSizes: true }
    const groups = [
      { ...hosted, group: 'g1@1' },
      { ...hosted, group: 'g2@2', ...more },
    ]
    return run(client.heartbeat({ id: 'n1', nonce: nonce(4), groups }, { timeoutMs }))
  }
  await beat({})
  /** Time goes by, in which all nodes live and n1 leads g2. */
  const live = async (forMs: number, more: pb.v1.HostedGroup.$Properties = {}) => {
    for (let ms = 0; ms < forMs; ms += 500) {
      await beat(more)
      for (const id of ['n2', 'n3']) await run(client.heartbeat({ id, nonce: nonce(4), groups: [] }, { timeoutMs }))
      await world.runFor(500)
    }
  }
  return { ...fake, run, report, complete, beat, live }
}

describe('controller server: moving shards', () => {
  it('drains a group, removes it by itself, and tells its nodes that it is gone', async () => {
    const { world, client, run, complete, machine } = await cluster()
    const leave = await run(client.leave({ group: 'g2', author: 'op' }, { timeoutMs }))
    expect(leave).toEqual({ configNumber: 3, note: '8 shards will move, in 1 migration; then g2 is removed', migrations: [1] })
    const status = async () => (await run(client.status({ timeoutMs }))).groups.map(({ name, state }) => `${name} ${state}`)
    expect(await status()).toEqual([`g1 ${pb.v1.GroupState.ACTIVE}`, `g2 ${pb.v1.GroupState.DRAINING}`])
    await complete(1)
    await world.runUntil(() => machine(1).state.config?.groupByName('g2') === undefined)
    expect(await status()).toEqual([`g1 ${pb.v1.GroupState.ACTIVE}`])
    const groups = ['g1@1', 'g2@2', 'g9@9']
    const addresses = [{ name: 'default', address: 'n1:7410' }]
    const registered = await run(client.register({ id: 'n1', nonce: nonce(4), addresses, protocolVersion, groups }, { timeoutMs }))
    expect(registered.removedGroups).toEqual(['g2@2'])
    const beaten = await run(client.heartbeat({ id: 'n1', nonce: nonce(4), groups: groups.map((one) => ({ group: one })) }, { timeoutMs }))
    expect(beaten).toMatchObject({ configNumber: 12, removedGroups: ['g2@2'] })
    for (let number = 1; number <= 12; number++) {
      const { config } = await run(client.query(number, { timeoutMs }))
      expect([config.cause === '', config.author], `config ${number}`).toEqual([false, 'op'])
    }
    expect(machine(1).state).toEqual(machine(3).state)
  })

  it('plans again after a while what was aborted while its group drains, also under a new leader', async () => {
    const { world, client, run, report, live, clock, group: fake, machine } = await cluster()
    await run(client.leave({ group: 'g2' }, { timeoutMs }))
    expect(await report(1, REPORT_CANNOT)).toMatchObject({ phase: 'aborted' })
    const aborted = clock.monotonicMs()
    await live(2000)
    expect(machine(1).state.migrations.open()).toEqual([])
    fake.elect(2)
    await live(4000)
    await world.runUntil(() => machine(2).state.migrations.open().length === 1)
    expect(clock.monotonicMs() - aborted).toBeGreaterThan(5000)
    expect(machine(1).state.migrations.open()[0]).toMatchObject({ id: 2, cause: 'leave g2' })
    await world.runFor(20_000)
    expect(machine(1).state.migrations.next).toBe(3)
  })

  it('plans a drain that comes to nothing again and again ever less often, and at once less so when something has moved', async () => {
    const { client, run, report, complete, live, machine } = await cluster()
    await run(client.leave({ group: 'g2' }, { timeoutMs }))
    const { migrations } = machine(1).state
    const open = () => machine(1).state.migrations.open()
    for (let second = 0; second < 600; second++) {
      for (const { id } of open()) await report(id, REPORT_CANNOT)
      await live(1000)
    }
    const tried = migrations.next - 1
    // Waits of 5, 10, 20, 40, 80, 160 and 300 s, each after the abort.
    expect([tried >= 6, tried <= 8]).toEqual([true, true])
    while (open().length === 0) await live(1000)
    const shard = open()[0]?.shards[0] ?? 0
    await report(open()[0]?.id ?? 0, REPORT_CANNOT)
    const { migrations: moved } = await run(client.move({ shard, group: 'g1' }, { timeoutMs }))
    await complete(moved[0] ?? 0)
    const atMs = machine(1).state.migrations.next
    for (let second = 0; second < 10 && machine(1).state.migrations.next === atMs; second++) await live(1000)
    expect(open().length).toBe(1)
  })

  it('of a drain for which nobody has room waits, says so, and is planned again soon after somebody has', async () => {
    const { client, run, live, clock, machine } = await cluster()
    await run(client.join({ groups: [{ name: 'g3', members: [{ node: 'n7', address: 'n7:7410' }] }] }, { timeoutMs }))
    const left = (await run(client.leave({ group: 'g2' }, { timeoutMs }))).note
    expect(left).toMatch(/; not to groups that cannot take shards now: g3 has not come to life yet$/)
    const open = () => machine(1).state.migrations.open()
    const full = { kind: pb.v1.ReportKind.REPORT_REFUSED, group: 'g1@1', reason: 'n1 has no room', noRoom: true }
    for (const { id, from } of open()) if (from === 'g2@2') await run(client.report({ ...full, migration: id }, { timeoutMs }))
    const refusedMs = clock.monotonicMs()
    const drained = () => open().filter(({ from }) => from === 'g2@2')
    await live(9000)
    expect(drained()).toEqual([])
    const why = '8 shards to move: no group can take them now: g1 has no room, g3 has not come to life yet'
    const listed = await run(client.listMigrations({}, { timeoutMs }))
    expect(listed.waiting).toEqual([`g2 is being drained, ${why}`])
    const { groups } = await run(client.status({ timeoutMs }))
    expect(groups.map(({ waitsFor }) => waitsFor)).toEqual(['', why, ''])
    while (drained().length === 0) await live(1000)
    // A quarter of a minute, and five seconds of patience: no more, however often nobody could.
    expect(clock.monotonicMs() - refusedMs).toBeGreaterThan(15_000)
    expect(clock.monotonicMs() - refusedMs).toBeLessThan(27_000)
    expect(drained().map(({ to }) => to)).toEqual(['g1@1'])
  })

  it('aborts a move whose target has had nobody to lead it for a minute, also under a new leader, and never one that is driven', async () => {
    const { client, run, live, clock, group: fake, machine } = await cluster()
    const g2 = machine(1).state.config?.groupByName('g2')
    for (const { node, replica } of g2?.members ?? [])
      await run(client.claimReplica({ node, group: 'g2@2', replica, nonce: nonce(4) }, { timeoutMs }))
    const shard = machine(1).state.config?.shardsOf('g1@1')[0] ?? 0
    await run(client.move({ shard, group: 'g2' }, { timeoutMs }))
    const record = () => machine(2).state.migrations.byId.get(1)
    await live(90_000, { progress: [{ migration: 1, attempt: 1 }] })
    expect(record()?.phase).toBe('copying')
    const silentMs = clock.monotonicMs()
    await live(30_000)
    fake.elect(2)
    while (record()?.phase === 'copying') await live(1000)
    expect(record()?.reason).toBe('nobody has driven it for 60 s: g2 has no leader that the controllers hear')
    expect(clock.monotonicMs() - silentMs).toBeGreaterThan(90_000)
    expect(clock.monotonicMs() - silentMs).toBeLessThan(100_000)
    expect(machine(2).state.config?.groupOf(shard)?.name).toBe('g1')
  })

  it('answers a change asked again under its id as it did, with the migrations, and refuses another one under it', async () => {
    const { client, run, group: fake, machine } = await cluster()
    const away = machine(1).state.config?.groupOf(3)?.name === 'g1' ? 'g2' : 'g1'
    const request = { shard: 3, group: away, requestId: 'mine' }
    const first = await run(client.move(request, { timeoutMs }))
    expect(first).toEqual({ configNumber: 3, note: '', migrations: [1] })
    expect(await run(client.move(request, { timeoutMs }))).toEqual(first)
    expect(await run(client.move({ ...request, author: 'another', base: 2 }, { timeoutMs }))).toEqual(first)
    await expect(run(client.move({ shard: 3, group: away }, { timeoutMs }))).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    fake.elect(2)
    expect(await run(client.move({ shard: 3, group: away }, { timeoutMs, requestId: 'mine' }))).toEqual(first)
    for (const other of [
      client.move({ ...request, shard: 4 }, { timeoutMs }),
      client.unpin({ shard: 3, requestId: 'mine' }, { timeoutMs }),
      client.weigh({ group: 'g1', weight: 2, requestId: 'mine' }, { timeoutMs }),
    ]) {
      const message = "another change was made under the request id 'mine' (config 3): choose one of its own for each change"
      await expect(run(other)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION', message })
    }
    expect(machine(2).state.configNumber).toBe(3)
    expect(await run(client.steer({ shard: 3, steering: pb.v1.Steering.CANCEL }, { timeoutMs }))).toMatchObject({ migrations: [1] })
  })

  it('lets parallel commands through one after the other', async () => {
    const { client, run, machine } = await cluster()
    const owner = (shard: number) => machine(1).state.config?.groupOf(shard)?.name
    const moves = [1, 2, 3, 4, 5, 6].map((shard) => client.move({ shard, group: owner(shard) === 'g1' ? 'g2' : 'g1' }, { timeoutMs }))
    const replies = await run(Promise.all([...moves, client.join({ groups: [group('g3')] }, { timeoutMs })]))
    expect(replies.map((reply) => reply.configNumber).sort((a, b) => a - b)).toEqual([3, 4, 5, 6, 7, 8, 9])
    const moving = machine(1)
      .state.migrations.open()
      .flatMap((record) => record.shards)
    expect(new Set(moving).size).toBe(moving.length)
    expect(machine(2).state).toEqual(machine(1).state)
  })

  it('does not take for small what a new leader has not been told the size of', async () => {
    const { client, run, group: fake } = await cluster()
    const planned = async () => {
      const { moves, estimatedMs } = await run(client.plan({ leave: { group: 'g2' } }, { timeoutMs }))
      return [moves.length, estimatedMs > 0]
    }
    expect(await planned()).toEqual([8, true])
    fake.elect(2)
    expect(await planned()).toEqual([8, false])
    const { migrations } = await run(client.leave({ group: 'g2' }, { timeoutMs }))
    expect(migrations).toHaveLength(2)
  })

  it('heeds sizes that group leaders tell, and shows their progress until the end', async () => {
    const { client, run, report, beat, machine } = await cluster()
    const shards = machine(1).state.config?.shardsOf('g2@2') ?? []
    const big = 300 * 1024 * 1024
    await beat({ tellsSizes: true, sizes: [{ shard: shards[2] ?? 0, bytes: big }] })
    const plan = await run(client.plan({ leave: { group: 'g2' } }, { timeoutMs }))
    expect(plan.moves.find((move) => move.shard === shards[2])?.bytes).toBe(big)
    const { migrations } = await run(client.leave({ group: 'g2' }, { timeoutMs }))
    expect(migrations.length).toBe(2)
    await beat({ leader: 'n2', term: 2, progress: [{ migration: 1, bytesCopied: 999 }] })
    const shown = async () => (await run(client.migrations({ timeoutMs })))[0]
    expect(await shown()).toMatchObject({ id: 1, bytesCopied: 0 })
    await beat({ term: 3, progress: [{ migration: 1, attempt: 2, bytesCopied: 40, bytesTotal: 90, catchingUp: true }] })
    expect(await shown()).toMatchObject({ id: 1, attempt: 2, bytesCopied: 40, bytesTotal: 90, catchingUp: true })
    await beat({
      term: 3,
      progress: [{ migration: 1, attempt: 2, bytesCopied: 40, bytesTotal: 90, catchingUp: true, waitsFor: 'its\nsource' }],
    })
    expect(await shown()).toMatchObject({ waitsFor: 'its?source' })
    // The next leader of the target came when the files were in.
    await beat({ term: 4, progress: [{ migration: 1, attempt: 2, catchingUp: true }] })
    expect(await shown()).toMatchObject({ bytesCopied: 40, bytesTotal: 90, catchingUp: true })
    await report(1, REPORT_READY)
    await report(1, REPORT_ACTIVE)
    const ended = { phase: pb.v1.MigrationPhase.DONE, attempt: 2, bytesCopied: 90, bytesTotal: 90, catchingUp: false, fromConfirmed: false }
    expect(await shown()).toMatchObject(ended)
  })

  it('tells who watches only what runs and what has changed, and all where that was too long ago', async () => {
    const { client, run, complete, machine } = await cluster()
    const list = async (request: object) => {
      const { migrations, version, since } = await run(client.listMigrations(request, { timeoutMs }))
      return { ids: migrations.map(({ id }) => id), version, since }
    }
    const away = (shard: number) => (machine(1).state.config?.groupOf(shard)?.name === 'g1' ? 'g2' : 'g1')
    for (const shard of [1, 2]) await complete((await run(client.move({ shard, group: away(shard) }, { timeoutMs }))).migrations[0] ?? 0)
    await run(client.move({ shard: 3, group: away(3) }, { timeoutMs }))
    const { version } = machine(1).state.migrations
    expect(await list({})).toEqual({ ids: [1, 2, 3], version, since: 0 })
    expect(await list({ known: version })).toEqual({ ids: [3], version, since: version })
    expect(await list({ ids: [2] })).toEqual({ ids: [2], version, since: 0 })
    await run(client.steer({ shard: 3, steering: pb.v1.Steering.CANCEL }, { timeoutMs }))
    expect(await list({ known: version })).toEqual({ ids: [3], version: version + 1, since: version })
    expect(await list({ known: version + 1 })).toEqual({ ids: [], version: version + 1, since: version + 1 })
    expect(await list({ known: version + 9 })).toEqual({ ids: [1, 2, 3], version: version + 1, since: 0 })
  })

  it('takes a shard that has arrived for as large as it was, until its new group tells', async () => {
    const { client, run, report, machine } = await cluster()
    const [shard = 0] = machine(1).state.config?.shardsOf('g1@1') ?? []
    const big = 300 * 1024 * 1024
    const shown = async () => {
      const moves = (await run(client.plan({ leave: { group: 'g2' } }, { timeoutMs }))).moves
      const { shards } = await run(client.status({ timeoutMs, shards: true }))
      return [moves.find((move) => move.shard === shard)?.bytes, shards[shard]?.bytes]
    }
    const tell = (group: string, bytes: number) => {
      const groups = [{ term: 1, leader: 'n1', group, tellsSizes: true, sizes: bytes > 0 ? [{ shard, bytes }] : [] }]
      return run(client.heartbeat({ id: 'n1', nonce: nonce(4), groups }, { timeoutMs }))
    }
    await tell('g1@1', big)
    await run(client.move({ shard, group: 'g2', author: 'op' }, { timeoutMs }))
    await report(1, REPORT_READY)
    // The target is filled, and does not serve yet; the source serves no more.
    for (const group of ['g2@2', 'g1@1']) await tell(group, 0)
    expect(await shown()).toEqual([undefined, big])
    await report(1, REPORT_ACTIVE)
    expect(await shown()).toEqual([big, big])
    await tell('g1@1', 0)
    expect(await shown()).toEqual([big, big])
    await tell('g2@2', 7)
    expect(await shown()).toEqual([7, 7])
    await tell('g2@2', 0)
    expect(await shown()).toEqual([0, 0])
  })

  it('tells of a migration that nobody remembers that it was aborted', async () => {
    const { client, run, report, machine } = await cluster()
    await run(client.leave({ group: 'g2' }, { timeoutMs }))
    // As if a thousand others had come since.
    machine(1).state.migrations.byId.delete(1)
    expect(await report(1, REPORT_CLEAN, 'g2@2')).toMatchObject({ id: 1, phase: 'aborted', shards: [] })
    expect((await run(client.listMigrations({ ids: [1, 7] }, { timeoutMs }))).migrations).toEqual([])
    await expect(report(2, REPORT_READY)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it("sends followers' callers to the leader, and refuses nonsense by typed errors", async () => {
    const { client, run, network, group: fake } = await cluster()
    fake.elect(2)
    expect((await run(client.rebalance({}, { timeoutMs }))).note).toContain('nothing to do')
    const channel = network.connect('c1:7400')
    const { leave, move, unpin, rebalance, steer, report } = controllerMethods
    for (const method of [leave, move, steer, report]) {
      const { error } = await run(channel.unary(method as typeof leave, {} as never, { timeoutMs }))
      expect(error?.code, method.path).toBe(pb.v1.ErrorCode.INVALID_ARGUMENT)
    }
    for (const method of [unpin, rebalance]) {
      const { error } = await run(channel.unary(method as typeof rebalance, {} as never, { timeoutMs }))
      expect([error?.code, error?.leaderHint], method.path).toEqual([pb.v1.ErrorCode.NOT_LEADER, 'c2:7401'])
    }
  })

  it('tells watchers that ask what groups may have to act upon, from any controller', async () => {
    const { world, client, run, complete, parts, peers, machine } = await cluster()
    const watchers = peers.map(({ address }, at) => new ConfigWatcher({ ...parts, addresses: [address], migrations: at !== 1 }))
    for (const watcher of watchers) watcher.start()
    await run(client.leave({ group: 'g2' }, { timeoutMs }))
    const [first, second, third] = watchers
    await world.runUntil(() => first?.migrations.migrations.length === 1 && third?.migrations.migrations.length === 1)
    expect(first?.migrations.migrations[0]).toMatchObject({ id: 1, from: 'g2@2', to: 'g1@1', phase: 'copying', shards: expect.any(Array) })
    await complete(1)
    await world.runUntil(() => watchers.every((watcher) => watcher.config?.number === machine(1).state.configNumber))
    await world.runFor(5)
    expect([first?.migrations.version, third?.migrations.version]).toEqual([5, 5])
    expect(first?.migrations.migrations).toEqual([])
    expect(second?.migrations.version).toBe(0)
    const late = new ConfigWatcher({ ...parts, addresses: ['c2:7401'], migrations: true })
    late.start()
    await world.runUntil(() => late.migrations.version === 5)
    for (const watcher of [...watchers, late]) watcher.close()
  })
})
