import { PassThrough, Readable } from 'node:stream'
import { beforeEach, describe, expect, it } from 'vitest'
import { migrationJson } from '../../cli/migration-json.ts'
import { copyLeftMs, MigrationRates } from '../../cli/migration-rates.ts'
import { sumLines } from '../../cli/migration-sums.ts'
import { migrationLine } from '../../cli/migrations-table.ts'
import { Config } from '../../proto/config.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import { FakeWorld } from './fake-world.ts'

const { COPYING, COMMITTED, DONE, ABORTED, GIVEN_BACK } = pb.v1.MigrationPhase

let world = new FakeWorld()
beforeEach(() => {
  world = new FakeWorld()
})

const calls = () => world.fakeControllers.calls
const names = () => calls().map(([name]) => name)

function migration(id: number, phase: pb.v1.MigrationPhase, more: pb.v1.Migration.$Properties = {}): pb.v1.Migration.$Properties {
  const ended = phase === DONE || phase === ABORTED || phase === GIVEN_BACK
  const known = { cause: 'move 5 to g2', author: 'me@here', startedAtMs: 1_700_000_000_000, endedAtMs: ended ? 1_700_000_002_000 : 0 }
  return { id, shards: [5], from: 'g1@1', to: 'g2@2', phase, attempt: 1, bytesCopied: 512, bytesTotal: 1024, ...known, ...more }
}

/** `shards` of 16 belong to g3@3, the others to g1@1. */
function config(number: number, shards: number): Config {
  const group = (name: string, uid: string) => ({
    uid,
    name,
    weight: 1,
    state: 'active' as const,
    members: [{ node: 'n1', replica: 1, state: 'voter' as const }],
  })
  return new Config({
    number,
    atMs: 0,
    cause: '',
    author: '',
    shardCount: 16,
    groups: shards < 0 ? [group('g1', 'g1@1')] : [group('g1', 'g1@1'), group('g3', 'g3@3')],
    owner: (shard) => (shard < shards ? 'g3@3' : 'g1@1'),
    epoch: () => 1,
    pins: new Map(),
  })
}

describe('changes', () => {
  it.each([
    [
      ['leave', 'g3'],
      ['leave', { group: 'g3', author: 'tester@here', abandonData: false, confirmShards: 0, base: 0, baseMigrations: 0 }],
    ],
    [
      ['move', '12', 'g2'],
      ['move', { shard: 12, group: 'g2', author: 'tester@here', base: 0, baseMigrations: 0 }],
    ],
    [
      ['unpin', '0'],
      ['unpin', { shard: 0, author: 'tester@here' }],
    ],
    [['rebalance'], ['rebalance', { author: 'tester@here', base: 0, baseMigrations: 0 }]],
    [
      ['weight', 'g2', '0.5'],
      ['weigh', { group: 'g2', weight: 0.5, author: 'tester@here', base: 0, baseMigrations: 0 }],
    ],
    [
      ['pause', '7'],
      ['steer', { shard: 7, steering: pb.v1.Steering.PAUSE, author: 'tester@here' }],
    ],
    [
      ['resume', '7'],
      ['steer', { shard: 7, steering: pb.v1.Steering.RESUME, author: 'tester@here' }],
    ],
    [
      ['cancel', '7'],
      ['steer', { shard: 7, steering: pb.v1.Steering.CANCEL, author: 'tester@here' }],
    ],
  ])('%j asks for exactly that, and tells config number and migrations', async (words, call) => {
    world.fakeControllers.outcome = { configNumber: 9, note: 'as it should be', migrations: [17, 18] }
    const outcome = await world.run('admin', ...words, '--json')
    expect(outcome).toMatchObject({ code: 0, stderr: '' })
    expect(outcome.json()).toEqual({ configNumber: 9, note: 'as it should be', migrations: [17, 18] })
    expect(calls()).toEqual([[...call, { timeoutMs: 10_000 }]])
    const text = (await world.run('admin', ...words)).stdout.toString()
    expect(text).toBe('config 9: as it should be; migrations 17, 18\n')
  })

  it.each([
    [['join', 'g3', '--nodes', 'n1=h:1']],
    [['leave', 'g3']],
    [['move', '12', 'g2']],
    [['unpin', '0']],
    [['rebalance']],
    [['weight', 'g2', '2']],
    [['pause', '7']],
    [['resume', '7']],
    [['cancel', '7']],
    [['add-replica', 'g1', 'n4']],
    [['remove-replica', 'g1', 'n4']],
    [['replace-node', 'n1', 'n4']],
  ])('%j goes under the id that is given, of 1 to 64 bytes', async (words) => {
    expect((await world.run('admin', ...words, '--request-id', 'deploy-7')).code).toBe(0)
    expect(calls().at(-1)?.[2]).toEqual({ timeoutMs: 10_000, requestId: 'deploy-7' })
    calls().length = 0
    for (const id of ['', 'é'.repeat(33)]) {
      expect((await world.run('admin', ...words, '--request-id', id)).code).toBe(2)
      expect(calls()).toEqual([])
    }
  })

  it('that are refused end with 1 and one line, and nothing is waited for', async () => {
    world.fakeControllers.failure = new OstrakaError('FAILED_PRECONDITION', 'shard 5 is moving from g1 to g2', true)
    for (const words of [['leave', 'g1'], ['move', '5', 'g2'], ['unpin', '5'], ['rebalance'], ['pause', '5']]) {
      world.fakeControllers.calls.length = 0
      const wait = ['unpin', 'pause'].includes(words[0] ?? '') ? [] : ['--wait']
      const outcome = await world.run('admin', ...words, ...wait, '--json')
      expect(outcome).toMatchObject({ code: 1, stderr: 'ostraka: shard 5 is moving from g1 to g2\n' })
      expect(outcome.json()).toEqual({
        error: { code: 'FAILED_PRECONDITION', message: 'shard 5 is moving from g1 to g2', definite: true },
      })
      expect(calls()).toHaveLength(1)
    }
  })
})

describe('--wait', () => {
  it('returns when every migration of the change has ended, and looks at no other', async () => {
    world.fakeControllers.outcome = { configNumber: 9, note: '', migrations: [17, 18] }
    world.fakeControllers.migrationLists = [
      [migration(3, COPYING), migration(17, COPYING), migration(18, COMMITTED)],
      [migration(3, COPYING), migration(17, DONE), migration(18, COMMITTED)],
      [migration(3, COPYING), migration(17, DONE), migration(18, DONE)],
    ]
    const outcome = await world.run('admin', 'rebalance', '--wait')
    expect(outcome).toMatchObject({ code: 0, stderr: '' })
    expect(names()).toEqual(['rebalance', 'migrations', 'migrations', 'migrations'])
    expect(calls()[0]?.[2]).toEqual({ timeoutMs: 600_000 })
  })

  it('takes a migration that is not remembered any more for ended', async () => {
    world.fakeControllers.outcome = { configNumber: 9, note: '', migrations: [17] }
    expect((await world.run('admin', 'move', '5', 'g2', '--wait')).code).toBe(0)
    expect(names()).toEqual(['move', 'migrations'])
  })

  it('remembers that one was aborted, though the controllers forget it before the others have ended, and asks for no other', async () => {
    world.fakeControllers.outcome = { configNumber: 9, note: '', migrations: [17, 18, 19] }
    world.fakeControllers.migrationLists = [
      [migration(17, ABORTED, { reason: 'no room in g2' }), migration(18, COPYING), migration(19, COPYING)],
      [migration(18, COPYING)],
      [],
    ]
    const outcome = await world.run('admin', 'rebalance', '--wait')
    expect(outcome.code).toBe(1)
    expect(outcome.stderr).toMatch(/^ostraka: migration 17 [^\n]+ was aborted: no room in g2: see [^\n]+\n$/)
    expect(
      calls()
        .slice(1)
        .map(([, , request]) => request),
    ).toEqual([{ ids: [17, 18, 19] }, { ids: [18, 19] }, { ids: [18] }])
  })

  it.each([ABORTED, GIVEN_BACK])('ends with 1 and why where one ended without the move, once all have ended (phase %i)', async (phase) => {
    world.fakeControllers.outcome = { configNumber: 9, note: '', migrations: [17, 18] }
    const aborted = migration(17, phase, { reason: 'no room in g2' })
    world.fakeControllers.migrationLists = [
      [aborted, migration(18, COPYING)],
      [aborted, migration(18, DONE)],
    ]
    const outcome = await world.run('admin', 'rebalance', '--wait')
    expect(outcome.code).toBe(1)
    expect(outcome.stderr).toMatch(/^ostraka: migration 17 \(shards 5 from g1 to g2\) was aborted: no room in g2: see [^\n]+\n$/)
    expect(names()).toEqual(['rebalance', 'migrations', 'migrations'])
  })

  it('ends with 69 where the time is over, and says what still runs', async () => {
    world.fakeControllers.outcome = { configNumber: 9, note: '', migrations: [17] }
    world.fakeControllers.migrationLists = [[migration(17, COPYING, { paused: true })]]
    const outcome = await world.run('admin', 'move', '5', 'g2', '--wait', '--timeout', '0.2', '--json')
    expect(outcome.code).toBe(69)
    expect(outcome.stderr).toMatch(/accepted as config 9, but after 0\.2 s 1 of its migrations still run: 17 \(paused 47 %\)/)
    expect(outcome.json()).toMatchObject({ error: { code: 'DEADLINE', definite: false } })
  })

  it('ends with what was seen last, not with how its last question ended', async () => {
    world.fakeControllers.outcome = { configNumber: 9, note: '', migrations: [17] }
    world.fakeControllers.migrationLists = [[migration(17, COPYING)], undefined]
    const outcome = await world.run('admin', 'move', '5', 'g2', '--wait', '--timeout', '0.2')
    expect(outcome.code).toBe(69)
    expect(outcome.stderr).toMatch(/accepted as config 9, but after 0\.2 s 1 of its migrations still run: 17 /)
  })

  it('of a leave returns when that group is gone, whatever became of its first migrations', async () => {
    world.fakeControllers.outcome = { configNumber: 9, note: '', migrations: [17] }
    world.fakeControllers.migrationLists = [[migration(17, ABORTED, { reason: 'cancelled' })]]
    const configs = [config(9, 3), config(10, 3), config(11, 1), config(12, -1)]
    const asked: number[] = []
    world.fakeControllers.query = async (number) => {
      asked.push(number)
      const next = configs.shift()
      if (next === undefined) throw new Error('asked too often')
      return { config: next, directory: undefined as unknown as never }
    }
    expect(await world.run('admin', 'leave', 'g3', '--wait')).toMatchObject({ code: 0, stderr: '' })
    expect(asked).toEqual([9, 0, 0, 0])
  })

  it('of a leave that nobody can take shards of says so when its time is over', async () => {
    world.fakeControllers.outcome = { configNumber: 9, note: '', migrations: [] }
    world.fakeControllers.configs = [config(9, 3)]
    world.fakeControllers.groups = [{ name: 'g3', shards: 3, waitsFor: '3 shards to move: no group can take them now: g1 has no room' }]
    const outcome = await world.run('admin', 'leave', 'g3', '--wait', '--timeout', '0.2')
    expect(outcome.code).toBe(69)
    expect(outcome.stderr).toContain(
      "g3 is still there, with 3 shards (3 shards to move: no group can take them now: g1 has no room): see 'ostraka admin migrations'",
    )
  })

  it('draws a bar on a terminal, and on stderr only', async () => {
    world.fakeControllers.outcome = { configNumber: 9, note: '', migrations: [17] }
    world.fakeControllers.migrationLists = [[migration(17, COPYING)], [migration(17, DONE)]]
    Object.assign(world.stderr, { isTTY: true, cursorTo() {}, clearLine() {}, clearScreenDown() {}, moveCursor() {} })
    const outcome = await world.run('admin', 'rebalance', '--wait')
    expect(outcome.stdout.toString()).toBe('config 9; migration 17\n')
    expect(outcome.stderr).toContain('1/1 shards')
  })
})

describe('leave --abandon-data', () => {
  const abandoned = ['leave', { group: 'g3', author: 'tester@here', abandonData: true, confirmShards: 5, base: 0 }]

  it('sends the number that --confirm gives, without asking', async () => {
    expect((await world.run('admin', 'leave', 'g3', '--abandon-data', '--confirm', '5')).code).toBe(0)
    expect(calls()).toMatchObject([[...abandoned, {}]])
  })

  it('asks for the number of shards, and does nothing where it is not typed', async () => {
    world.fakeControllers.config = config(9, 5)
    const type = (text: string) => Object.assign(world, { stdin: Object.assign(Readable.from([text]), { isTTY: true }) })
    type('4\n')
    const wrong = await world.run('admin', 'leave', 'g3', '--abandon-data')
    expect(wrong.code).toBe(1)
    expect(wrong.stderr).toMatch(/all 5 shards of g3 will be lost.*: ostraka: nothing done: g3 owns 5 shards, you confirmed 4\n$/)
    type('\n')
    expect((await world.run('admin', 'leave', 'g3', '--abandon-data')).code).toBe(2)
    type('yes\n')
    expect((await world.run('admin', 'leave', 'g3', '--abandon-data')).code).toBe(2)
    expect(names()).toEqual(['query', 'query', 'query'])
    type('5\n')
    expect((await world.run('admin', 'leave', 'g3', '--abandon-data')).code).toBe(0)
    expect(calls().at(-1)).toMatchObject([...abandoned, {}])
  })

  it('takes the number from a pipe without a prompt; an empty or silent one confirms nothing', async () => {
    world.fakeControllers.config = config(9, 5)
    const stdin = (stream: Readable) => Object.assign(world, { stdin: stream })
    stdin(Readable.from(['5']))
    expect(await world.run('admin', 'leave', 'g3', '--abandon-data')).toMatchObject({ code: 0, stderr: '' })
    for (const stream of [Readable.from([]), new PassThrough()]) {
      stdin(stream)
      const outcome = await world.run('admin', 'leave', 'g3', '--abandon-data', '--timeout', '0.1')
      expect(outcome).toMatchObject({ code: 2, stderr: expect.stringMatching(/^ostraka: nothing confirmed: .*g3 loses, 5 now\n$/) })
    }
    expect(names()).toEqual(['query', 'leave', 'query', 'query'])
  })

  it('of a group that is not there ends with 1', async () => {
    world.fakeControllers.config = config(9, -1)
    const outcome = await world.run('admin', 'leave', 'g3', '--abandon-data')
    expect(outcome).toMatchObject({ code: 1, stderr: 'ostraka: there is no group g3\n' })
  })
})

describe('plan', () => {
  it.each([
    [['join', 'g3', '--nodes', 'n1=h:1'], 'join', { groups: [{ name: 'g3', members: [{ node: 'n1', address: 'h:1' }] }] }],
    [['leave', 'g3'], 'leave', { group: 'g3', abandonData: false }],
    [['move', '12', 'g2'], 'move', { shard: 12, group: 'g2' }],
    [['rebalance'], 'rebalance', {}],
    [['weight', 'g3', '2'], 'weigh', { group: 'g3', weight: 2 }],
  ])('%j tells what would move and changes nothing; with --apply it does that on that config', async (words, name, request) => {
    const told = {
      configNumber: 7,
      migrationsMark: 4,
      moves: [{ shard: 3, from: null, to: 'g3', bytes: 2048 }],
      bytes: 2048,
      estimatedSeconds: 1.5,
      imbalanceBefore: 0.5,
      imbalanceAfter: 0.25,
    }
    expect((await world.run('admin', 'plan', ...words, '--json')).json()).toEqual(told)
    expect(calls()).toMatchObject([['plan', { [name]: request }, { timeoutMs: 10_000 }]])
    const applied = await world.run('admin', 'plan', ...words, '--apply', '--json')
    expect(applied.json()).toEqual({ ...told, applied: { configNumber: 8, migrations: [] } })
    expect(names()).toEqual(['plan', 'plan', name])
    expect(calls()[2]?.[1]).toMatchObject({ ...request, base: 7, baseMigrations: 4 })
    const text = (await world.run('admin', 'plan', ...words)).stdout.toString()
    expect(text).toContain('on config 7:4: 1 shards, about 2.0 KiB, about 1.5 s')
    expect(text).toContain('born in g3: 1 shards')
    expect(text).toContain('imbalance 50.0 % before, 25.0 % after')
  })

  it('on an old config is refused with 1, and not applied', async () => {
    const outcome = await world.run('admin', 'plan', 'leave', 'g3', '--apply', '--base', '6')
    expect(outcome).toMatchObject({ code: 1, stderr: 'ostraka: config is 7, you planned on 6: look at a new plan first\n' })
    expect(names()).toEqual(['plan'])
    expect((await world.run('admin', 'plan', 'leave', 'g3', '--apply', '--base', '7')).code).toBe(0)
    expect(names()).toEqual(['plan', 'plan', 'leave'])
    const later = await world.run('admin', 'plan', 'leave', 'g3', '--apply', '--base', '7:3')
    expect(later).toMatchObject({ code: 1, stderr: 'ostraka: config is 7:4, you planned on 7:3: look at a new plan first\n' })
    expect((await world.run('admin', 'plan', 'leave', 'g3', '--apply', '--base', '7:4')).code).toBe(0)
  })

  it('--apply --wait waits for its migrations', async () => {
    world.fakeControllers.outcome = { configNumber: 9, note: '', migrations: [17] }
    world.fakeControllers.migrationLists = [[migration(17, COPYING)], [migration(17, DONE)]]
    expect((await world.run('admin', 'plan', 'rebalance', '--apply', '--wait')).code).toBe(0)
    expect(names()).toEqual(['plan', 'rebalance', 'migrations', 'migrations'])
  })
})

describe('migrations', () => {
  it('tells all of them in the shape of the contract', async () => {
    world.fakeControllers.migrationLists = [
      [
        migration(1, DONE, { shards: [5, 6], pauseUs: 1234, bytesCopied: 1024, digest: Uint8Array.of(7, 255) }),
        migration(2, ABORTED, { reason: 'cancelled by me@here' }),
        migration(3, COMMITTED),
        migration(4, COPYING, { catchingUp: true }),
        migration(5, COPYING, { paused: true, attempt: 2 }),
        migration(6, GIVEN_BACK, { reason: 'checksum' }),
      ],
    ]
    const told = (await world.run('admin', 'migrations', '--json')).json() as Record<string, unknown>[]
    expect(told[0]).toEqual({
      id: 1,
      shards: [5, 6],
      from: 'g1',
      to: 'g2',
      phase: 'done',
      attempt: 1,
      bytesCopied: 1024,
      bytesTotal: 1024,
      startedAt: '2023-11-14T22:13:20.000Z',
      endedAt: '2023-11-14T22:13:22.000Z',
      pauseMs: 1.234,
      paused: false,
      cause: 'move 5 to g2',
      author: 'me@here',
      digest: '07ff',
    })
    expect(told[1]).toMatchObject({ digest: null })
    expect(told.map(({ phase }) => phase)).toEqual(['done', 'aborted', 'releasing', 'catching-up', 'copying', 'aborted'])
    expect(told.map(({ reason }) => reason)).toEqual([undefined, 'cancelled by me@here', undefined, undefined, undefined, 'checksum'])
    expect(told[4]).toMatchObject({ endedAt: null, pauseMs: null, paused: true, attempt: 2 })
  })

  it('shows a table with phase, percent and rate', async () => {
    expect((await world.run('admin', 'migrations')).stdout.toString()).toBe('no shard moves, and none has moved yet\n')
    world.fakeControllers.migrationLists = [
      [
        migration(1, DONE, { shards: [1, 2, 3, 9], pauseUs: 1500, bytesCopied: 4096, bytesTotal: 4096 }),
        migration(2, COPYING, { paused: true }),
      ],
    ]
    const table = (await world.run('admin', 'migrations')).stdout.toString()
    expect(table).toMatch(
      /1 .*1–3, 9 \(4\) .*g1 .*g2 .*done .*100 % .*4\.0 KiB of 4\.0 KiB .*2\.0 KiB\/s .*1\.5 ms .*2\.0 s .*2023-11-14 22:13:20 .*me@here .*move 5/,
    )
    expect(table).toMatch(/copying, paused .*47 %/)
  })

  it('says of each what it waits for, and who paused it and when', async () => {
    const pausedAtMs = 1_700_000_001_000
    const list = [
      migration(1, COPYING, { waitsFor: 'its target: g2 has lost its majority' }),
      migration(2, COPYING, { paused: true, pausedBy: 'me@here', pausedAtMs, waitsFor: 'its resumption: paused by me@here' }),
    ]
    world.fakeControllers.migrationLists = [list]
    const told = (await world.run('admin', 'migrations', '--json')).json() as Record<string, unknown>[]
    expect(told).toMatchObject([
      { id: 1, waitsFor: 'its target: g2 has lost its majority' },
      { id: 2, pausedBy: 'me@here', pausedAt: '2023-11-14T22:13:21.000Z', waitsFor: 'its resumption: paused by me@here' },
    ])
    const table = (await world.run('admin', 'migrations')).stdout.toString()
    expect(table).toMatch(/waits for .*its target: g2 has lost its majority .*its resumption: paused by me@here since 2023-11-14 22:13:21/s)
    const [line, paused] = list.map((one) => migrationLine(migrationJson(one)))
    expect(line).toBe('1: shards 5 from g1 to g2: copying 47 %, 1.0 KiB, waits for its target: g2 has lost its majority')
    expect(paused).toContain('copying 47 %, paused, 1.0 KiB, waits for its resumption: paused by me@here since 2023-11-14 22:13:21')
    world.fakeControllers.outcome = { configNumber: 9, note: '', migrations: [1] }
    const late = await world.run('admin', 'move', '5', 'g2', '--wait', '--timeout', '0.2')
    expect(late.stderr).toContain('1 (copying 47 %, waits for its target: g2 has lost its majority)')
  })

  it('says on stderr what waits for a migration of its own', async () => {
    world.fakeControllers.waiting = ['g3 is being drained, 3 shards to move: no group can take them now: g1 has no room']
    for (const flags of [[], ['--json']]) {
      const { stdout, stderr } = await world.run('admin', 'migrations', ...flags)
      expect([stdout.toString().includes('g3'), stderr]).toEqual([false, `${world.fakeControllers.waiting[0]}\n`])
    }
  })

  it('tells of what was planned together how far it is and how long it will take, where some of it still runs', () => {
    const of = (id: number, phase: pb.v1.MigrationPhase, more: pb.v1.Migration.$Properties = {}) =>
      migrationJson(migration(id, phase, { cause: 'join g4', shards: [id, 40 + id], ...more }))
    const nowMs = 1_700_000_010_000
    const sums = sumLines([of(1, DONE), of(2, COPYING, { bytesCopied: 1024 }), of(3, COPYING, { bytesTotal: 0, bytesCopied: 0 })], nowMs)
    // Done: 1 and 0.95 of 3, in 10 s.
    expect(sums).toEqual(['join g4, by me@here: 2 of 6 shards moved, 65 %, 1.5 KiB copied, about 5.4 s left'])
    const [held] = sumLines([of(1, ABORTED), of(2, COPYING, { paused: true })], nowMs)
    expect(held).toBe('join g4, by me@here: 0 of 4 shards moved, 2 aborted, 73 %, 1.0 KiB copied')
    expect(sumLines([of(1, DONE), of(2, DONE)], nowMs)).toEqual([])
    expect(sumLines([of(1, COPYING)], nowMs)).toEqual([])
  })

  it('measures how fast one copies, and so how long it will go on', () => {
    const rates = new MigrationRates()
    const at = (bytesCopied: number, more: pb.v1.Migration.$Properties = {}) =>
      migrationJson(migration(2, COPYING, { bytesCopied, bytesTotal: 10_000, ...more }))
    rates.look([at(0)], 1000)
    expect(rates.of(2)).toBeUndefined()
    rates.look([at(2000)], 2000)
    expect(rates.of(2)).toBe(2000)
    expect(copyLeftMs(at(2000), 2000)).toBe(4000)
    expect(migrationLine(at(2000), 2000)).toContain(', 2.0 KiB/s, 4.0 s left')
    for (const none of [at(2000, { paused: true }), at(2000, { catchingUp: true }), at(0, { bytesTotal: 0 })]) {
      expect(copyLeftMs(none, 2000)).toBeUndefined()
    }
    expect(copyLeftMs(at(2000), 0)).toBeUndefined()
    rates.look([migrationJson(migration(2, DONE))], 3000)
    expect(rates.of(2)).toBeUndefined()
  })

  const interrupted = new OstrakaError('CANCELLED', 'the call was cancelled', true)

  it('--watch prints a line for each change until it cannot go on, with --json as ndjson', async () => {
    const lists = () => [
      [migration(1, DONE), migration(2, COPYING)],
      [migration(1, DONE), migration(2, COPYING)],
      [migration(1, DONE), migration(2, DONE, { pauseUs: 2500 }), migration(3, ABORTED, { reason: 'cancelled' })],
      interrupted,
    ]
    world.fakeControllers.migrationLists = lists()
    const json = await world.run('admin', 'migrations', '--watch', '--json')
    expect(json.code).toBe(1)
    const lines = json.stdout.toString().trim().split('\n')
    expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { id: 2, phase: 'copying' },
      { id: 2, phase: 'done', pauseMs: 2.5 },
      { id: 3, phase: 'aborted' },
      { error: { code: 'CANCELLED' } },
    ])
    world.fakeControllers.migrationLists = lists()
    const text = (await world.run('admin', 'migrations', '--watch')).stdout.toString()
    expect(text).toBe(
      '2: shards 5 from g1 to g2: copying 47 %, 1.0 KiB\n' +
        '2: shards 5 from g1 to g2: done, 1.0 KiB, pause 2.5 ms\n' +
        '3: shards 5 from g1 to g2: aborted, 1.0 KiB: cancelled\n',
    )
  })

  it('--watch goes on when no controller answers, says so once, and asks only for what has changed since', async () => {
    world.fakeControllers.migrationLists = [
      [migration(1, DONE), migration(2, COPYING)],
      undefined,
      undefined,
      [migration(2, COPYING, { bytesCopied: 1024, bytesTotal: 4096 }), migration(3, COPYING)],
      interrupted,
    ]
    world.fakeControllers.versions = [
      { version: 7, since: 0 },
      { version: 9, since: 7 },
    ]
    const outcome = await world.run('admin', 'migrations', '--watch')
    expect(calls().map(([, , request]) => request)).toEqual([{ known: 0 }, { known: 7 }, { known: 7 }, { known: 7 }, { known: 9 }])
    expect(outcome.stderr).toBe(
      'watching, 1 running; ^C ends\nno controller leader answered; asking again until ^C\nthe controllers answer again\nostraka: the call was cancelled\n',
    )
    expect(outcome.stdout.toString()).toMatch(/^2: .* 47 %, .*\n2: .*copying 23 %, 4\.0 KiB, \d+ B\/s, [\d.]+ s left\n3: /)
    Object.assign(world.stdout, { isTTY: true, rows: 8, columns: 60 })
    world.fakeControllers.migrationLists = [[migration(2, COPYING)], undefined, interrupted]
    const drawn = (await world.run('admin', 'migrations', '--watch')).stdout.toString()
    expect(drawn).toContain('no controller leader answered; asking again until ^C\n1 running\n')
    world.fakeControllers.migrationLists = [undefined]
    expect((await world.run('admin', 'migrations', '--watch')).code).toBe(69)
  })

  it('--watch on a terminal draws over what it drew', async () => {
    Object.assign(world.stdout, { isTTY: true, rows: 8, columns: 60 })
    world.fakeControllers.migrationLists = [[migration(2, COPYING)], [migration(2, DONE)], interrupted]
    const text = (await world.run('admin', 'migrations', '--watch')).stdout.toString()
    const [first = '', second = ''] = text.split('\u001b[6A\u001b[0J')
    expect(first).toContain('1 running\n')
    expect(second).toContain('0 running\n')
    for (const line of text.split('\n')) expect(line.replace('\u001b[6A\u001b[0J', '').length).toBeLessThanOrEqual(60)
  })
})
