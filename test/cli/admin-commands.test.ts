import { beforeEach, describe, expect, it } from 'vitest'
import { Config } from '../../proto/config.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import { FakeWorld } from './fake-world.ts'

let world = new FakeWorld()
beforeEach(() => {
  world = new FakeWorld()
})

describe('admin', () => {
  it('joins a group of the nodes named', async () => {
    const words = ['admin', 'join', 'g3', '--nodes', 'n1=10.0.0.1:7410,n2=host.example:7410', '--weight', '0.5', '--once', '--json']
    const outcome = await world.run(...words)
    expect(outcome.json()).toEqual({ configNumber: 8, migrations: [] })
    expect(world.fakeControllers.calls).toEqual([
      [
        'join',
        {
          groups: [
            {
              name: 'g3',
              weight: 0.5,
              members: [
                { node: 'n1', address: '10.0.0.1:7410' },
                { node: 'n2', address: 'host.example:7410' },
              ],
            },
          ],
          author: 'tester@here',
          once: true,
          base: 0,
          baseMigrations: 0,
        },
        { timeoutMs: 10_000 },
      ],
    ])
  })

  it('joins several groups with one request, the nodes in their order', async () => {
    expect((await world.run('admin', 'join', 'g3', 'g4', '--nodes', 'n1=h:1,n2=h:2', '--nodes', 'n3=h:3', '--weight', '2')).code).toBe(0)
    const groups = [
      {
        name: 'g3',
        weight: 2,
        members: [
          { node: 'n1', address: 'h:1' },
          { node: 'n2', address: 'h:2' },
        ],
      },
      { name: 'g4', weight: 2, members: [{ node: 'n3', address: 'h:3' }] },
    ]
    expect(world.fakeControllers.calls).toMatchObject([['join', { groups }, {}]])
  })

  it('waits for the leaders of all groups that it joined, and names those without', async () => {
    world.fakeControllers.groups = [
      { name: 'g1', leader: 'n1', shards: 16 },
      { name: 'g9', leader: '', shards: 0 },
    ]
    const words = ['admin', 'join', 'g1', 'g9', '--nodes', 'n1=h:1', '--nodes', 'n1=h:1', '--wait', '--timeout', '0.2']
    expect(await world.run(...words)).toMatchObject({ code: 69, stderr: expect.stringMatching(/but after 0\.2 s g9 has no leader/) })
  })

  it('waits until the group has a leader, with ten minutes instead of ten seconds', async () => {
    expect((await world.run('admin', 'join', 'g1', '--nodes', 'n1=h:1', '--wait')).code).toBe(0)
    expect(world.fakeControllers.calls[0]?.[2]).toEqual({ timeoutMs: 600_000 })
  })

  it.each([
    [['join', 'g1']],
    [['join', 'g1', '--nodes', 'n1']],
    [['join', 'g1', '--nodes', 'n1:7410']],
    [['join', 'g1', '--nodes', 'n1,n1=h:1']],
    [['join', 'g1', '--nodes', 'n1=h']],
    [['join', 'g1', '--nodes', 'n1=h:1,n1=h:2']],
    [['join', 'g 1', '--nodes', 'n1=h:1']],
    [['join', 'g1', '--nodes', 'n1=h:1', '--weight', '0']],
    [['join', 'g1', 'g2', '--nodes', 'n1=h:1']],
    [['join', 'g1', '--nodes', 'n1=h:1', '--nodes', 'n2=h:1']],
    [['join', 'g1', 'g1', '--nodes', 'n1=h:1', '--nodes', 'n2=h:1']],
    [['query', '0']],
    [['query', 'x']],
    [['status', '--hash']],
    [['status', 'n1', '--at', '5']],
    [['leave']],
    [['leave', 'g/1']],
    [['leave', 'g1', '--confirm', '5']],
    [['leave', 'g1', '--abandon-data', '--confirm', 'all']],
    [['move', '1']],
    [['move', 'x', 'g1']],
    [['move', '-1', 'g1']],
    [['move', '1', 'g 1']],
    [['unpin', '1.5']],
    [['pause']],
    [['cancel', 'g1']],
    [['plan']],
    [['plan', 'unpin', '1']],
    [['plan', 'leave', 'g1', '--wait']],
    [['plan', 'leave', 'g1', '--base', 'new']],
    [['weight', 'g1']],
    [['weight', 'g1', '0']],
    [['weight', 'g1', 'much']],
    [['migrations', '5']],
  ])('refuses %j with 2', async (words) => {
    expect((await world.run('admin', ...words)).code).toBe(2)
    expect(world.fakeControllers.calls).toEqual([])
  })

  it('ends with 1 for what is refused, with 69 where nobody answers', async () => {
    world.fakeControllers.failure = new OstrakaError('FAILED_PRECONDITION', 'g1 has other nodes', true)
    expect(await world.run('admin', 'join', 'g1', '--nodes', 'n1=h:1')).toMatchObject({ code: 1, stderr: 'ostraka: g1 has other nodes\n' })
    world.fakeControllers.failure = new OstrakaError('UNAVAILABLE', 'nobody', true)
    expect((await world.run('admin', 'status')).code).toBe(69)
  })

  it('shows a config in the shape of the contract', async () => {
    world.fakeControllers.config = new Config({
      number: 7,
      atMs: 1_700_000_000_000,
      cause: 'join g1',
      author: 'me',
      shardCount: 16,
      groups: [{ uid: 'g1@1', name: 'g1', weight: 1, state: 'active', members: [{ node: 'n1', replica: 1, state: 'voter' }] }],
      owner: (shard) => (shard < 15 ? 'g1@1' : undefined),
      epoch: (shard) => (shard < 15 ? 1 : 0),
      pins: new Map([[12, 'g1']]),
    })
    const outcome = await world.run('admin', '--json', 'query', '7')
    expect(outcome.json()).toEqual({
      number: 7,
      at: '2023-11-14T22:13:20.000Z',
      cause: 'join g1',
      author: 'me',
      shardCount: 16,
      groups: { g1: { weight: 1, state: 'active', members: [{ id: 'n1', address: '127.0.0.1:7410', replica: 1 }] } },
      assignment: [...Array(15).fill('g1'), null],
      pins: { '12': 'g1' },
    })
    expect(world.fakeControllers.calls).toEqual([['query', 7, { timeoutMs: 10_000 }]])
    const text = (await world.run('admin', 'query')).stdout.toString()
    expect(text).toContain('config 7: join g1, by me, 2023-11-14T22:13:20.000Z')
    expect(text).toContain('pinned: 12 to g1')
  })

  it('shows the cluster in the shape of the contract', async () => {
    world.fakeControllers.groups.push({ name: 'g2', leader: '', shards: 3, state: pb.v1.GroupState.DRAINING })
    const outcome = await world.run('admin', 'status', '--json', '--controllers', 'a:1')
    expect(outcome.json()).toEqual({
      configNumber: 7,
      controllers: [{ id: 'c1', address: '127.0.0.1:7400', pid: 120, role: 'leader', live: true }],
      nodes: [{ id: 'n1', address: '127.0.0.1:7410', pid: 123, live: true }],
      groups: {
        g1: { leader: 'n1', shards: 86, state: 'active', readsPerSecond: 12.35, writesPerSecond: 250, bytes: 4096 },
        g2: { leader: null, shards: 3, state: 'draining', readsPerSecond: 0, writesPerSecond: 0, bytes: 0 },
      },
      autoRebalance: expect.objectContaining({ on: false }),
    })
    expect(world.fakeControllers.addresses).toEqual(['a:1'])
    const text = (await world.run('admin', 'status')).stdout.toString()
    expect(text).toContain('127.0.0.1:7410')
    expect(text).toMatch(/g2 .*\? .*3 .*draining/)
  })

  it('asks a node by its id or its address', async () => {
    const outcome = await world.run('admin', 'status', 'n1', '--hash', '--at', '120', '--json')
    const replica = {
      role: 'leader',
      term: 3,
      leader: 'n1',
      commit: 120,
      applied: 120,
      lastIndex: 120,
      firstIndex: 40,
      logBytes: 9000,
      snapshotIndex: 39,
      configNumber: 7,
      shards: { '0': 'serving', '5': 'exporting' },
      loads: { '0': { readsPerSecond: 7.13, writesPerSecond: 0 } },
      stateHash: 'abc',
      hashIndex: 120,
    }
    expect(outcome.json()).toEqual({ id: 'n1', groups: { g1: replica } })
    await world.run('admin', 'status', 'c1')
    await world.run('admin', 'status', 'host:99')
    expect(world.asked.map((call) => (call as unknown[]).slice(0, 2))).toEqual([
      ['127.0.0.1:7410', { hash: true, at: 120, group: '' }],
      ['127.0.0.1:7400', { hash: false, at: 0, group: '' }],
      ['host:99', { hash: false, at: 0, group: '' }],
    ])
    expect(await world.run('admin', 'status', 'n9')).toMatchObject({ code: 1, stderr: expect.stringContaining('known are n1, c1') })
  })
})

describe('help', () => {
  it('has an example for each command, and none of the commands of later versions', async () => {
    const help = (await world.run('--help')).stdout.toString()
    const names = [...help.matchAll(/^ {2}([a-z]+)(?= )/gm)]
      .map((match) => match[1] ?? '')
      .filter((name) => name !== 'help' && name !== 'admin')
    expect(names).toHaveLength(16)
    for (const words of [
      ...names.map((name) => [name]),
      ...[
        'join',
        'leave',
        'move',
        'unpin',
        'rebalance',
        'weight',
        'migrations',
        'pause',
        'resume',
        'cancel',
        'query',
        'status',
        'transfer-leader',
        'compact',
        'add-replica',
        'remove-replica',
        'replace-node',
      ].map((name) => ['admin', name]),
      ...['join', 'leave', 'move', 'rebalance', 'weight'].map((name) => ['admin', 'plan', name]),
    ]) {
      const outcome = await world.run(...words, '--help')
      expect(outcome.code, words.join(' ')).toBe(0)
      expect(outcome.stdout.toString(), words.join(' ')).toContain('Examples:\n  $ ')
    }
  })

  it('prints the version', async () => {
    expect((await world.run('--version')).stdout.toString()).toMatch(/^\d+\.\d+\.\d+\n$/)
  })
})
