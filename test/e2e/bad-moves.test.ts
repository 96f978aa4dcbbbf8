/** What admins get wrong where shards move: a line that says what to do, the exit code of CONTRACT, and nothing changed. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hasEnded, migrationJson } from '../../cli/migration-json.ts'
import { NodeWorld } from '../../cli/node-world.ts'
import type { Controllers } from '../../cli/world.ts'
import { type Client, connect } from '../../client/index.ts'
import { expectOneLine, jsonOf, refusal } from './expectations.ts'
import { Up } from './up.ts'

interface ChangeJson {
  readonly configNumber: number
  readonly migrations: readonly number[]
}

let folder: string
let up: Up
let database: Client
let controllers: Controllers

/** At this pace a value of 1 MiB is on its way for a minute: longer than any of these tests looks at it. */
const slowCopy = ['--migration-bytes-per-second', '16384']

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ostraka-e2e-bad-moves-'))
  up = await Up.start(['--groups', '2', '--shards', '16', '--election-timeout-ms', '300', ...slowCopy])
  database = await connect({ controllers: [...up.ready.controllers], deadlineMs: 20_000 })
  controllers = await new NodeWorld().controllers(up.ready.controllers)
})
afterAll(async () => {
  await database?.close()
  controllers?.close()
  await up?.dispose()
  await rm(folder, { recursive: true, force: true })
})

const run = (words: readonly string[]) => up.run(words)
// What is looked at to see that nothing changed takes no process each time.
const query = async (number = 0) => (await controllers.query(number, { timeoutMs: 20_000 })).config
const migrations = async () => (await controllers.listMigrations({}, { timeoutMs: 20_000 })).migrations.map(migrationJson)
const nodesFlag = () => up.ready.nodes.map(({ id, address }) => `${id}=${address}`).join(',')

/** Refused, and neither the config nor any migration is another one afterwards. */
async function refusedWhole(words: string[], code: number, message: RegExp): Promise<void> {
  const known = async () => ({
    number: (await query()).number,
    migrations: (await migrations()).map((migration) => ({ id: migration.id, ended: hasEnded(migration), paused: migration.paused })),
  })
  const before = await known()
  await refusal(run, words, code, message)
  expect(await known()).toEqual(before)
}

/** A shard of `group` that holds a value of 1 MiB, and the key of it. */
async function bigShardOf(group: string): Promise<{ shard: number; key: string }> {
  const moving = new Set((await migrations()).filter((migration) => !hasEnded(migration)).flatMap(({ shards }) => shards))
  for (let i = 0; i < 200; i++) {
    const key = `big ${group} ${i}`
    const { shard, group: owner } = await database.explain(key)
    if (owner !== group || moving.has(shard)) continue
    await database.put(key, Buffer.alloc(1024 * 1024, 'x'))
    return { shard, key }
  }
  throw new Error(`no shard of ${group} found`)
}

describe('groups and shards', () => {
  it.each([
    [['leave', 'g9'], /g9/],
    [['leave', 'g9', '--abandon-data'], /no group g9/],
    [['move', '3', 'g9'], /g9/],
    [['move', '16', 'g1'], /16/],
    [['unpin', '16'], /16/],
    [['pause', '3'], /shard 3 does not move/],
    [['cancel', '3'], /shard 3 does not move/],
    [['plan', 'leave', 'g9', '--apply'], /g9/],
    [['plan', 'move', '3', 'g9'], /g9/],
    [['transfer-leader', 'g9', 'n1'], /g9/],
    [['transfer-leader', 'g1', 'n9'], /n9/],
  ])('that there are none of: admin %j is refused with 1', async (words, message) => {
    await refusedWhole(['admin', ...words], 1, message)
  })

  it('a join with other members than the group has is refused with 1, also as a plan, and nobody is dialled', async () => {
    for (const words of [['join'], ['plan', 'join'], ['plan', 'join', '--apply']]) {
      const [name = '', ...rest] = words
      const command = name === 'plan' ? ['admin', 'plan', 'join', 'g1', ...rest.slice(1)] : ['admin', 'join', 'g1']
      await refusedWhole([...command, '--nodes', 'n1=127.0.0.1:1,n2=127.0.0.1:2'], 1, /g1 is there with other nodes/)
    }
  })

  it('to give up the data of a group that lives is refused with 1', async () => {
    const config = await query()
    const count = config.shardsOf(config.groupByName('g2')?.uid ?? '').length
    await refusedWhole(['admin', 'leave', 'g2', '--abandon-data', '--confirm', String(count)], 1, /g2 has its majority/)
    const typed = await up.run(['admin', 'leave', 'g2', '--abandon-data'], `${count + 1}\n`)
    expect(typed.code).toBe(1)
    expectOneLine(typed.stderr, new RegExp(`nothing done: g2 owns ${count} shards, you confirmed ${count + 1}`))
    const silent = await up.run(['admin', 'leave', 'g2', '--abandon-data'])
    expect(silent.code).toBe(2)
    expectOneLine(silent.stderr, /nothing confirmed/)
  })

  it('the last group with data cannot leave', async () => {
    const small = await Up.start(['--nodes', '1', '--groups', '1', '--shards', '16', '--election-timeout-ms', '300'])
    try {
      expect(await small.run(['put', 'kept', 'value'])).toMatchObject({ code: 0 })
      const before = await jsonOf((words) => small.run(words), ['admin', 'query'])
      for (const words of [
        ['leave', 'g1'],
        ['leave', 'g1', '--wait'],
        ['plan', 'leave', 'g1', '--apply'],
      ]) {
        await refusal((parts) => small.run(parts), ['admin', ...words], 1, /g1 is the last group/)
      }
      expect(await jsonOf((words) => small.run(words), ['admin', 'query'])).toEqual(before)
      expect(await small.run(['get', 'kept'])).toMatchObject({ code: 0, stdout: 'value' })
    } finally {
      await small.dispose()
    }
  })
})

describe('a shard that moves', () => {
  it('is refused another move with 1, can be paused, resumed and cancelled, and keeps its data', async () => {
    const { shard, key } = await bigShardOf('g1')
    const move = ['admin', 'move', String(shard), 'g2']
    const { configNumber, migrations: ids } = (await jsonOf(run, move)) as ChangeJson
    expect(ids).toHaveLength(1)
    expect(await query()).toMatchObject({ number: configNumber, cause: `move ${shard} to g2`, pins: new Map([[shard, 'g2']]) })
    const ours = async () => (await migrations()).find(({ id }) => id === ids[0])
    const about = {
      shards: [shard],
      from: 'g1',
      to: 'g2',
      phase: 'copying',
      endedAt: null,
      paused: false,
      author: expect.stringMatching('@'),
    }
    expect(await ours()).toMatchObject(about)
    await refusedWhole(move, 1, new RegExp(`shard ${shard} moves to g2`))
    await refusedWhole(['admin', 'move', String(shard), 'g1'], 1, /wait until it is through, or cancel it/)
    await refusedWhole(['admin', 'plan', 'move', String(shard), 'g1', '--apply'], 1, /moves to g2/)

    expect(await run(['admin', 'pause', String(shard)])).toMatchObject({ code: 0 })
    expect(await ours()).toMatchObject({ ...about, paused: true })
    expect(await run(['admin', 'resume', String(shard)])).toMatchObject({ code: 0 })
    expect(await ours()).toMatchObject(about)
    expect(await run(['admin', 'cancel', String(shard)])).toMatchObject({ code: 0 })
    const cancelled = { phase: 'aborted', endedAt: expect.stringMatching(/Z$/), reason: expect.stringMatching(/^cancelled by .*@/) }
    expect(await ours()).toMatchObject({ id: ids[0], ...cancelled })
    await refusedWhole(['admin', 'cancel', String(shard)], 1, /does not move/)
    expect((await database.get(key))?.value).toHaveLength(1024 * 1024)
    expect((await query()).groupOf(shard)?.name).toBe('g1')
  })

  it('that is cancelled ends a command that waits for it with 1 and why', async () => {
    const { shard } = await bigShardOf('g2')
    const waiting = run(['admin', 'move', String(shard), 'g1', '--wait', '--timeout', '50'])
    for (let looks = 0; looks < 100_000; looks++) {
      if ((await migrations()).some((migration) => !hasEnded(migration) && migration.shards.includes(shard))) break
    }
    expect(await run(['admin', 'cancel', String(shard)])).toMatchObject({ code: 0 })
    const ended = await waiting
    expect(ended).toMatchObject({ code: 1, stdout: '' })
    expect(ended.stderr).toMatch(/^ostraka: migration \d+ \(shards \d+ from g2 to g1\) was aborted: cancelled by .*$/m)
  })

  it('for longer than --timeout ends the wait with 69, and moves on', async () => {
    const { shard } = await bigShardOf('g1')
    const late = await run(['admin', 'move', String(shard), 'g2', '--wait', '--timeout', '1'])
    expect(late).toMatchObject({ code: 69, stdout: '' })
    expect(late.stderr).toMatch(/^ostraka: accepted as config \d+, but after [\d.]+ s 1 of its migrations still run: \d+ \(copying/m)
    expect((await migrations()).at(-1)).toMatchObject({ shards: [shard], phase: 'copying', endedAt: null })
    expect(await run(['admin', 'cancel', String(shard)])).toMatchObject({ code: 0 })
  })
})

describe('plans and other admins', () => {
  it('a plan on an old config is refused with 1 and not applied', async () => {
    const plan = (await jsonOf(run, ['admin', 'plan', 'leave', 'g2'])) as { configNumber: number; moves: object[] }
    expect(plan.moves.length).toBeGreaterThan(0)
    const { shard } = await bigShardOf('g2')
    expect(await run(['admin', 'move', String(shard), 'g2'])).toMatchObject({ code: 0 })
    const old = ['admin', 'plan', 'leave', 'g2', '--apply', '--base', String(plan.configNumber)]
    await refusedWhole(old, 1, new RegExp(`config is ${plan.configNumber + 1}, you planned on ${plan.configNumber}`))
  })

  it('of two admins at the same time the first wins; the second is refused with 1, or finds it done', async () => {
    const { number } = await query()
    const first = ['admin', 'join', 'g3', '--nodes', nodesFlag()]
    const second = ['admin', 'join', 'g3', '--nodes', nodesFlag().split(',').slice(0, 1).join(',')]
    const outcomes = await Promise.all([run(first), run(second)])
    expect(outcomes.map(({ code }) => code).sort()).toEqual([0, 1])
    expectOneLine(outcomes.find(({ code }) => code === 1)?.stderr ?? '', /g3 is there with other nodes/)
    const third = ['admin', 'join', 'g4', '--nodes', nodesFlag()]
    const same = await Promise.all([run(third), run(third), run(third)])
    expect(same.map(({ code }) => code)).toEqual([0, 0, 0])
    const causes: string[] = []
    for (let at = number + 1, end = (await query()).number; at <= end; at++) causes.push((await query(at)).cause)
    expect(causes.filter((cause) => cause.startsWith('join'))).toEqual(['join g3', 'join g4'])
  })
})

it('a broken line of an import is named, and what came before stays', async () => {
  const file = join(folder, 'broken.ndjson')
  const line = (key: string) => JSON.stringify({ key, value: `value of ${key}` })
  for (const broken of ['{"key":"b"', '{"key":"b"}', 'x'.repeat(5000)]) {
    await database.delete('imported 2')
    await database.delete('imported 4')
    await writeFile(file, `${line('imported 1')}\n${line('imported 2')}\n${broken}\n${line('imported 4')}\n`)
    await refusal(run, ['import', file], 1, /^ostraka: line 3: /)
    expect((await database.get('imported 2'))?.value.toString()).toBe('value of imported 2')
    expect(await database.get('imported 4')).toBeUndefined()
  }
})
