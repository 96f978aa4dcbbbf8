/** CONTRACT, "Data": what a user or a script sees of each data command, against one running cluster. */
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { jsonOf, ndjson, refusal } from './expectations.ts'
import { Up } from './up.ts'

let up: Up
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ostraka-e2e-files-'))
  up = await Up.start(['--shards', '16', '--election-timeout-ms', '300'])
})
afterAll(async () => {
  await up?.dispose()
  await rm(folder, { recursive: true, force: true })
})

const run = (words: readonly string[], input: string | Uint8Array = '') => up.run(words, input)

const json = (...words: string[]) => jsonOf(run, words)
const refused = (words: string[], code: number, message: RegExp) => refusal(run, words, code, message)

it('processes of their own: their stdin, stdout, stderr and exit codes', async () => {
  const bytes = randomBytes(200_000)
  expect(await up.start(['put', 'own', '-'], bytes)).toMatchObject({ code: 0, stdout: 'OK\n', stderr: '' })
  const [got, missing, wrong, unknown] = await Promise.all([
    up.start(['get', 'own']),
    up.start(['get', 'not there']),
    up.start(['get', 'own', '--colour', 'red']),
    up.start(['get', 'own', '--controllers', '127.0.0.1:1', '--timeout', '1']),
  ])
  expect(got.bytes.equals(bytes)).toBe(true)
  expect(missing).toMatchObject({ code: 3, stdout: '', stderr: "ostraka: no key 'not there'\n" })
  expect(wrong).toMatchObject({ code: 2, stdout: '' })
  expect(unknown).toMatchObject({ code: 69, stdout: '' })
})

describe('put and get', () => {
  it('hands a value back byte by byte, and in JSON with its revision', async () => {
    expect(await run(['put', 'colour', 'blue'])).toMatchObject({ code: 0, stdout: 'OK\n', stderr: '' })
    expect(await run(['get', 'colour'])).toMatchObject({ code: 0, stdout: 'blue', stderr: '' })
    const put = (await json('put', 'colour', 'grün')) as { revision: number }
    expect(put).toEqual({ revision: expect.any(Number) })
    expect(await json('get', 'colour')).toEqual({ key: 'colour', value: 'grün', revision: put.revision })
  })

  it('takes bytes from stdin and from a file, and shows what is not UTF-8 in base64', async () => {
    const bytes = randomBytes(100_000)
    bytes[0] = 0xff
    expect((await run(['put', 'stdin', '-'], bytes)).code).toBe(0)
    expect((await run(['get', 'stdin'])).bytes).toEqual(bytes)
    const file = join(folder, 'value')
    await writeFile(file, bytes)
    expect((await run(['put', 'file', '--file', file])).code).toBe(0)
    expect(await json('get', 'file')).toMatchObject({ key: 'file', value: bytes.toString('base64'), encoding: 'base64' })
  })

  it('takes a value that begins with a dash behind --, and an empty one', async () => {
    expect((await run(['put', 'dash', '--', '-x'])).code).toBe(0)
    expect((await run(['get', 'dash'])).stdout).toBe('-x')
    expect((await run(['put', '--', 'dash', '-'])).code).toBe(0)
    expect((await run(['get', 'dash'])).stdout).toBe('-')
    expect((await run(['put', 'dash', '-x'])).code).toBe(2)
    expect((await run(['put', 'empty', ''])).code).toBe(0)
    expect(await json('get', 'empty')).toMatchObject({ key: 'empty', value: '' })
  })

  it('ends with 3 where there is no key, in every read mode', async () => {
    expect(await refused(['get', 'missing'], 3, /no key 'missing'/)).toEqual({
      error: { code: 'NOT_FOUND', message: expect.stringContaining('missing'), definite: true },
    })
    for (const read of ['linearizable', 'lease', 'follower', 'stale']) {
      expect((await run(['get', 'colour', '--read', read])).stdout).toBe('grün')
      expect((await run(['get', 'missing', '--read', read])).code).toBe(3)
    }
  })

  it('forgets a key after its time to live; put and cas set it anew, append and increment keep it', async () => {
    await run(['put', 'short', 'x', '--ttl', '0.2'])
    while ((await run(['get', 'short'])).code === 0);
    expect((await run(['get', 'short'])).code).toBe(3)
    await run(['put', 'long', '1', '--ttl', '1000'])
    await run(['increment', 'long'])
    await run(['append', 'long', '0'])
    const { expiresInMs } = (await json('get', 'long')) as { expiresInMs: number }
    expect(expiresInMs).toBeGreaterThan(900_000)
    expect(expiresInMs).toBeLessThanOrEqual(1_000_000)
    await run(['cas', 'long', '--expect', '20', '--value', 'y'])
    expect(await json('get', 'long')).toEqual({ key: 'long', value: 'y', revision: expect.any(Number) })
    await run(['put', 'long', '1', '--ttl', '1000'])
    await run(['put', 'long', '1'])
    expect(await json('get', 'long')).not.toHaveProperty('expiresInMs')
  })
})

describe('delete, append, increment, cas', () => {
  it('deletes a key, and a missing one without failure', async () => {
    await run(['put', 'gone', 'x'])
    expect(await json('delete', 'gone')).toEqual({ existed: true })
    expect(await json('delete', 'gone')).toEqual({ existed: false })
    expect(await run(['delete', 'gone'])).toMatchObject({ code: 0, stderr: '' })
    expect((await run(['get', 'gone'])).code).toBe(3)
  })

  it('appends, counting bytes', async () => {
    expect(await json('append', 'log', 'é')).toEqual({ length: 2, revision: expect.any(Number) })
    expect(await run(['append', 'log', 'x'])).toMatchObject({ code: 0, stdout: '3\n' })
    expect((await run(['get', 'log'])).stdout).toBe('éx')
  })

  it('increments by one, by more and by less, to the ends of 64 bits', async () => {
    expect(await json('increment', 'n')).toEqual({ value: 1, revision: expect.any(Number) })
    expect(await json('increment', 'n', '5')).toMatchObject({ value: 6 })
    expect(await json('increment', 'n', '-16')).toMatchObject({ value: -10 })
    expect(await run(['increment', 'n', '-1'])).toMatchObject({ code: 0, stdout: '-11\n' })
    expect(await json('increment', 'max', '9223372036854775807')).toMatchObject({ value: '9223372036854775807' })
    expect(await refused(['increment', 'max'], 1, /64/)).toMatchObject({ error: { code: 'INVALID_ARGUMENT', definite: true } })
    await run(['put', 'word', 'x'])
    await refused(['increment', 'word'], 1, /no 64-bit integer/)
    expect((await run(['get', 'word'])).stdout).toBe('x')
    await refused(['increment', 'n', '1.5'], 2, /no whole number/)
    await refused(['increment', 'n', '9223372036854775808'], 2, /no whole number/)
  })

  it('compares and sets by value, by revision and by absence; 4 where the condition does not hold', async () => {
    expect(await json('cas', 'c', '--absent', '--value', '1')).toMatchObject({ applied: true })
    const { revision } = (await json('get', 'c')) as { revision: number }
    expect(await json('cas', 'c', '--expect-revision', String(revision), '--value', '2')).toMatchObject({ applied: true })
    expect(await json('cas', 'c', '--expect', '2', '--value', '-3')).toMatchObject({ applied: true })
    for (const condition of [['--absent'], ['--expect', '2'], ['--expect-revision', String(revision)]]) {
      expect(await refused(['cas', 'c', ...condition, '--value', 'x'], 4, /not what was expected/)).toMatchObject({
        error: { code: 'CONDITION_FAILED', definite: true },
      })
    }
    await refused(['cas', 'none', '--expect', 'x', '--value', 'y'], 4, /there is none/)
    expect((await run(['get', 'c'])).stdout).toBe('-3')
  })
})

describe('scan, import, export', () => {
  it('scans in the order of the bytes over all shards, with prefix, limit, ends and reverse', async () => {
    const keys = ['s:a', 's:b', 's:é', 's:z', 's:~']
    for (const key of keys) await run(['put', key, `${key}!`])
    const sorted = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    const all = await run(['scan', '--prefix', 's:', '--json'])
    expect(ndjson(all.stdout)).toEqual(sorted.map((key) => ({ key, value: `${key}!`, revision: expect.any(Number) })))
    expect((await run(['scan', '--prefix', 's:'])).stdout).toBe(sorted.map((key) => `${key}\t${key}!\n`).join(''))
    expect(ndjson((await run(['scan', '--prefix', 's:', '--limit', '2', '--reverse', '--json'])).stdout)).toMatchObject([
      { key: 's:é' },
      { key: 's:~' },
    ])
    expect(ndjson((await run(['scan', '--start', 's:b', '--end', 's:z', '--json'])).stdout)).toMatchObject([{ key: 's:b' }])
    expect((await run(['scan', '--prefix', 'nothing:', '--json'])).stdout).toBe('')
  })

  it('exports what it imported, bytes and time to live included', async () => {
    const [from, to] = [join(folder, 'in.ndjson'), join(folder, 'out.ndjson')]
    const lines = [
      ...Array.from({ length: 500 }, (_, i) => ({ key: `i:${String(i).padStart(4, '0')}`, value: `value ${i}` })),
      { key: Buffer.from([0x69, 0x3a, 0xfe, 0xff]).toString('base64'), keyEncoding: 'base64', value: '/wAK', encoding: 'base64' },
    ]
    await writeFile(from, lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
    expect(await json('import', from)).toMatchObject({ records: 501 })
    expect(await json('export', to, '--prefix', 'i:')).toEqual({ records: 501 })
    const out = ndjson(await readFile(to, 'utf8'))
    expect(out).toEqual(lines.map((line) => ({ ...line, revision: expect.any(Number) })))
    const withBar = await run(['import', from, '--progress', '--json'])
    expect(withBar.code).toBe(0)
    expect(JSON.parse(withBar.stdout)).toMatchObject({ records: 501 })
  })

  it.each([
    ['no JSON', '{"key":'],
    ['a line without a value', '{"key":"b"}'],
    ['an empty key', '{"key":"","value":"x"}'],
    ['too long a key', JSON.stringify({ key: 'k'.repeat(4097), value: 'x' })],
  ])('stops an import at %s, names the line, and keeps what came before', async (what, line) => {
    const file = join(folder, 'broken.ndjson')
    const key = `before ${what}`
    await writeFile(file, `${JSON.stringify({ key, value: 'kept' })}\n${line}\n`)
    expect(await refused(['import', file], 1, /line 2: /)).toMatchObject({ error: { definite: true } })
    expect((await run(['get', key])).stdout).toBe('kept')
  })

  it('refuses files that cannot be read or written', async () => {
    await refused(['import', join(folder, 'none.ndjson')], 2, /cannot be read/)
    await refused(['export', join(folder, 'none', 'out.ndjson')], 1, /cannot be written/)
  })
})

it('explains where a key is, and keys with one tag are together', async () => {
  const told = (await json('explain', '{user:7}:name')) as {
    slot: number
    shard: number
    group: string
    leader: string
    configNumber: number
  }
  expect(told).toEqual({
    key: '{user:7}:name',
    slot: expect.any(Number),
    shard: expect.any(Number),
    group: expect.stringMatching(/^g[123]$/),
    leader: expect.stringMatching(/^n[123]$/),
    configNumber: 3,
  })
  expect(told.slot).toBeLessThan(16_384)
  expect(told.shard).toBeLessThan(16)
  expect(await json('explain', '{user:7}:address')).toMatchObject({ slot: told.slot, shard: told.shard })
})

it('runs a benchmark and tells its figures', async () => {
  const figures = await json('bench', 'put', '--seconds', '0.5', '--concurrency', '8', '--keys', '100')
  const number = expect.any(Number)
  expect(figures).toMatchObject({
    workload: 'put',
    operations: number,
    seconds: number,
    perSecond: number,
    p50: number,
    p99: number,
    p999: number,
    max: number,
    errors: 0,
  })
})
