/** CONTRACT, "Admin": shards move by the commands of users while clients write. Real processes; the same under kills: npm run chaos. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { MigrationJson } from '../../cli/migration-json.ts'
import { ClusterUnderLoad } from '../chaos/cluster-under-load.ts'
import { jsonOf, ndjson, thinkMs } from './expectations.ts'
import { bin, Up } from './up.ts'

interface ConfigJson {
  readonly number: number
  readonly at: string
  readonly cause: string
  readonly author: string
  readonly groups: Readonly<Record<string, { readonly state: string }>>
  readonly assignment: readonly string[]
  readonly pins: Readonly<Record<string, string>>
}

interface ChangeJson {
  readonly configNumber: number
  readonly migrations: readonly number[]
}

const shardCount = 16
const seed = Math.floor(Math.random() * 2 ** 31)

let up: Up
let load: ClusterUnderLoad
beforeAll(async () => {
  up = await Up.start(['--shards', String(shardCount)])
  load = new ClusterUnderLoad(up, { seed, clients: 4, keys: 60, deadlineMs: 30_000, thinkMs })
  await load.start()
})
afterAll(async () => {
  await load?.stop()
  await up?.dispose()
})

const run = (words: readonly string[]) => up.run(words)
const query = async (...number: string[]) => (await jsonOf(run, ['admin', 'query', ...number])) as ConfigJson
const change = async (...words: string[]) => (await jsonOf(run, ['admin', ...words])) as ChangeJson
const migrations = async () => (await jsonOf(run, ['admin', 'migrations'])) as MigrationJson[]
const nodesFlag = () => up.ready.nodes.map(({ id, address }) => `${id}=${address}`).join(',')

/** How many shards each group has. */
function shares({ assignment }: ConfigJson): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const group of assignment) counts[group] = (counts[group] ?? 0) + 1
  return counts
}

/** The shards whose owner is another one. */
function moved(before: ConfigJson, after: ConfigJson): number[] {
  return before.assignment.flatMap((group, shard) => (after.assignment[shard] === group ? [] : [shard]))
}

/** The migrations of a change, all done, each of one pair of groups. */
async function done({ migrations: ids }: ChangeJson): Promise<MigrationJson[]> {
  const ours = (await migrations()).filter(({ id }) => ids.includes(id))
  expect(ours.map(({ id }) => id)).toEqual(ids)
  for (const migration of ours) {
    expect(migration).toMatchObject({ phase: 'done', attempt: expect.any(Number), pauseMs: expect.any(Number), paused: false })
    expect(migration.pauseMs).toBeGreaterThan(0)
    expect(Date.parse(migration.endedAt ?? '')).toBeGreaterThanOrEqual(Date.parse(migration.startedAt))
    expect(migration.bytesCopied).toBe(migration.bytesTotal)
    expect(migration.digest).toMatch(/^[0-9a-f]{32}$/)
  }
  return ours
}

describe(`under load (seed ${seed})`, { timeout: 180_000 }, () => {
  it('a plan tells exactly what leave then does; the group drains and is gone; each handed shard is one config number', async () => {
    const before = await query()
    const plan = (await jsonOf(run, ['admin', 'plan', 'leave', 'g3'])) as { moves: { shard: number; from: string; to: string }[] }
    const left = await change('leave', 'g3', '--wait')
    const after = await query()
    expect(Object.keys(after.groups)).toEqual(['g1', 'g2'])
    expect(shares(after)).toEqual({ g1: 8, g2: 8 })
    const planned = plan.moves.map(({ shard, to }) => [shard, to])
    expect(planned.sort()).toEqual(
      moved(before, after)
        .map((shard) => [shard, after.assignment[shard]])
        .sort(),
    )
    for (const { from, author, cause } of await done(left)) expect({ from, author, cause }).toMatchObject({ from: 'g3', cause: 'leave g3' })
    // The drain, each shard, the end.
    expect(after.number).toBe(before.number + 1 + planned.length + 1)
    expect(await query(String(before.number + 1))).toMatchObject({ cause: 'leave g3', groups: { g3: { state: 'draining' } } })
    for (let number = before.number + 1; number <= after.number; number++) {
      const config = await query(String(number))
      expect(config).toMatchObject({ number, cause: expect.stringMatching(/./), author: expect.stringMatching(/./) })
    }
  })

  it('a group of the name joins again and gets its share, and no other shard moves', async () => {
    const before = await query()
    await done(await change('join', 'g3', '--nodes', nodesFlag(), '--wait'))
    const after = await query()
    expect(Object.values(shares(after)).sort()).toEqual([5, 5, 6])
    const ours = moved(before, after)
    expect(ours.map((shard) => after.assignment[shard])).toEqual(ours.map(() => 'g3'))
  })

  it('a move pins; what is watched tells its phases; unpin moves nothing; rebalance brings every group to its share', async () => {
    const before = await query()
    const [first = 0, second = 0] = before.assignment.flatMap((group, shard) => (group === 'g1' ? [shard] : []))
    const watch = spawn(process.execPath, [bin, 'admin', 'migrations', '--watch', '--json'], {
      env: { ...process.env, OSTRAKA_CONTROLLERS: up.controllers },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const isWatching = once(watch.stderr, 'data')
    const lines: string[] = []
    const sawSecondDone = new Promise<void>((resolve) => {
      createInterface({ input: watch.stdout }).on('line', (line) => {
        lines.push(line)
        const { shards, phase } = JSON.parse(line) as MigrationJson
        if (shards.includes(second) && phase === 'done') resolve()
      })
    })
    try {
      // What ends before it looks for the first time it does not tell.
      expect(String(await isWatching)).toBe('watching, 0 running; ^C ends\n')
      await done(await change('move', String(first), 'g2', '--wait'))
      await done(await change('move', String(second), 'g2', '--wait'))
      await sawSecondDone
    } finally {
      watch.kill()
    }
    expect(ndjson(lines.join('\n')).length).toBeGreaterThanOrEqual(1)
    const pinned = await query()
    expect(moved(before, pinned)).toEqual([first, second])
    expect(pinned.pins).toEqual({ [first]: 'g2', [second]: 'g2' })
    expect(await change('move', String(first), 'g2')).toMatchObject({ configNumber: pinned.number, migrations: [] })

    for (const shard of [first, second]) expect(await change('unpin', String(shard))).toMatchObject({ migrations: [] })
    const unpinned = await query()
    expect(unpinned).toMatchObject({ pins: {}, assignment: pinned.assignment })
    await done(await change('rebalance', '--wait'))
    expect(Object.values(shares(await query())).sort()).toEqual([5, 5, 6])
  })

  it('a plan that is applied does that, and nothing is left to do then', async () => {
    const before = await query()
    const shard = before.assignment.indexOf('g2')
    const plan = (await jsonOf(run, ['admin', 'plan', 'move', String(shard), 'g1', '--apply', '--wait'])) as {
      applied: ChangeJson
      moves: object[]
    }
    expect(plan.moves).toMatchObject([{ shard, from: 'g2', to: 'g1' }])
    await done(plan.applied)
    expect(moved(before, await query())).toEqual([shard])
    const table = await run(['admin', 'migrations'])
    expect(table.stdout).toMatch(/phase/)
    expect(table.stdout.match(/done/g)?.length).toBeGreaterThanOrEqual(4)
  })

  it('another weight moves shards, once however often it is asked for under one id; explain --at tells where a key was before', async () => {
    const before = await query()
    const words = ['weight', 'g1', '2', '--wait', '--request-id', `double-${seed}`]
    const made = await change(...words)
    await done(made)
    const after = await query()
    expect(shares(after)).toEqual({ g1: 8, g2: 4, g3: 4 })
    const again = await change('weight', 'g1', '2', '--request-id', `double-${seed}`)
    expect(again).toEqual({ configNumber: made.configNumber, migrations: made.migrations })
    const other = await run(['admin', 'weight', 'g1', '1', '--request-id', `double-${seed}`])
    expect(other).toMatchObject({ code: 1, stderr: expect.stringContaining('another change was made under the request id') })
    expect((await query()).number).toBe(after.number)
    for (const config of [before, after]) {
      const where = (await jsonOf(run, ['explain', 'colour', '--at', String(config.number)])) as { shard: number; group: string }
      expect(where).toMatchObject({ group: config.assignment[where.shard], configNumber: config.number, cause: config.cause })
    }
    const joined = await run(['admin', 'join', 'g1', '--nodes', nodesFlag(), '--weight', '1'])
    expect(joined).toMatchObject({ code: 1, stderr: expect.stringContaining(`'ostraka admin weight g1 1' changes it`) })
    expect(await change('join', 'g1', '--nodes', nodesFlag())).toMatchObject({ configNumber: after.number, migrations: [] })
  })

  it('through all of it no call has failed, what clients saw is linearizable, and all replicas are equal', async () => {
    await load.stop()
    const { failed, unknown, lastError } = load.workload.counts
    expect({ failed, unknown, lastError }).toEqual({ failed: 0, unknown: 0, lastError: '' })
    expect(load.check()).toBeGreaterThan(1000)
    expect(await load.compareReplicas()).toBe(9)
  })
})
