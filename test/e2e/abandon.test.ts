/** A group whose majority is lost for good: it is drained in vain, then given up. Its shards are empty elsewhere, and it never serves again. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Client, connect } from '../../client/index.ts'
import { jsonOf } from './expectations.ts'
import { Up } from './up.ts'

let up: Up
let database: Client
beforeAll(async () => {
  // g1 lies on n1 alone, g2 on n2 alone.
  up = await Up.start([
    '--nodes',
    '2',
    '--groups',
    '2',
    '--replicas',
    '1',
    '--shards',
    '16',
    '--no-restart',
    '--election-timeout-ms',
    '300',
  ])
  database = await connect({ controllers: [...up.ready.controllers], deadlineMs: 20_000 })
})
afterAll(async () => {
  await database?.close()
  await up?.dispose()
})

const run = (words: readonly string[]) => up.run(words)
const query = async () =>
  (await jsonOf(run, ['admin', 'query'])) as {
    number: number
    cause: string
    groups: Record<string, { state: string }>
    assignment: string[]
  }

/** A key of each group. */
async function keysOf(): Promise<Map<string, string>> {
  const keys = new Map<string, string>()
  for (let i = 0; keys.size < 2 && i < 1000; i++) keys.set((await database.explain(`key ${i}`)).group ?? '', `key ${i}`)
  return keys
}

it('leave of a group without its majority is accepted and says what waits; --abandon-data gives that up, and nothing else', async () => {
  const keys = await keysOf()
  const [kept = '', lost = ''] = [keys.get('g1'), keys.get('g2')]
  await database.put(kept, 'kept')
  await database.put(lost, 'lost')
  process.kill(up.ready.nodes.find(({ id }) => id === 'n2')?.pid ?? 0, 'SIGKILL')
  for (;;) {
    const { nodes } = (await jsonOf(run, ['admin', 'status'])) as { nodes: { id: string; live: boolean }[] }
    if (nodes.some(({ id, live }) => id === 'n2' && !live)) break
  }

  const left = (await jsonOf(run, ['admin', 'leave', 'g2'])) as { note: string }
  expect(left.note).toMatch(/g2 has lost its majority: shards [\d, –-]+ wait for it/)
  const draining = await query()
  expect(draining.groups.g2).toMatchObject({ state: 'draining' })
  const count = draining.assignment.filter((group) => group === 'g2').length
  expect(count).toBe(8)

  const wrong = await up.run(['admin', 'leave', 'g2', '--abandon-data', '--confirm', String(count - 1)])
  expect(wrong).toMatchObject({ code: 1, stderr: expect.stringMatching(/g2 owns 8 shards/) })
  expect((await query()).number).toBe(draining.number)
  // The next leader has heard nobody yet, and takes g2 for alive: it is asked until it knows better.
  const { controllers } = (await jsonOf(run, ['admin', 'status'])) as { controllers: { role: string; pid: number }[] }
  process.kill(controllers.find(({ role }) => role === 'leader')?.pid ?? 0, 'SIGKILL')
  const given = await up.run(['admin', 'leave', 'g2', '--abandon-data', '--wait'], `${count}\n`)
  expect(given, given.stderr).toMatchObject({ code: 0 })
  const after = await query()
  expect(after).toMatchObject({ cause: expect.stringMatching(/^leave g2, giving up its data \(8 shards\)/), groups: { g1: {} } })
  expect(new Set(after.assignment)).toEqual(new Set(['g1']))

  expect((await database.get(kept))?.value.toString()).toBe('kept')
  expect(await database.get(lost)).toBeUndefined()
  await database.put(lost, 'new')
  await up.stop()
  await up.restart()
  expect(await jsonOf(run, ['admin', 'status', 'n2'])).toEqual({ id: 'n2', groups: {} })
  expect((await up.run(['get', lost])).stdout).toBe('new')
  expect((await up.run(['get', kept])).stdout).toBe('kept')
})
