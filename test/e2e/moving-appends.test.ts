/**
 * Real processes: clients append to lists while groups leave and join, shards go there and back, and all controllers are gone for a while. Each item is
 * there once, in the order of its client. The same with a longer absence and a kill: npm run chaos -- --scenario no-controllers.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { type Client, connect } from '../../client/index.ts'
import { ClusterOfProcesses } from '../chaos/processes/cluster-of-processes.ts'
import { AppendLists } from '../workload/append-lists.ts'
import { jsonOf, thinkMs } from './expectations.ts'

const seed = Math.floor(Math.random() * 2 ** 31)
const deadlineMs = 30_000
/** So long there is no controller: several of the heartbeats and watches that go to one fail. */
const awayMs = 5000

interface ConfigJson {
  readonly assignment: readonly string[]
}

let cluster: ClusterOfProcesses
let lists: AppendLists
let clients: Client[] = []
let calls = 0
let appending: Promise<unknown>
let isStopped = false

beforeAll(async () => {
  cluster = await ClusterOfProcesses.start({ nodes: 3, groups: 3, shards: 16, electionTimeoutMs: 1000, hasProxies: false })
  lists = new AppendLists(new SeededRandom(seed))
  clients = await Promise.all(Array.from({ length: 4 }, () => connect({ controllers: [...cluster.ready.controllers], deadlineMs })))
  appending = Promise.all(clients.map((db, i) => append(`client${i}`, db)))
  appending.catch(() => {})
})

afterAll(async () => {
  isStopped = true
  await appending?.catch(() => {})
  for (const db of clients) await db.close()
  await cluster?.dispose()
})

/** A call that fails ends it. */
async function append(name: string, db: Client): Promise<void> {
  while (!isStopped) {
    await lists.one(name, db)
    calls++
    await delay(thinkMs)
  }
}

/** Resolves when clients have had so many more answers; rejects when a call of theirs failed. */
async function answers(count: number): Promise<void> {
  const goal = calls + count
  const enough = async () => {
    while (calls < goal) await delay(5)
  }
  await Promise.race([enough(), appending])
  expect(calls).toBeGreaterThanOrEqual(goal)
}

const run = (words: readonly string[]) => cluster.run(words)
const admin = (...words: string[]) => jsonOf(run, ['admin', ...words])
const owners = async () => ((await admin('query')) as ConfigJson).assignment

describe(`appends to lists (seed ${seed})`, { timeout: 120_000 }, () => {
  it('go on while a group leaves and comes back', async () => {
    await answers(100)
    await admin('leave', 'g3', '--wait')
    expect(await owners()).not.toContain('g3')
    await answers(100)
    const nodes = cluster.ready.nodes.map(({ id, address }) => `${id}=${address}`).join(',')
    await admin('join', 'g3', '--nodes', nodes, '--wait')
    expect(await owners()).toContain('g3')
    await answers(100)
  })

  it('go on while the shards of some lists go there and back; who gave one away has nothing of it', async () => {
    const { shard = -1 } = (await jsonOf(run, ['explain', 'list-1'])) as { shard?: number }
    for (const group of ['g1', 'g2', 'g1', 'g2']) {
      await admin('move', String(shard), group, '--wait')
      expect((await owners())[shard]).toBe(group)
      await answers(50)
    }
    for (const { id } of cluster.ready.nodes) {
      const { groups } = (await admin('status', id)) as { groups: Record<string, { shards: Record<string, string> }> }
      expect(groups.g2?.shards[shard]).toBe('serving')
      expect(groups.g1?.shards[shard] ?? 'absent').toBe('absent')
    }
  })

  it('go on while there is no controller; when they are back a group leaves', async () => {
    await Promise.all(cluster.controllers.map((controller) => controller.kill()))
    const before = calls
    await Promise.race([delay(awayMs), appending])
    expect(await run(['admin', 'query', '--timeout', '1'])).toMatchObject({ code: 69 })
    expect(calls - before).toBeGreaterThan(100)
    await answers(100)
    await Promise.all(cluster.controllers.map((controller) => controller.start()))
    await cluster.healthy()
    await admin('leave', 'g3', '--wait')
    await answers(100)
  })

  it('are all there: once, in the order of each client, in lists that are prefixes of one another', async () => {
    isStopped = true
    await appending
    expect(lists.acknowledged).toBeGreaterThan(300)
    const [db] = clients
    if (db === undefined) throw new Error('no client')
    await lists.readAll(db, (read) => read())
    expect(lists.verdict()).toBeUndefined()
    expect(cluster.crashes).toEqual([])
  })
})
