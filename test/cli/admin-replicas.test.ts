import { beforeEach, describe, expect, it } from 'vitest'
import { Config, type Member, type MemberState } from '../../proto/config.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import { FakeWorld } from './fake-world.ts'

let world = new FakeWorld()
beforeEach(() => {
  world = new FakeWorld()
})

const calls = () => world.fakeControllers.calls
const member = (node: string, replica: number, state: MemberState = 'voter'): Member => ({ node, replica, state })

function config(number: number, members: readonly Member[], uid = 'g1@1'): Config {
  return new Config({
    number,
    atMs: 0,
    cause: '',
    author: '',
    shardCount: 16,
    groups: [{ uid, name: 'g1', weight: 1, state: 'active', members }],
    owner: () => uid,
    epoch: () => 1,
    pins: new Map(),
  })
}

const before = config(8, [member('n1', 1), member('n2', 2), member('n4', 3, 'joining')])

describe('replicas', () => {
  it.each([
    [
      ['add-replica', 'g1', 'n4=10.0.0.7:7410'],
      ['changeMembers', { group: 'g1', add: [{ node: 'n4', address: '10.0.0.7:7410' }], remove: [], author: 'tester@here' }],
    ],
    [
      ['add-replica', 'g1', 'n4'],
      ['changeMembers', { group: 'g1', add: [{ node: 'n4', address: '' }], remove: [], author: 'tester@here' }],
    ],
    [
      ['remove-replica', 'g1', 'n4'],
      ['changeMembers', { group: 'g1', add: [], remove: ['n4'], author: 'tester@here' }],
    ],
    [
      ['replace-node', 'n2', 'n4=10.0.0.7:7410'],
      ['replaceNode', { old: 'n2', new: { node: 'n4', address: '10.0.0.7:7410' }, author: 'tester@here' }],
    ],
  ])('%j asks for exactly that', async (words, call) => {
    const outcome = await world.run('admin', ...words, '--json')
    expect(outcome).toMatchObject({ code: 0, stderr: '' })
    expect(outcome.json()).toEqual({ configNumber: 8, migrations: [] })
    expect(calls()).toEqual([[...call, { timeoutMs: 10_000 }]])
  })

  it('may be named by the address of their node', async () => {
    expect((await world.run('admin', 'remove-replica', 'g1', '127.0.0.1:7410')).code).toBe(0)
    expect(calls().at(-1)).toMatchObject(['changeMembers', { remove: ['n1'] }, {}])
    const outcome = await world.run('admin', 'add-replica', 'g1', '127.0.0.1:9')
    expect(outcome).toMatchObject({ code: 1, stderr: 'ostraka: nobody listens at 127.0.0.1:9; known are 127.0.0.1:7410\n' })
  })

  it.each([
    [['add-replica', 'g1']],
    [['add-replica', 'g1', 'n4=']],
    [['add-replica', 'g1', 'n4=10.0.0.7']],
    [['add-replica', 'g/1', 'n4']],
    [['remove-replica', 'g1', 'n 4']],
    [['replace-node', 'n4']],
    [['replace-node', 'n4', '=a:1']],
  ])('%j is wrong usage', async (words) => {
    expect((await world.run('admin', ...words)).code).toBe(2)
    expect(calls()).toEqual([])
  })

  it('are refused with 1 and the controllers’ words', async () => {
    world.fakeControllers.failure = new OstrakaError('FAILED_PRECONDITION', 'a change of g1 runs (n3 leaves): wait', true)
    for (const words of [
      ['add-replica', 'g1', 'n4'],
      ['remove-replica', 'g1', 'n1'],
      ['replace-node', 'n1', 'n4'],
    ]) {
      const outcome = await world.run('admin', ...words, '--wait', '--json')
      expect(outcome).toMatchObject({ code: 1, stderr: 'ostraka: a change of g1 runs (n3 leaves): wait\n' })
      expect(outcome.json()).toMatchObject({ error: { code: 'FAILED_PRECONDITION', definite: true } })
    }
  })
})

describe('--wait', () => {
  const settled = config(9, [member('n1', 1), member('n2', 2), member('n4', 3)])

  it('returns when the config shows the change done', async () => {
    world.fakeControllers.configs = [before, before, before, settled]
    const outcome = await world.run('admin', 'add-replica', 'g1', 'n4', '--wait')
    expect(outcome).toMatchObject({ code: 0, stderr: '' })
    expect(calls().map(([name, number]) => (name === 'query' ? number : name))).toEqual(['changeMembers', 8, 0, 0, 0])
  })

  it('ends with 1 where another change took it out again', async () => {
    world.fakeControllers.configs = [before, config(10, [member('n1', 1), member('n2', 2)])]
    const outcome = await world.run('admin', 'add-replica', 'g1', 'n4', '--wait')
    expect(outcome.code).toBe(1)
    expect(outcome.stderr).toContain('the change was given up: n4 holds no replica of g1')
  })

  it('of a removal is done when who leaves is gone, or the group is', async () => {
    const leaving = config(8, [member('n1', 1), member('n2', 2, 'leaving')])
    world.fakeControllers.configs = [leaving, leaving, config(9, [member('n1', 1)])]
    expect((await world.run('admin', 'remove-replica', 'g1', 'n2', '--wait')).code).toBe(0)
    world.fakeControllers.configs = [leaving, config(12, [member('n9', 9, 'joining')], 'g1@11')]
    expect((await world.run('admin', 'remove-replica', 'g1', 'n2', '--wait')).code).toBe(0)
  })

  it('of a replacement waits for each group that the node leaves, and that the other is there then', async () => {
    const leaving = config(8, [member('n1', 1), member('n2', 2, 'leaving'), member('n2', 3, 'joining')])
    world.fakeControllers.configs = [leaving, leaving, config(9, [member('n1', 1), member('n2', 3)])]
    expect((await world.run('admin', 'replace-node', 'n2', 'n2=10.0.0.5:7410', '--wait')).code).toBe(0)
    world.fakeControllers.configs = [leaving, config(9, [member('n1', 1)])]
    expect((await world.run('admin', 'replace-node', 'n2', 'n2=10.0.0.5:7410', '--wait')).code).toBe(1)
  })

  it('of a controller waits until none joins or leaves any more', async () => {
    world.fakeControllers.configs = [settled]
    const joining = { id: 'c4', address: 'c4:1', role: 'unknown', live: false, state: pb.v1.MemberState.JOINING }
    world.fakeControllers.joining = [[joining], [joining], [{ ...joining, state: pb.v1.MemberState.VOTER }]]
    expect((await world.run('admin', 'replace-node', 'c2', 'c4=c4:1', '--wait')).code).toBe(0)
    expect(calls().filter(([name]) => name === 'status').length).toBe(3)
    world.fakeControllers.joining = [[joining], [joining]]
    const status = (await world.run('admin', 'status', '--json')).json() as { controllers: object[] }
    expect(status.controllers).toMatchObject([{ id: 'c1' }, { id: 'c4', state: 'joining' }])
    expect((await world.run('admin', 'status')).stdout.toString()).toContain('controller, unknown, joining')
  })

  it('ends with 69 after --timeout, and says what is missing', async () => {
    world.fakeControllers.configs = [before]
    const outcome = await world.run('admin', 'add-replica', 'g1', 'n4', '--wait', '--timeout', '0.3')
    expect(outcome.code).toBe(69)
    expect(outcome.stderr).toContain('accepted as config 8, but after 0.3 s in g1 n4 is to join and catch up')
  })
})

describe('a change under way', () => {
  it('shows in query and status', async () => {
    world.fakeControllers.configs = [before]
    const query = (await world.run('admin', 'query', '--json')).json() as { groups: { g1: { members: unknown[] } } }
    expect(query.groups.g1.members).toEqual([
      { id: 'n1', address: '127.0.0.1:7410', replica: 1 },
      { id: 'n2', address: null, replica: 2 },
      { id: 'n4', address: null, replica: 3, state: 'joining' },
    ])
    expect((await world.run('admin', 'query')).stdout.toString()).toContain('n4=? (joining)')
    const changes = [{ node: 'n4', replica: 3, state: pb.v1.MemberState.JOINING }]
    world.fakeControllers.groups = [{ name: 'g1', leader: 'n1', shards: 16, changes }]
    const status = (await world.run('admin', 'status', '--json')).json() as { groups: { g1: object } }
    expect(status.groups.g1).toMatchObject({ leader: 'n1', changes: [{ id: 'n4', replica: 3, state: 'joining' }] })
    expect((await world.run('admin', 'status')).stdout.toString()).toContain('active; n4 joining')
  })
})
