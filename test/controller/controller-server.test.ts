import { describe, expect, it } from 'vitest'
import { ConfigWatcher } from '../../proto/config-watcher.ts'
import { protocolVersion } from '../../proto/limits.ts'
import { pb } from '../../proto/messages.ts'
import { controllerMethods } from '../../proto/methods.ts'
import { nonce } from './entries.ts'
import { fakeControllers } from './fake-controllers.ts'

const timeoutMs = 2000
const group = (name: string, nodes = ['n1', 'n2', 'n3'], weight = 1) => ({
  name,
  weight,
  members: nodes.map((node) => ({ node, address: `${node}:7410` })),
})
const registration = (id: string, more: object = {}) => ({
  id,
  controller: false,
  nonce: nonce(4),
  addresses: [{ name: 'default', address: `${id}:7410` }],
  pid: 77,
  protocolVersion,
  ...more,
})

describe('controller server: join and query', () => {
  it('deals out all shards to the groups of the first join, one config number a group', async () => {
    const { world, client } = await fakeControllers()
    const join = client.join({ groups: [group('g1'), group('g2'), group('g3')], author: 'me' }, { timeoutMs })
    expect(await world.settle(join)).toEqual({ configNumber: 3, note: '', migrations: [] })
    const { config, directory } = await world.settle(client.query(0, { timeoutMs }))
    expect(config.number).toBe(3)
    expect([...config.shardCounts()].sort()).toEqual([5, 5, 6])
    expect([config.cause, config.author]).toEqual(['join g3', 'me'])
    expect(config.atMs).toBeGreaterThan(1_000_000_000_000)
    expect([...config.epochs]).toEqual(Array.from({ length: 16 }, () => 1))
    expect(directory.addressOf('n2')).toBe('n2:7410')
    const first = await world.settle(client.query(1, { timeoutMs }))
    expect(first.config.groups.map((one) => one.uid)).toEqual(['g1@1'])
    expect(first.config.shardsOf('g1@1')).toEqual([])
    await expect(world.settle(client.query(4, { timeoutMs }))).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('plans migrations to a later group, which owns nothing before they are through', async () => {
    const { world, client } = await fakeControllers()
    await world.settle(client.join({ groups: [group('g1')] }, { timeoutMs }))
    const reply = await world.settle(client.join({ groups: [group('g2')] }, { timeoutMs }))
    const waits = 'g2 has not come to life yet: what goes there waits; g1 has not come to life yet: what comes from there waits'
    expect(reply).toEqual({ configNumber: 2, note: `8 shards will move, in 2 migrations; ${waits}`, migrations: [1, 2] })
    const { config } = await world.settle(client.query(0, { timeoutMs }))
    expect([...config.shardCounts()]).toEqual([16, 0])
  })

  it('changes nothing at an identical join, refuses the name with other nodes, heeds once', async () => {
    const { world, client, machine } = await fakeControllers()
    await world.settle(client.join({ groups: [group('g1')] }, { timeoutMs }))
    const same = await world.settle(client.join({ groups: [group('g1', ['n3', 'n1', 'n2'])] }, { timeoutMs }))
    expect(same).toEqual({ configNumber: 1, note: expect.stringContaining('nothing'), migrations: [] })
    const other = client.join({ groups: [group('g1', ['n1', 'n2', 'n9'])] }, { timeoutMs })
    await expect(world.settle(other)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION', message: expect.stringContaining('n1, n2, n3') })
    await world.settle(client.join({ groups: [group('g1', ['n9'])], once: true }, { timeoutMs }))
    expect(machine(1).state.configNumber).toBe(1)
    expect(machine(1).state.directory.node('n9')).toBeUndefined()
  })

  it('lets parallel joins through one after the other, each once', async () => {
    const { world, client, machine } = await fakeControllers()
    const joins = Array.from({ length: 10 }, (_, i) => client.join({ groups: [group(`g${1000 + i}`)] }, { timeoutMs }))
    const replies = await world.settle(Promise.all(joins))
    expect(replies.map((reply) => reply.configNumber).sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    const { config } = machine(1).state
    expect(config?.groups.map((one) => one.name).sort()).toEqual(Array.from({ length: 10 }, (_, i) => `g${1000 + i}`))
    expect(new Set(config?.groups.flatMap((one) => one.members.map((member) => member.replica))).size).toBe(30)
  })

  it('applies a join once that lost its answer with the leader', async () => {
    const { world, client, group: fake, machine } = await fakeControllers()
    fake.loseNext = true
    const join = client.join({ groups: [group('g1')] }, { timeoutMs: 5000 })
    await world.runUntil(() => fake.leader === 0)
    await world.runFor(300)
    fake.elect(2)
    expect(await world.settle(join)).toMatchObject({ configNumber: 1 })
    expect(machine(3).state.configNumber).toBe(1)
  })

  it('answers a request id that it has answered as it did then, whatever came since', async () => {
    const { world, client, machine } = await fakeControllers()
    const request = { groups: [group('g1')], requestId: 'mine' }
    await world.settle(client.join(request, { timeoutMs }))
    await world.settle(client.join({ groups: [group('g2')] }, { timeoutMs }))
    expect((await world.settle(client.join(request, { timeoutMs }))).configNumber).toBe(1)
    const other = world.settle(client.join({ ...request, groups: [group('g3')] }, { timeoutMs }))
    await expect(other).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    expect(machine(1).state.configNumber).toBe(2)
  })

  it('says of a change that was lost with leadership that it may still take effect', async () => {
    const { world, network, group: fake } = await fakeControllers()
    fake.loseNext = true
    const request = { groups: [group('g1')] } as never
    const { error } = await world.settle(network.connect('c1:7400').unary(controllerMethods.join, request, { timeoutMs }))
    expect([error?.code, error?.definite]).toEqual([pb.v1.ErrorCode.UNKNOWN, false])
  })

  it('shows the same history from whichever controller leads', async () => {
    const { world, client, group: fake } = await fakeControllers()
    for (const name of ['g1', 'g2', 'g3']) await world.settle(client.join({ groups: [group(name)] }, { timeoutMs }))
    const seen: string[] = []
    for (const leader of [1, 2, 3]) {
      fake.elect(leader)
      for (const number of [1, 2, 3]) {
        const { config } = await world.settle(client.query(number, { timeoutMs }))
        seen.push(`${number} ${config.cause} ${config.groups.map((one) => one.uid)} ${[...config.assignment]} ${config.atMs}`)
      }
    }
    expect(seen.slice(3, 6)).toEqual(seen.slice(0, 3))
    expect(seen.slice(6)).toEqual(seen.slice(0, 3))
  })

  it('plans what dealing out anew would move, and changes nothing', async () => {
    const { world, client, machine } = await fakeControllers()
    await world.settle(client.join({ groups: [group('g1')] }, { timeoutMs }))
    const plan = await world.settle(client.plan({ join: { groups: [group('g2')] } }, { timeoutMs }))
    expect(plan.configNumber).toBe(1)
    expect(plan.moves.length).toBe(8)
    expect(plan.moves.every((move) => move.from === 'g1' && move.to === 'g2')).toBe(true)
    expect([plan.imbalanceBefore, plan.imbalanceAfter]).toEqual([0, 0])
    expect(machine(1).state.configNumber).toBe(1)
    await expect(world.settle(client.plan({}, { timeoutMs }))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})

describe('controller server: bad requests', () => {
  const many = Array.from({ length: 16 }, (_, i) => `n${i}`)
  it.each([
    ['no group', { groups: [] }],
    ['more groups than placement can bear', { groups: Array.from({ length: 257 }, (_, i) => group(`g${i}`)) }],
    ['an empty name', { groups: [group('')] }],
    ['a name with a slash', { groups: [group('a/b')] }],
    ['a name too long', { groups: [group('x'.repeat(65))] }],
    ['a name twice', { groups: [group('g1'), group('g1')] }],
    ['no nodes', { groups: [group('g1', [])] }],
    ['a node twice', { groups: [group('g1', ['n1', 'n1'])] }],
    ['too many nodes', { groups: [group('g1', many)] }],
    ['a weight below 0', { groups: [group('g1', ['n1'], -1)] }],
    ['an infinite weight', { groups: [group('g1', ['n1'], Number.POSITIVE_INFINITY)] }],
    ['a weight that is no number', { groups: [{ ...group('g1'), weight: Number.NEGATIVE_INFINITY }] }],
    ['an address without port', { groups: [{ name: 'g1', members: [{ node: 'n1', address: 'localhost' }] }] }],
    ['an address with port 0', { groups: [{ name: 'g1', members: [{ node: 'n1', address: 'localhost:0' }] }] }],
    ['a port out of range', { groups: [{ name: 'g1', members: [{ node: 'n1', address: 'localhost:65536' }] }] }],
    ['a request id too long', { groups: [group('g1')], requestId: 'x'.repeat(65) }],
  ])('refuses a join with %s', async (_, request) => {
    const { world, client, machine } = await fakeControllers()
    await expect(world.settle(client.join(request, { timeoutMs }))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', definite: true })
    expect(machine(1).state.configNumber).toBe(0)
  })

  it('refuses a node that is not known and has no address, but takes one that has registered', async () => {
    const { world, client } = await fakeControllers()
    const request = { groups: [{ name: 'g1', members: [{ node: 'n1', address: '' }] }] }
    const unknown = client.join(request, { timeoutMs })
    await expect(world.settle(unknown)).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      message: expect.stringContaining('n1=HOST:PORT'),
    })
    await world.settle(client.register(registration('n1'), { timeoutMs }))
    expect((await world.settle(client.join(request, { timeoutMs }))).configNumber).toBe(1)
  })

  it.each([
    ['no id', { id: '' }, 'INVALID_ARGUMENT'],
    ['no address', { addresses: [] }, 'INVALID_ARGUMENT'],
    ['two listeners of one name', { addresses: [0, 1].map(() => ({ name: 'a', address: 'n:1' })) }, 'INVALID_ARGUMENT'],
    ['a short nonce', { nonce: new Uint8Array(3) }, 'INVALID_ARGUMENT'],
    ['another protocol version', { protocolVersion: 99 }, 'FAILED_PRECONDITION'],
    ['another cluster', { clusterId: new Uint8Array(16) }, 'FAILED_PRECONDITION'],
    ['half a cluster id', { clusterId: new Uint8Array(3) }, 'INVALID_ARGUMENT'],
    ['a controller that is none', { controller: true }, 'FAILED_PRECONDITION'],
  ])('refuses a registration with %s', async (_, more, code) => {
    const { world, client, machine } = await fakeControllers()
    await expect(world.settle(client.register(registration('n1', more), { timeoutMs }))).rejects.toMatchObject({ code })
    expect(machine(1).state.directory.version).toBe(0)
  })

  it('answers requests with every field missing by a typed error', async () => {
    const { world, network } = await fakeControllers()
    const channel = network.connect('c1:7400')
    for (const method of [
      controllerMethods.join,
      controllerMethods.plan,
      controllerMethods.register,
      controllerMethods.claimReplica,
      controllerMethods.heartbeat,
    ]) {
      const reply = (await world.settle(channel.unary(method as typeof controllerMethods.join, {} as never, { timeoutMs }))) as {
        error?: { code: number; definite: boolean }
      }
      expect(reply.error?.definite, method.path).toBe(true)
    }
  })
})

describe('controller server: nodes', () => {
  it('claims a replica number for the first data directory only', async () => {
    const { world, client } = await fakeControllers()
    await world.settle(client.join({ groups: [group('g1')] }, { timeoutMs }))
    const claim = { node: 'n1', group: 'g1@1', replica: 1, nonce: nonce(1) }
    await world.settle(client.claimReplica(claim, { timeoutMs }))
    await world.settle(client.claimReplica(claim, { timeoutMs }))
    await expect(world.settle(client.claimReplica({ ...claim, nonce: nonce(2) }, { timeoutMs }))).rejects.toMatchObject({ code: 'LOST' })
    for (const wrong of [{ node: 'n2' }, { group: 'g1@2' }, { replica: 4 }]) {
      const other = client.claimReplica(
        { ...claim, replica: 2, node: 'n2', ...wrong, ...(wrong.node ? { node: 'n1' } : {}) },
        { timeoutMs },
      )
      await expect(world.settle(other)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    }
    await expect(world.settle(client.claimReplica({ ...claim, replica: 0 }, { timeoutMs }))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    })
  })

  it('shows who lives and who leads, and a death within 3 s', async () => {
    const { world, client, clock } = await fakeControllers()
    await world.settle(client.join({ groups: [group('g1'), group('g2')] }, { timeoutMs }))
    for (const id of ['n1', 'n2']) await world.settle(client.register(registration(id), { timeoutMs }))
    const beat = (id: string, leader: string, term: number) =>
      client.heartbeat({ id, nonce: nonce(4), groups: [{ group: 'g1@1', term, leader }] }, { timeoutMs })
    await world.settle(beat('n1', 'n1', 4))
    await world.settle(beat('n2', 'n2', 3))
    await world.settle(beat('n2', '', 4))
    const status = await world.settle(client.status({ timeoutMs }))
    expect(status.configNumber).toBe(2)
    expect(status.groups.map(({ name, leader, shards }) => `${name} ${leader} ${shards}`)).toEqual(['g1 n1 8', 'g2  8'])
    expect(status.nodes.map(({ id, live, pid }) => `${id} ${live} ${pid}`)).toEqual(['n1 true 77', 'n2 true 77', 'n3 false 0'])
    expect(status.controllers.map(({ id, role, live, address }) => `${id} ${role} ${live} ${address}`)).toEqual([
      'c1 leader true c1:7400',
      'c2 unknown false c2:7401',
      'c3 unknown false c3:7402',
    ])
    const death = clock.monotonicMs()
    while (clock.monotonicMs() < death + 2900) {
      await world.settle(beat('n2', 'n1', 4))
      await world.runFor(290)
    }
    const later = await world.settle(client.status({ timeoutMs }))
    expect(later.nodes.map(({ id, live }) => `${id} ${live}`)).toEqual(['n1 false', 'n2 true', 'n3 false'])
    expect(later.groups.map(({ leader }) => leader)).toEqual(['', ''])
  })

  it('gives everybody the benefit of the doubt once when a new leader takes over', async () => {
    const { world, client, group: fake } = await fakeControllers()
    await world.settle(client.register(registration('n1'), { timeoutMs }))
    await world.settle(client.register(registration('c2', { controller: true }), { timeoutMs }))
    await world.runFor(10_000)
    const live = async () => (await world.settle(client.status({ timeoutMs }))).nodes.map((node) => node.live)
    expect(await live()).toEqual([false])
    fake.elect(2)
    expect(await live()).toEqual([true])
    await world.runFor(3000)
    expect(await live()).toEqual([false])
    const status = await world.settle(client.status({ timeoutMs }))
    expect(status.controllers.map(({ id, role, pid }) => `${id} ${role} ${pid}`)).toEqual(['c1 unknown 0', 'c2 leader 77', 'c3 unknown 0'])
  })

  it('refuses heartbeats of who has not registered, or was replaced by another data directory', async () => {
    const { world, client } = await fakeControllers()
    const beat = () => world.settle(client.heartbeat({ id: 'n1', nonce: nonce(4) }, { timeoutMs }))
    await expect(beat()).rejects.toMatchObject({ code: 'FAILED_PRECONDITION', message: expect.stringContaining('not registered') })
    await world.settle(client.register(registration('n1'), { timeoutMs }))
    expect(await beat()).toMatchObject({ configNumber: 0, removedGroups: [] })
    await world.settle(client.register(registration('n1', { nonce: nonce(5) }), { timeoutMs }))
    await expect(beat()).rejects.toMatchObject({ code: 'FAILED_PRECONDITION', message: expect.stringContaining('another data directory') })
  })

  it('sends callers to the leader under the listener through which they came', async () => {
    const { world, client, network, group: fake } = await fakeControllers()
    const addresses = [
      { name: 'inner', address: 'inner-c2:1' },
      { name: 'default', address: 'outer-c2:1' },
    ]
    await world.settle(client.register(registration('c2', { controller: true, addresses }), { timeoutMs }))
    fake.elect(2)
    const reply = await world.settle(network.connect('c1:7400').unary(controllerMethods.query, {} as never, { timeoutMs }))
    expect(reply.error?.leaderHint).toBe('outer-c2:1')
    fake.elect(3)
    const other = await world.settle(network.connect('c1:7400').unary(controllerMethods.query, {} as never, { timeoutMs }))
    expect(other.error?.leaderHint).toBe('c3:7402')
  })
})

describe('controller server: watch', () => {
  it('is served by every controller, by differences, to many at once', async () => {
    const { world, client, parts, peers, machine } = await fakeControllers()
    const watchers = Array.from({ length: 30 }, (_, at) => {
      const watcher = new ConfigWatcher({ ...parts, addresses: [peers[at % 3]?.address ?? ''] })
      watcher.start()
      return watcher
    })
    await world.runUntil(() => watchers.every((watcher) => watcher.config?.number === 0))
    for (let i = 1; i <= 5; i++) await world.settle(client.join({ groups: [group(`g${i}`)] }, { timeoutMs }))
    await world.settle(client.register(registration('n1', { addresses: [{ name: 'default', address: 'n1:9999' }] }), { timeoutMs }))
    await world.runUntil(() => watchers.every((watcher) => watcher.config?.number === 5 && watcher.directory.addressOf('n1') === 'n1:9999'))
    for (const watcher of watchers) {
      expect(watcher.config).toEqual(machine(1).state.config)
      expect(watcher.directory.nodes).toEqual(machine(1).state.directory.nodes)
      expect(watcher.clusterId).toEqual(machine(1).state.clusterId)
      watcher.close()
    }
  })

  it('keeps idle watchers by its keepalives', async () => {
    const { world, network, parts } = await fakeControllers()
    const watcher = new ConfigWatcher({ ...parts, addresses: ['c1:7400'] })
    watcher.start()
    await world.runFor(60_000)
    expect(network.calls.filter((call) => call === 'c1:7400 Watch').length).toBe(1)
    expect(network.openStreams('c1:7400')).toBe(1)
    watcher.close()
    expect(network.openStreams('c1:7400')).toBe(0)
  })

  it('sends a whole config to a watcher that is too far behind, and nothing to one that is ahead', async () => {
    const { world, client, parts, machine } = await fakeControllers()
    const behind = new ConfigWatcher({ ...parts, addresses: ['c1:7400'] })
    await world.settle(client.join({ groups: [group('g1')] }, { timeoutMs }))
    behind.offer((await world.settle(client.query(1, { timeoutMs }))).config)
    for (let i = 2; i <= 80; i++) await world.settle(client.join({ groups: [group(`g${i}`)] }, { timeoutMs }))
    const { config } = machine(1).state
    const ahead = new ConfigWatcher({ ...parts, addresses: ['c2:7401'] })
    if (config !== undefined) ahead.offer(Object.assign(Object.create(Object.getPrototypeOf(config)), config, { number: 500 }))
    behind.start()
    ahead.start()
    await world.runUntil(() => behind.config?.number === 80)
    expect(behind.config).toEqual(config)
    await world.runFor(3000)
    expect(ahead.config?.number).toBe(500)
    behind.close()
    ahead.close()
  })

  it('forms nothing and answers UNAVAILABLE while nobody leads', async () => {
    const { world, client, group: fake, machine } = await fakeControllers({ leader: 0 })
    await expect(world.settle(client.query(0, { timeoutMs: 500 }))).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    fake.elect(3)
    const { config } = await world.settle(client.query(0, { timeoutMs }))
    expect([config.number, config.shardCount]).toEqual([0, 16])
    expect(machine(1).state.clusterId).toEqual(machine(3).state.clusterId)
    expect(machine(1).state.clusterId.length).toBe(16)
  })
})
