/** CONTRACT, "Admin", "Servers" (HTTP) and help: what a user or a script sees, against one running cluster. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { pollUntil } from '../../cli/poll.ts'
import { jsonOf, refusal } from './expectations.ts'
import { ostraka, ostrakaHere, Up } from './up.ts'

let up: Up

beforeAll(async () => {
  up = await Up.start(['--shards', '16', '--election-timeout-ms', '300'])
})
afterAll(() => up?.dispose())

const run = (words: readonly string[]) => up.run(words)
const json = (...words: string[]) => jsonOf(run, words)
const refused = (words: string[], code: number, message: RegExp) => refusal(run, words, code, message)

const members = () => up.ready.nodes.map(({ id, address }) => ({ id, address }))
const nodesFlag = () =>
  members()
    .map(({ id, address }) => `${id}=${address}`)
    .join(',')

interface ConfigJson {
  readonly number: number
  readonly at: string
  readonly groups: Readonly<Record<string, { readonly members: readonly { readonly id: string; readonly address: string }[] }>>
  readonly assignment: readonly string[]
}

interface NodeJson {
  readonly groups: Readonly<
    Record<
      string,
      { readonly role: string; readonly applied: number; readonly shards: Readonly<Record<string, string>>; readonly stateHash?: string }
    >
  >
}

describe('admin query', () => {
  it('tells the newest config: groups with their members, and who has which shard', async () => {
    const config = (await json('admin', 'query')) as ConfigJson
    expect(config).toEqual({
      number: 3,
      at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      cause: 'join g3',
      author: 'ostraka up',
      shardCount: 16,
      groups: Object.fromEntries(['g1', 'g2', 'g3'].map((name) => [name, { weight: 1, state: 'active', members: expect.any(Array) }])),
      assignment: expect.any(Array),
      pins: {},
    })
    expect(config.assignment).toHaveLength(16)
    const counts = ['g1', 'g2', 'g3'].map((name) => config.assignment.filter((group) => group === name).length)
    expect(counts.sort()).toEqual([5, 5, 6])
    for (const group of Object.values(config.groups)) {
      expect([...group.members].sort((a, b) => (a.id < b.id ? -1 : 1))).toEqual(
        members().map((member) => ({ ...member, replica: expect.any(Number) })),
      )
    }
  })

  it('tells older configs, and refuses numbers that there are none of', async () => {
    expect(await json('admin', 'query', '1')).toMatchObject({ number: 1, cause: 'join g1', author: 'ostraka up' })
    expect(await json('admin', 'query', '2')).toMatchObject({ number: 2, cause: 'join g2' })
    await refused(['admin', 'query', '99'], 1, /no config 99: the newest is \d+/)
    await refused(['admin', 'query', 'x'], 2, /no config number/)
  })
})

describe('admin status', () => {
  it('tells the processes and who leads', async () => {
    const status = await json('admin', 'status')
    expect(status).toMatchObject({
      configNumber: 3,
      controllers: up.ready.controllers.map((address, i) => ({ id: `c${i + 1}`, address, pid: expect.any(Number), live: true })),
      nodes: up.ready.nodes.map(({ id, address, pid }) => ({ id, address, pid, live: true })),
      groups: { g1: { leader: expect.stringMatching(/^n[123]$/) }, g2: { shards: expect.any(Number) }, g3: {} },
    })
    const { controllers, groups } = status as { controllers: { role: string }[]; groups: Record<string, { shards: number }> }
    expect(controllers.map(({ role }) => role).sort()).toEqual(['follower', 'follower', 'leader'])
    expect(Object.values(groups).reduce((sum, { shards }) => sum + shards, 0)).toBe(16)
  })

  it('tells the replicas of one node, by id and by address, with a digest on request', async () => {
    const [first] = up.ready.nodes
    const byId = (await json('admin', 'status', 'n1')) as NodeJson
    const number = expect.any(Number)
    expect(byId).toMatchObject({
      id: 'n1',
      groups: {
        g1: { role: expect.any(String), term: number, leader: expect.any(String), commit: number, applied: number, lastIndex: number },
      },
    })
    expect(byId.groups.g1).toMatchObject({ firstIndex: number, logBytes: number, snapshotIndex: number, configNumber: number })
    expect(Object.keys(byId.groups).sort()).toEqual(['g1', 'g2', 'g3'])
    expect(await json('admin', 'status', first?.address ?? '')).toMatchObject({ id: 'n1' })
    const shards = Object.values(byId.groups).flatMap((group) => Object.entries(group.shards))
    expect(shards).toHaveLength(16)
    expect(new Set(shards.map(([, state]) => state))).toEqual(new Set(['serving']))
    expect(await json('admin', 'status', 'c1')).toMatchObject({
      id: 'c1',
      groups: { controller: { role: expect.stringMatching(/leader|follower/) } },
    })
  })

  it('gives the same digest on every replica at the same index', async () => {
    for (let i = 0; i < 3; i++) await run(['put', `key ${i}`, 'value'])
    const leaders = (await Promise.all(['n1', 'n2', 'n3'].map((id) => json('admin', 'status', id)))) as NodeJson[]
    for (const name of ['g1', 'g2', 'g3']) {
      const at = Math.max(...leaders.map(({ groups }) => groups[name]?.applied ?? 0))
      const nodes = await Promise.all(
        ['n1', 'n2', 'n3'].map((id) => json('admin', 'status', id, '--hash', '--group', name, '--at', String(at))),
      )
      expect((nodes as NodeJson[]).map(({ groups }) => Object.keys(groups))).toEqual([[name], [name], [name]])
      const replicas = (nodes as NodeJson[]).map(({ groups }) => groups[name])
      expect(replicas.map((replica) => replica?.stateHash)).toEqual(Array(3).fill(expect.stringMatching(/^[0-9a-f]{8,}$/)))
      expect(new Set(replicas.map((replica) => `${replica?.applied} ${replica?.stateHash}`)).size).toBe(1)
    }
  })

  it('refuses nodes that are not there, and flags that do not go together', async () => {
    await refused(['admin', 'status', 'n9'], 1, /n9.*known are n1, n2, n3/)
    await refused(['admin', 'status', 'n1', '--group', 'g9'], 1, /n1 holds no replica of 'g9'/)
    await refused(['admin', 'status', '--hash'], 2, /name it/)
    await refused(['admin', 'status', 'n1', '--at', '5'], 2, /--hash/)
    await refused(['admin', 'status', '127.0.0.1:1', '--timeout', '1'], 69, /127\.0\.0\.1:1/)
  })
})

describe('admin compact', () => {
  it('writes the tables of a node anew, of all its groups or of one', async () => {
    const size = { bytesBefore: expect.any(Number), bytesAfter: expect.any(Number) }
    const value = 'x'.repeat(10_000)
    for (let i = 0; i < 20; i++) await run(['put', 'compacted', `${value}${i}`])
    expect(await json('admin', 'compact', 'n1')).toEqual({ id: 'n1', groups: { g1: size, g2: size, g3: size } })
    const again = (await json('admin', 'compact', 'n1')) as { groups: Record<string, { bytesBefore: number; bytesAfter: number }> }
    for (const { bytesBefore, bytesAfter } of Object.values(again.groups)) expect(bytesAfter).toBeLessThanOrEqual(bytesBefore)
    expect(await json('admin', 'compact', up.ready.nodes[1]?.address ?? '', '--group', 'g2')).toEqual({ id: 'n2', groups: { g2: size } })
    expect((await run(['get', 'compacted'])).stdout).toBe(`${value}19`)
  })

  it('refuses what is no node, and a group that the node does not hold', async () => {
    await refused(['admin', 'compact', 'n9'], 1, /no node is called 'n9'; known are n1, n2, n3/)
    await refused(['admin', 'compact', 'n1', '--group', 'g9'], 1, /no replica of g9 runs here/)
  })
})

describe('admin join and plan', () => {
  it('changes nothing where the group is there with the same nodes, or with --once with any', async () => {
    const { number } = (await json('admin', 'query')) as ConfigJson
    const same = await json('admin', 'join', 'g1', '--nodes', nodesFlag())
    expect(same).toMatchObject({ configNumber: number })
    expect(await json('admin', 'join', 'g1', '--nodes', 'n9=127.0.0.1:1', '--once')).toMatchObject({ configNumber: number })
    expect(await json('admin', 'query')).toMatchObject({ number })
  })

  it('refuses the name with other nodes, before anything is dialled', async () => {
    await refused(['admin', 'join', 'g1', '--nodes', 'n9=127.0.0.1:1'], 1, /g1 .*other nodes/)
    await refused(['admin', 'join', 'g 1', '--nodes', nodesFlag()], 2, /no group name/)
    await refused(['admin', 'join', 'g4'], 2, /--nodes/)
    await refused(['admin', 'join', 'g4', '--nodes', 'n1'], 2, /ID=HOST:PORT/)
    await refused(['admin', 'join', 'g4', '--nodes', nodesFlag(), '--weight', '0'], 2, /--weight/)
  })

  it('plans a join and does nothing', async () => {
    const before = (await json('admin', 'query')) as ConfigJson
    const plan = (await json('admin', 'plan', 'join', 'g9', '--nodes', nodesFlag())) as { configNumber: number; moves: object[] }
    expect(plan).toMatchObject({ configNumber: before.number, imbalanceBefore: expect.any(Number), imbalanceAfter: expect.any(Number) })
    expect(plan.moves).toHaveLength(4)
    for (const move of plan.moves)
      expect(move).toEqual({ shard: expect.any(Number), from: expect.stringMatching(/^g[123]$/), to: 'g9', bytes: expect.any(Number) })
    expect(await json('admin', 'query')).toEqual(before)
  })

  it('adds a group under the next config number', async () => {
    const before = (await json('admin', 'query')) as ConfigJson
    expect(await json('admin', 'join', 'g4', '--nodes', nodesFlag(), '--weight', '0.5', '--wait')).toMatchObject({
      configNumber: before.number + 1,
    })
    expect(await json('admin', 'query', String(before.number + 1))).toMatchObject({
      number: before.number + 1,
      cause: 'join g4',
      groups: { g4: { weight: 0.5, state: 'active' } },
    })
  })
})

describe('admin shards and auto-rebalance', () => {
  it('tells what shards serve, as soon as their nodes have told of it', async () => {
    const { shard, group } = (await json('explain', 'busy')) as { shard: number; group: string }
    for (let i = 0; i < 20; i++) await json('put', 'busy', String(i))
    const busy = await pollUntil(20_000, async () => {
      const [first] = (await json('admin', 'shards', '--top', '1')) as { shard: number; writesPerSecond: number }[]
      return first?.shard === shard && first.writesPerSecond > 0 ? first : undefined
    })
    expect(busy).toEqual({
      shard,
      group,
      bytes: expect.any(Number),
      readsPerSecond: expect.any(Number),
      writesPerSecond: expect.any(Number),
      pinned: false,
      migration: null,
    })
    const { groups } = (await json('admin', 'status')) as { groups: Record<string, { leader: string; writesPerSecond: number }> }
    expect(groups[group]?.writesPerSecond).toBeGreaterThan(0)
    const node = (await json('admin', 'status', groups[group]?.leader ?? '')) as { groups: Record<string, { loads: object }> }
    expect(node.groups[group]?.loads).toHaveProperty(String(shard))
  })

  it('is switched on once for each request, tells its rules, and is in the history', async () => {
    const status = () => json('admin', 'auto-rebalance', 'status')
    expect(await status()).toMatchObject({ on: false, by: ['load', 'size'], above: 1.3, until: 1.1, forSeconds: 120, restSeconds: 600 })
    const on = ['admin', 'auto-rebalance', 'on', '--by', 'load', '--above', '1.5', '--rest', '900', '--request-id', 'once']
    const first = (await json(...on)) as ConfigJson & { readonly configNumber: number }
    expect(await json(...on)).toEqual({ configNumber: first.configNumber, migrations: [] })
    await refused([...on.slice(0, 3), '--above', '1.6', '--request-id', 'once'], 1, /another change was made under the request id/)
    await refused(['admin', 'auto-rebalance', 'on', '--until', '2'], 1, /until 2: at least 1 and below the 1\.5 at which it begins/)
    expect(await status()).toMatchObject({ on: true, by: ['load'], above: 1.5, restSeconds: 900, load: null, waitsFor: expect.any(String) })
    expect(await json('admin', 'query', String(first.configNumber))).toMatchObject({
      cause: 'auto-rebalance on: by load, above 1.5 for 120 s until 1.1, shards rest 900 s',
      author: expect.stringContaining('@'),
    })
    await json('admin', 'auto-rebalance', 'off')
    expect(await status()).toMatchObject({ on: false, by: ['load'], above: 1.5 })
  })
})

describe('HTTP', () => {
  it('tells that a process lives, is ready, what it does, and its figures', async () => {
    const { http = '' } = up.ready.nodes[0] ?? {}
    expect((await fetch(`http://${http}/livez`)).status).toBe(200)
    expect((await fetch(`http://${http}/readyz`)).status).toBe(200)
    expect(await (await fetch(`http://${http}/status`)).json()).toMatchObject({ id: 'n1', groups: { g1: { term: expect.any(Number) } } })
    const metrics = await fetch(`http://${http}/metrics`)
    expect(metrics.headers.get('content-type')).toMatch(/^text\/plain/)
    expect(await metrics.text()).toMatch(/^ostraka_group_applied\{group="g1"\} \d+$/m)
    expect((await fetch(`http://${http}/nothing`)).status).toBe(404)
    expect((await fetch(`http://${http}/status`, { method: 'POST', body: 'x' })).status).toBe(405)
    const controller = await fetch(`http://127.0.0.1:${up.basePort + 20}/status`).catch(() =>
      fetch(`http://127.0.0.1:${up.basePort + 30}/status`),
    )
    expect(controller.status).toBe(200)
  })
})

describe('help', () => {
  const commands = [
    'up',
    'controller',
    'server',
    'put',
    'get',
    'delete',
    'append',
    'increment',
    'cas',
    'scan',
    'import',
    'export',
    'explain',
    'bench',
  ]
  const admin = [
    'query',
    'status',
    'join',
    'leave',
    'move',
    'unpin',
    'rebalance',
    'weight',
    'migrations',
    'shards',
    'pause',
    'resume',
    'cancel',
    'add-replica',
    'remove-replica',
    'replace-node',
    'compact',
  ]
  const autos = ['on', 'off', 'status']
  const plans = ['join', 'leave', 'move', 'rebalance', 'weight']

  it.each([
    ...commands,
    ...admin.map((name) => `admin ${name}`),
    ...plans.map((name) => `admin plan ${name}`),
    ...autos.map((name) => `admin auto-rebalance ${name}`),
  ])('of %s ends with 0 and shows an example of it', async (command) => {
    const help = await ostrakaHere([...command.split(' '), '--help'])
    expect(help).toMatchObject({ code: 0, stderr: '' })
    expect(help.stdout).toContain(`\nExamples:\n`)
    expect(help.stdout).toMatch(new RegExp(`\\$ .*ostraka ${command}( |$)`, 'm'))
  })

  it('of the whole names every command', async () => {
    const [help, adminHelp] = await Promise.all([ostrakaHere(['--help']), ostrakaHere(['admin', '--help'])])
    for (const command of commands) expect(help.stdout).toMatch(new RegExp(`^  ${command}\\b`, 'm'))
    for (const command of admin) expect(adminHelp.stdout).toMatch(new RegExp(`^  ${command}\\b`, 'm'))
    expect(await ostraka(['--version'])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) })
  })
})
