import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { shardOf, slotOf } from '../../base/slot.ts'
import { Config } from '../../proto/config.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { FakeWorld } from './fake-world.ts'

const folder = mkdtempSync(path.join(os.tmpdir(), 'ostraka-cli-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let world = new FakeWorld()
beforeEach(() => {
  world = new FakeWorld()
})

describe('put and get', () => {
  it('puts text, and gets it back raw, as it is', async () => {
    expect(await world.run('put', 'colour', 'blue')).toMatchObject({ code: 0, stderr: '' })
    const got = await world.run('get', 'colour')
    expect(got).toMatchObject({ code: 0, stdout: Buffer.from('blue') })
    expect(world.database.closed).toBe(true)
  })

  it('puts bytes from stdin and from a file, and shows them in base64', async () => {
    const bytes = Buffer.from([0xff, 0, 10])
    world.stdin = Readable.from([bytes.subarray(0, 1), bytes.subarray(1)])
    await world.run('put', 'a', '-')
    const file = path.join(folder, 'value')
    writeFileSync(file, bytes)
    await world.run('put', 'b', '--file', file)
    expect((await world.run('get', 'a')).stdout).toEqual(bytes)
    expect((await world.run('get', 'b', '--json')).json()).toEqual({ key: 'b', value: '/wAK', encoding: 'base64', revision: 2 })
  })

  it('takes a value that begins with a dash behind --, also a single dash', async () => {
    expect((await world.run('put', 'a', '--', '-x')).code).toBe(0)
    expect((await world.run('put', '--', 'b', '-')).code).toBe(0)
    expect((await world.run('put', 'c', '-x')).code).toBe(2)
    expect([...world.database.records].map(([key, { value }]) => [key, value.toString()])).toEqual([
      ['a', '-x'],
      ['b', '-'],
    ])
  })

  it('hands over the time to live in milliseconds', async () => {
    await world.run('put', 'a', 'b', '--ttl', '1.5')
    expect(world.database.calls).toEqual([['put', 'a', 'b', { ttlMs: 1500 }]])
    for (const ttl of ['0', '-1', 'x', '']) expect((await world.run('put', 'a', 'b', '--ttl', ttl)).code).toBe(2)
  })

  it('ends with 3 for a key that is not there', async () => {
    const got = await world.run('get', 'nothing', '--json')
    expect(got.code).toBe(3)
    expect(got.stderr).toBe("ostraka: no key 'nothing'\n")
    expect(got.json()).toEqual({ error: { code: 'NOT_FOUND', message: "no key 'nothing'", definite: true } })
  })

  it.each([
    ['no value', ['put', 'k']],
    ['two values', ['put', 'k', 'v', '--file', '/dev/null']],
    ['an empty key', ['put', '', 'v']],
    ['a key of 4097 bytes', ['get', `${'é'.repeat(2048)}x`]],
    ['a value above 4 MiB', ['put', 'k', 'x'.repeat(4 * 1024 * 1024 + 1)]],
    ['an unreadable file', ['put', 'k', '--file', '/nowhere/at/all']],
    ['an unknown flag', ['get', 'k', '--colour']],
    ['one argument too many', ['get', 'k', 'l']],
    ['an unknown command', ['fetch', 'k']],
    ['a read mode that does not exist', ['get', 'k', '--read', 'dirty']],
    ['a malformed address', ['get', 'k', '--controllers', '127.0.0.1']],
    ['a port above 65535', ['get', 'k', '--controllers', '127.0.0.1:70000']],
    ['a timeout of nothing', ['get', 'k', '--timeout', '0']],
    ['no command', []],
  ])('refuses %s with 2, before anything is dialled', async (_what, words) => {
    const outcome = await world.run(...words)
    expect(outcome.code).toBe(2)
    expect(outcome.stdout.toString()).toBe('')
    expect(outcome.stderr).not.toContain('    at ')
    expect(world.database.calls).toEqual([])
  })

  it('tells wrong usage in JSON too', async () => {
    const outcome = await world.run('get', '--json')
    expect(outcome.json()).toEqual({ error: { code: 'INVALID_ARGUMENT', message: "missing required argument 'key'", definite: true } })
  })

  it('takes the common flags anywhere, over the environment', async () => {
    world.environment = { OSTRAKA_CONTROLLERS: 'a:1,b:2' }
    await world.run('get', '--timeout', '2', 'k', '--json')
    await world.run('get', 'k', '--controllers', '[::1]:5')
    world.environment = {}
    await world.run('get', 'k')
    expect(world.connections).toEqual([
      { controllers: ['a:1', 'b:2'], deadlineMs: 2000 },
      { controllers: ['[::1]:5'], deadlineMs: 10_000 },
      { controllers: ['127.0.0.1:7400', '127.0.0.1:7401', '127.0.0.1:7402'], deadlineMs: 10_000 },
    ])
  })

  it.each([
    ['UNAVAILABLE', 69],
    ['DEADLINE', 69],
    ['OVERLOADED', 69],
    ['UNKNOWN', 1],
    ['INVALID_ARGUMENT', 1],
    ['FAILED_PRECONDITION', 1],
    ['CONDITION_FAILED', 4],
  ] as const)('ends with the exit code of %s', async (code, exitCode) => {
    world.database.failure = new OstrakaError(code, 'first line\n  second', false)
    const outcome = await world.run('put', 'k', 'v', '--json')
    expect(outcome.code).toBe(exitCode)
    expect(outcome.stderr).toBe('ostraka: first line second\n')
    expect(outcome.json()).toEqual({ error: { code, message: 'first line second', definite: false } })
  })

  it('shows a stack only with --debug', async () => {
    world.database.failure = new Error('a bug')
    expect((await world.run('get', 'k')).stderr).toBe('ostraka: a bug\n')
    const outcome = await world.run('get', 'k', '--debug')
    expect(outcome.stderr).toContain('    at ')
    expect(outcome.code).toBe(1)
  })
})

describe('the other data commands', () => {
  it('deletes, also what is not there', async () => {
    await world.run('put', 'a', 'b')
    expect((await world.run('delete', 'a', '--json')).json()).toEqual({ existed: true })
    const again = await world.run('delete', 'a', '--json')
    expect(again.code).toBe(0)
    expect(again.json()).toEqual({ existed: false })
  })

  it('appends and increments, a negative number without --', async () => {
    await world.run('append', 'log', 'one')
    expect((await world.run('append', 'log', 'two', '--json')).json()).toEqual({ length: 6, revision: 2 })
    expect((await world.run('increment', 'n', '-5')).stdout.toString()).toBe('-5\n')
    expect((await world.run('increment', 'n', '--json')).json()).toEqual({ value: -4, revision: 4 })
    await world.run('increment', 'large', '9007199254740993')
    expect((await world.run('increment', 'large', '0', '--json')).json()).toMatchObject({ value: '9007199254740993' })
    for (const by of ['x', '1.5', '9223372036854775808']) expect((await world.run('increment', 'n', by)).code).toBe(2)
  })

  it('compares and sets; what is not as expected, or missing, ends with 4', async () => {
    await world.run('put', 'a', 'old')
    expect((await world.run('cas', 'a', '--expect', 'other', '--value', 'new')).code).toBe(4)
    expect((await world.run('cas', 'b', '--expect', 'old', '--value', 'new')).code).toBe(4)
    const done = await world.run('cas', 'a', '--expect', 'old', '--value', 'new', '--json')
    expect(done.json()).toEqual({ applied: true, current: { value: 'new', revision: 2 } })
    await world.run('cas', 'a', '--expect-revision', '7', '--value', 'v', '--ttl', '2')
    await world.run('cas', 'a', '--absent', '--value', 'v')
    const asked = world.database.calls
      .filter(([name]) => name === 'compareAndSet')
      .map(([, , condition, , options]) => [condition, options])
    expect(asked.slice(-2)).toEqual([
      [{ revision: 7 }, { ttlMs: 2000 }],
      [{ absent: true }, {}],
    ])
    for (const wrong of [[], ['--expect', 'a', '--absent'], ['--expect-revision', 'x']]) {
      expect((await world.run('cas', 'a', ...wrong, '--value', 'v')).code).toBe(2)
    }
    expect((await world.run('cas', 'a', '--absent')).code).toBe(2)
  })

  it('scans, a line a record', async () => {
    await world.run('put', 'a', '1')
    await world.database.put(Buffer.from([0xff]), '2')
    const outcome = await world.run('scan', '--json', '--prefix', 'p', '--start', 's', '--end', 'e', '--reverse', '--limit', '5')
    expect(
      outcome.stdout
        .toString()
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual([
      { key: 'a', value: '1', revision: 1 },
      { key: '/w==', keyEncoding: 'base64', value: '2', revision: 2 },
    ])
    expect(world.database.calls.at(-1)).toEqual(['scan', { prefix: 'p', start: 's', end: 'e', reverse: true, limit: 5, read: undefined }])
    expect((await world.run('scan', '--limit', '0')).stdout.length).toBe(0)
    expect((await world.run('scan', '--limit', 'x')).code).toBe(2)
  })

  it('explains', async () => {
    const outcome = await world.run('explain', 'k', '--json')
    expect(outcome.json()).toEqual({ key: 'k', slot: 15495, shard: 242, group: 'g1', leader: 'n2', configNumber: 7 })
  })
})

describe('explain --at', () => {
  it('tells where a key was by an old config, of which no group and no leader is asked', async () => {
    world.fakeControllers.config = new Config({
      number: 12,
      atMs: 1_700_000_000_000,
      cause: 'join g2',
      author: 'me',
      shardCount: 16,
      groups: [{ uid: 'g1@1', name: 'g1', weight: 1, state: 'active', members: [{ node: 'n1', replica: 1, state: 'voter' }] }],
      owner: (shard) => (shard === 15 ? 'g1@1' : undefined),
      epoch: () => 3,
      pins: new Map(),
    })
    const outcome = await world.run('explain', 'colour', '--at', '12', '--json')
    const slot = slotOf(Buffer.from('colour'))
    const shard = shardOf(slot, 16)
    const known = { key: 'colour', slot, shard, group: shard === 15 ? 'g1' : null, leader: null, configNumber: 12 }
    expect(outcome.json()).toEqual({ ...known, epoch: 3, at: '2023-11-14T22:13:20.000Z', cause: 'join g2' })
    expect(world.fakeControllers.calls).toEqual([['query', 12, { timeoutMs: 10_000 }]])
    expect(world.database.calls).toEqual([])
    const text = (await world.run('explain', 'colour', '--at', '12')).stdout.toString()
    expect(text).toMatch(/^slot \d+, shard \d+, group \S+, epoch 3 \(config 12 of 2023-11-14T22:13:20\.000Z: join g2\)\n$/)
    for (const number of ['0', 'x', '-3']) expect((await world.run('explain', 'colour', `--at=${number}`)).code).toBe(2)
  })
})

describe('import and export', () => {
  it('exports what import takes, whatever the bytes', async () => {
    const file = path.join(folder, 'records.ndjson')
    for (let i = 0; i < 3000; i++) await world.database.put(`k${i}`, `v${i}`)
    await world.database.put(Buffer.from([0xff, 0xfe]), Buffer.from([0, 0xff]))
    expect((await world.run('export', file, '--json')).json()).toEqual({ records: 3001 })
    const other = new FakeWorld()
    const imported = await other.run('import', file, '--json', '--progress')
    expect(imported.code).toBe(0)
    expect(imported.json()).toMatchObject({ records: 3001 })
    expect(new Map([...other.database.records].map(([key, { value }]) => [key, value]))).toEqual(
      new Map([...world.database.records].map(([key, { value }]) => [key, value])),
    )
  })

  it.each([
    ['no JSON', '{"key":'],
    ['no record', '{"key":"a"}'],
    ['an empty key', '{"key":"","value":"v"}'],
    ['a list', '[]'],
  ])('says the line that is %s; what came before stays', async (_what, line) => {
    const file = path.join(folder, 'broken.ndjson')
    writeFileSync(file, `{"key":"a","value":"1"}\n\n${line}\n{"key":"b","value":"2"}\n`)
    const outcome = await world.run('import', file)
    expect(outcome.code).toBe(1)
    expect(outcome.stderr).toContain('line 3')
    expect([...world.database.records.keys()]).toEqual(['a'])
  })

  it('names the line of a put that failed', async () => {
    const file = path.join(folder, 'fails.ndjson')
    writeFileSync(file, '{"key":"a","value":"1"}\n')
    world.database.failure = new OstrakaError('DEADLINE', 'too late', false)
    expect(await world.run('import', file)).toMatchObject({ code: 69, stderr: 'ostraka: line 1: too late\n' })
  })

  it('leaves no file behind where an export fails, and refuses files that cannot be opened', async () => {
    const file = path.join(folder, 'none.ndjson')
    world.database.failure = new OstrakaError('UNAVAILABLE', 'nobody there', true)
    expect((await world.run('export', file)).code).toBe(69)
    expect(() => readFileSync(file)).toThrow('ENOENT')
    expect((await world.run('import', '/nowhere/at/all')).code).toBe(2)
    expect((await world.run('export', '/nowhere/at/all')).code).toBe(1)
  })
})

describe('bench', () => {
  it.each(['put', 'get', 'ycsb-a', 'ycsb-e', 'ycsb-f'])('measures %s', async (workload) => {
    const outcome = await world.run('bench', workload, '--seconds', '0.1', '--concurrency', '4', '--keys', '50', '--json')
    const result = outcome.json() as Record<string, number>
    expect(Object.keys(result)).toEqual(['workload', 'operations', 'seconds', 'perSecond', 'p50', 'p99', 'p999', 'max', 'errors'])
    expect(result).toMatchObject({ workload, errors: 0 })
    expect(result.operations).toBeGreaterThan(0)
    expect(result.max).toBeGreaterThanOrEqual(result.p999 ?? Number.NaN)
    if (workload !== 'put') expect(world.database.records.size).toBeGreaterThanOrEqual(50)
  })

  it('counts errors, ends with 1 where nothing went through, and refuses what it does not know', async () => {
    world.database.failure = new OstrakaError('UNAVAILABLE', 'nobody there', true)
    const outcome = await world.run('bench', '--seconds', '0.02', '--concurrency', '1', '--json')
    expect(outcome.code).toBe(1)
    expect((outcome.json() as { errors: number }).errors).toBeGreaterThan(0)
    for (const wrong of [['nothing'], ['--seconds', '0'], ['--concurrency', '0'], ['--keys', 'x']]) {
      expect((await world.run('bench', ...wrong)).code).toBe(2)
    }
  })
})
