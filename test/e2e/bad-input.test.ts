/** What users get wrong: each a line that says what to do, the exit code of CONTRACT, no stack, nothing lost. (The wire: raw-grpc.test.ts.) */
import { mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { NodeWorld } from '../../cli/node-world.ts'
import { startCluster, type TestCluster } from '../../testing/start-cluster.ts'
import { ServerProcess } from '../chaos/processes/server-process.ts'
import { expectNoStack, expectOneLine, jsonOf, refusal } from './expectations.ts'
import { type CommandResult, ostraka, ostrakaHere, Up } from './up.ts'

let folder: string
let up: Up

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ostraka-e2e-bad-'))
  up = await Up.start(['--shards', '16', '--election-timeout-ms', '300', '--no-restart'])
  await up.run(['put', 'kept', 'value'])
})
afterAll(async () => {
  await up?.dispose()
  await rm(folder, { recursive: true, force: true })
})

const run = (words: readonly string[]) => up.run(words)
const refused = (words: string[], code: number, message: RegExp) => refusal(run, words, code, message)

async function expectKept(): Promise<void> {
  expect(await up.run(['get', 'kept'])).toMatchObject({ code: 0, stdout: 'value' })
}

// What is refused ends before it serves, in this process as in one of its own; one of each kind, below, is one.
const serverWords = (words: string[]) => ['server', '--listen', '127.0.0.1:0', '--log-level', 'silent', ...words]
const controllerWords = (words: string[]) => ['controller', '--log-level', 'silent', ...words]
const server = (...words: string[]) => ostrakaHere(serverWords(words))
const controller = (...words: string[]) => ostrakaHere(controllerWords(words))

function expectEnded(result: CommandResult, code: number, message: RegExp): void {
  expect(result).toMatchObject({ code, stdout: expect.not.stringContaining('"ready"') })
  expectOneLine(result.stderr, message)
}

describe('keys and values', () => {
  it('a key of 4096 bytes and a value of 4 MiB are taken; one byte more is refused, from stdin and from a file', async () => {
    const key = 'k'.repeat(4096)
    const value = Buffer.alloc(4 * 1024 * 1024 + 1, 'v')
    expect(await up.run(['put', key, '-'], value.subarray(1))).toMatchObject({ code: 0 })
    expect((await up.run(['get', key])).bytes.equals(value.subarray(1))).toBe(true)
    const tooLong = await up.run(['put', key, '-'], value)
    expect(tooLong.code).toBe(2)
    expectOneLine(tooLong.stderr, /the value has more than 4194304 bytes/)
    const file = join(folder, 'value')
    await writeFile(file, value)
    await refused(['put', key, '--file', file], 2, /the value has 4194305 bytes/)
    const grown = await run(['append', key, 'x'])
    expect(grown.code).toBe(1)
    expectOneLine(grown.stderr, /4194304/)
    expect((await up.run(['get', key])).bytes).toHaveLength(4 * 1024 * 1024)
  })
})

describe('commands, flags and addresses', () => {
  // One of each kind: what is not declared, what a flag may not hold, what a command checks. All of them: test/cli/wrong-usage.test.ts.
  it.each([
    [['get', 'kept', '--colour', 'red'], /unknown option '--colour'/],
    [['get', 'kept', '--controllers', '127.0.0.1'], /'127\.0\.0\.1' is no address: give HOST:PORT/],
    [['get', ''], /the key is empty: a key is 1 to 4096 bytes/],
  ])('%j is wrong usage: 2', async (words, message) => {
    const { error } = await refused(words, 2, message)
    expect(error.definite).toBe(true)
  })

  it('flags of servers that are missing, malformed or contradictory are wrong usage, and nothing is made', async () => {
    const data = join(folder, 'none')
    const wrong: [string[], RegExp][] = [
      [['server', '--data', data], /--(id|listen|controllers) is missing/],
      [['server', '--id', 'n/1', '--listen', '127.0.0.1:0', '--controllers', 'h:1', '--data', data], /--id: 'n\/1' is no id/],
      [['server', '--id', 'n1', '--listen', 'here', '--controllers', 'h:1', '--data', data], /--listen: 'here' is no address/],
      [['server', '--id', 'n1', '--listen', '127.0.0.1:0', '--controllers', 'h', '--data', data], /--controllers: 'h' is no address/],
      [['controller', '--id', 'c1', '--listen', '127.0.0.1:0', '--peers', 'h:1', '--data', data], /--peers: 'h:1' is no member/],
      [
        ['controller', '--id', 'c1', '--listen', '127.0.0.1:0', '--peers', 'c1=h:1', '--shards', '17', '--data', data],
        /--shards: .*power of two/,
      ],
      [['server', '--data', data, '--election-timeout-ms', 'fast'], /--election-timeout-ms: give a whole number/],
    ]
    await Promise.all(wrong.map(async ([words, message]) => expectEnded(await ostrakaHere(words), 2, message)))
    expect(await readdir(folder)).not.toContain('none')
  })

  it('a config file with a wrong key, a wrong value, or no JSON is refused by each server command with 2', async () => {
    const files = { key: '{"data": "x", "elction-timeout-ms": 5}', value: '{"election-timeout-ms": "fast"}', json: '{' }
    const messages = {
      key: /unknown key 'elction-timeout-ms'; known are .*election-timeout-ms/,
      value: /election-timeout-ms in .*whole number/,
      json: /cannot be read/,
    }
    for (const kind of ['key', 'value', 'json'] as const) {
      const file = join(folder, `${kind}.json`)
      await writeFile(file, files[kind])
      for (const command of ['up', 'controller', 'server']) {
        const flags =
          command === 'up' ? ['--data', join(folder, 'none')] : ['--id', 'x1', '--listen', '127.0.0.1:0', '--data', join(folder, 'none')]
        const more = { up: [], controller: ['--peers', 'x1=h:1'], server: ['--controllers', 'h:1'] }[command] ?? []
        expectEnded(await ostrakaHere([command, '--config', file, ...flags, ...more]), 2, messages[kind])
      }
    }
    expect(await readdir(folder)).not.toContain('none')
  })
})

describe('controllers that do not answer', () => {
  const sockets = new Set<Socket>()
  let silent: Server
  let address: string
  beforeAll(async () => {
    silent = createServer((socket) => {
      sockets.add(socket)
      socket.on('error', () => {})
    })
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const bound = silent.address()
    address = `127.0.0.1:${bound !== null && typeof bound === 'object' ? bound.port : 0}`
  })
  afterAll(() => {
    for (const socket of sockets) socket.destroy()
    silent.close()
  })

  // Side by side: each is nothing but a wait.
  it.concurrent.each([['get', 'kept'], ['put', 'kept', 'x'], ['scan'], ['explain', 'kept'], ['admin', 'query'], ['admin', 'status']])(
    '%s %s ends with 69 within its timeout, and names them',
    async (...words) => {
      const parts = words.filter((word) => word !== undefined)
      const [, { error }] = await Promise.all([
        refused([...parts, '--controllers', '127.0.0.1:1', '--timeout', '1'], 69, /127\.0\.0\.1:1/),
        refused([...parts, '--controllers', address, '--timeout', '1'], 69, /./),
      ])
      expect(['UNAVAILABLE', 'DEADLINE']).toContain(error.code)
    },
  )
})

describe('folders and ports of servers that run', () => {
  it('a second process on the data of a node or of a controller ends with 1, and names the first', async () => {
    const { pid } = up.ready.nodes[0] ?? {}
    const asNode = serverWords(['--id', 'n1', '--controllers', up.controllers, '--data', join(up.folder, 'n1')])
    expectEnded(await ostraka(asNode), 1, new RegExp(`in use by process ${pid}: stop`))
    const peers = up.ready.controllers.map((address, i) => `c${i + 1}=${address}`).join(',')
    const asController = controllerWords(['--id', 'c1', '--listen', '127.0.0.1:0', '--peers', peers, '--data', join(up.folder, 'c1')])
    expectEnded(await ostraka(asController), 1, /in use by process \d+: stop/)
    await expectKept()
  })

  it('a port in use ends a server, a controller and an HTTP endpoint with 1, and is named', async () => {
    const taken = up.ready.nodes[0]?.address ?? ''
    const message = new RegExp(`${taken} is in use: stop what listens there, or choose another port`)
    const flags = ['--id', 'x1', '--controllers', up.controllers, '--data', join(folder, 'x1'), '--log-level', 'silent']
    expectEnded(await ostrakaHere(['server', '--listen', taken, ...flags]), 1, message)
    expectEnded(await ostrakaHere(['server', '--listen', '127.0.0.1:0', '--http', taken, ...flags]), 1, message)
    expectEnded(await controller('--id', 'x2', '--listen', taken, '--peers', `x2=${taken}`, '--data', join(folder, 'x2')), 1, message)
    await expectKept()
  })

  it('a controller that its peers do not know by its id ends with 78', async () => {
    const peers = `c9=127.0.0.1:1,c2=${up.ready.controllers[1]}`
    expectEnded(
      await controller('--id', 'c8', '--listen', '127.0.0.1:0', '--peers', peers, '--data', join(folder, 'c8')),
      78,
      /--peers does not name c8/,
    )
  })

  it('an emptied controller ends with 78 and takes no part; the others go on', async () => {
    const { controllers } = (await jsonOf(run, ['admin', 'status'])) as { controllers: { id: string; address: string; pid: number }[] }
    const victim = controllers[0]
    process.kill(victim?.pid ?? 0, 'SIGKILL')
    await up.saw('c1 has ended (SIGKILL)')
    const [data, aside] = [join(up.folder, 'c1'), join(folder, 'c1')]
    await rename(data, aside)
    const peers = controllers.map(({ id, address }) => `${id}=${address}`).join(',')
    const emptied = await controller('--id', 'c1', '--listen', victim?.address ?? '', '--peers', peers, '--data', data)
    expect(emptied.code).toBe(78)
    expectOneLine(emptied.stderr, /is not the directory with which controller c1 joined .*restore it/)
    await rm(data, { recursive: true })
    await rename(aside, data)
    await expectKept()
  })
})

describe('data directories', () => {
  let other: TestCluster
  /** n1 by hand, once `up` has lost it: what becomes of its data then needs no other start of the others. */
  let alone: ServerProcess
  const log = () => join(folder, 'n1.log')
  beforeAll(async () => {
    other = await startCluster({ nodes: 1 })
    await up.stop()
  })
  afterAll(async () => {
    await alone?.terminate()
    await other?.stop()
  })

  const node = (id: string, data: string, controllers = other.controllers.join(',')) =>
    server('--id', id, '--controllers', controllers, '--data', data)
  const n1 = () => join(up.folder, 'n1')

  it('of another node, or of a controller, is refused with 78', async () => {
    expectEnded(await node('n2', n1()), 78, /n1 belongs to server n1, not to server n2: give each process its own --data/)
    expectEnded(await node('n1', join(up.folder, 'c1')), 78, /c1 belongs to controller c1, not to server n1/)
  })

  it('of another cluster is refused with 78, and that cluster goes on', async () => {
    expectEnded(await node('n2', join(up.folder, 'n2')), 78, /n2 belongs to another cluster: point it to its own controllers/)
    expect(await ostrakaHere(['put', 'a', 'b', '--controllers', other.controllers.join(',')])).toMatchObject({ code: 0 })
  })

  /** Turns some bits of a byte of `file`, runs, and turns them back. */
  async function withDamage(file: string, offset: number, use: () => Promise<void>): Promise<void> {
    const bytes = await readFile(file)
    const damaged = Buffer.from(bytes)
    damaged[offset] = (damaged[offset] ?? 0) ^ 0x5a
    await writeFile(file, damaged)
    try {
      await use()
      // A log may gain a note that it is damaged; nothing that was in it may go.
      const now = await readFile(file)
      expect(now.subarray(0, damaged.length).equals(damaged), `${damaged.length} bytes were there, now ${now.length}`).toBe(true)
    } finally {
      await writeFile(file, bytes)
    }
  }

  it('of a cluster with another shard count is refused with 78', async () => {
    const peers = ['--peers', 'c1=127.0.0.1:1,c2=127.0.0.1:2,c3=127.0.0.1:3', '--listen', '127.0.0.1:0', '--data', join(up.folder, 'c1')]
    const ended = await controller('--id', 'c1', '--shards', '32', ...peers)
    // What it was formed with may come to light only when the log is applied, after the ready line.
    expect(ended).toMatchObject({ code: 78 })
    expectOneLine(ended.stderr, /this cluster has 16 shards, not 32: start it with --shards 16/)
  })

  it('with a damaged identity is refused with 65, naming the file', async () => {
    const file = join(n1(), 'identity')
    for (const offset of [0, 10, 40]) {
      await withDamage(file, offset, async () => expectEnded(await node('n1', n1()), 65, /\/n1\/identity( at offset \d+)?: /))
    }
  })

  it('of a controller with a damaged log is refused with 65, naming the file and the offset', async () => {
    const c1 = join(up.folder, 'c1')
    const [name = ''] = (await readdir(join(c1, 'log'))).sort()
    const file = join(c1, 'log', name)
    expect((await readFile(file)).length).toBeGreaterThan(500)
    const peers = ['--peers', 'c1=127.0.0.1:1,c2=127.0.0.1:2,c3=127.0.0.1:3', '--listen', '127.0.0.1:0', '--data', c1]
    for (const offset of [70, 300]) {
      await withDamage(file, offset, async () => {
        expectEnded(await controller('--id', 'c1', '--shards', '16', ...peers), 65, new RegExp(`/c1/log/${name} at offset \\d+: `))
      })
    }
  })

  it('without its identity but with its log is refused with 65', async () => {
    await rename(join(n1(), 'identity'), join(folder, 'identity'))
    expectEnded(await node('n1', n1()), 65, /\/n1\/identity: the identity is missing although log\/ is there/)
    await rename(join(folder, 'identity'), join(n1(), 'identity'))
  })

  it('damaged under up ends it with 65; mended, it goes on with everything there', async () => {
    await withDamage(join(n1(), 'identity'), 10, async () => {
      const ended = await ostraka(['up', '--data', up.folder, '--base-port', String(up.basePort), '--log-level', 'silent'])
      expect(ended).toMatchObject({ code: 65, stdout: '' })
      expect(ended.stderr).toMatch(/^ostraka: .*\/n1\/identity.*$/m)
      expect(ended.stderr).toMatch(/^ostraka: n1 did not start: its own words stand above$/m)
      expectNoStack(ended.stderr)
    })
    await up.restart()
    await expectKept()
  })

  function ready(): { readonly address: string; readonly http: string; readonly pid: number } {
    return must(
      up.ready.nodes.find(({ id }) => id === 'n1'),
      'n1',
    )
  }

  /** Ends n1 under `up`, in good order. */
  async function takeFromUp(): Promise<void> {
    process.kill(ready().pid, 'SIGTERM')
    await up.saw('n1 has ended (exit code 0)')
    const { address, http } = ready()
    const places = ['--listen', address, '--http', http, '--controllers', up.controllers, '--data', n1()]
    const parameters = ['--id', 'n1', ...places, '--election-timeout-ms', '300']
    alone = new ServerProcess({ id: 'n1', kind: 'server', parameters, environment: {}, logFile: log(), onStart: async () => {} })
  }

  /**
   * Resolves when n1 has logged `text` and holds a replica of every group, none of them lost, and all of them members. Looked at without a
   * process each time.
   */
  async function whole(text: string): Promise<void> {
    const world = new NodeWorld()
    const controllers = await world.controllers(up.ready.controllers)
    try {
      for (;;) {
        const { groups } = (await controllers.query(0, { timeoutMs: 10_000 })).config
        const { replicas } = await world.nodeStatus(ready().address, {}, 10_000)
        const roles = replicas.map(({ role, failure }) => (failure ? 'failed' : role))
        const states = groups.flatMap(({ members }) => members.map(({ state }) => state))
        const isHeld = roles.length === groups.length && roles.every((role) => role === 'leader' || role === 'follower')
        const hasTold = (await readFile(log(), 'utf8')).includes(text)
        if (hasTold && isHeld && states.every((state) => state === 'voter')) return
        await setTimeout(50)
      }
    } finally {
      controllers.close()
    }
  }

  async function expectReady(): Promise<void> {
    expect((await fetch(`http://${ready().http}/readyz`)).status).toBe(200)
  }

  it('emptied under its old id never votes under its old numbers: it is given others', async () => {
    await takeFromUp()
    await rm(n1(), { recursive: true })
    await alone.start()
    await alone.whenReady
    await expectKept()
    await whole('was claimed by another data directory: this one lost it')
    await expectReady()
    expect(await up.run(['put', 'more', 'value'])).toMatchObject({ code: 0 })
  })

  it('with a damaged log gives up the replicas that lost a part of it, says so, and is given others', async () => {
    expect(await alone.terminate()).toBe(0)
    const [name = ''] = (await readdir(join(n1(), 'log'))).sort()
    const file = join(n1(), 'log', name)
    const bytes = await readFile(file)
    bytes[70] = (bytes[70] ?? 0) ^ 0x5a
    await writeFile(file, bytes)
    await alone.start()
    await alone.whenReady
    await expectKept()
    await whole('a replica is retired: a part of its log is lost, it must be replaced')
    await expectReady()
    await expectKept()
  })
})
