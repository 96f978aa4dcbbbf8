/** CONTRACT, "Servers": how `ostraka up` begins, goes on and ends. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { expectOneLine, jsonOf } from './expectations.ts'
import { freeBasePort, ostraka, ostrakaHere, Up } from './up.ts'

const small = ['--shards', '16', '--election-timeout-ms', '300']

/** The last line on stderr: before it, `up` tells what it does. */
const lastLine = (stderr: string) => `${stderr.trimEnd().split('\n').at(-1)}\n`

function listen(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => resolve(server))
  })
}

describe('a cluster with the defaults', () => {
  let up: Up
  beforeAll(async () => {
    up = await Up.start()
  })
  afterAll(() => up?.dispose())

  it('prints the ready line of CONTRACT, and is then served whole', async () => {
    const port = (offset: number) => `127.0.0.1:${up.basePort + offset}`
    expect(up.ready).toEqual({
      ready: true,
      controllers: [port(0), port(1), port(2)],
      nodes: ['n1', 'n2', 'n3'].map((id, i) => ({
        id,
        address: port(10 + i),
        pid: expect.any(Number),
        http: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
      })),
    })
    expect(new Set(up.ready.nodes.map(({ pid }) => pid)).size).toBe(3)
    const config = (await jsonOf((words) => up.run(words), ['admin', 'query'])) as {
      shardCount: number
      groups: object
      assignment: string[]
    }
    expect(config.shardCount).toBe(256)
    expect(Object.keys(config.groups)).toEqual(['g1', 'g2', 'g3'])
    expect(config.assignment).toHaveLength(256)
    expect(await up.run(['put', 'first', 'value'])).toMatchObject({ code: 0 })
  })

  it('runs each server as a process of its own, all in one process group', () => {
    for (const { pid } of up.ready.nodes) {
      expect(execFileSync('ps', ['-o', 'pgid=', '-p', String(pid)], { encoding: 'utf8' }).trim()).toBe(String(up.pid))
    }
  })

  it('refuses a second start on the same data, also with --fresh, and a server on a folder of it, with 1', async () => {
    const base = String(await freeBasePort())
    for (const flags of [[], ['--fresh']]) {
      const second = await ostraka(['up', '--data', up.folder, '--base-port', base, ...flags])
      expect(second).toMatchObject({ code: 1, stdout: '' })
      expectOneLine(second.stderr, /in use by process \d+: stop that process first/)
    }
    expect((await up.run(['get', 'first'])).stdout).toBe('value')
  })

  it('tells of a child that was killed, and starts it again', async () => {
    const [victim] = up.ready.nodes
    process.kill(victim?.pid ?? 0, 'SIGKILL')
    await up.saw('n1 has ended (SIGKILL), starting it again')
    await up.saw('n1 is back')
    expect((await up.run(['get', 'first'])).stdout).toBe('value')
  })

  it('stops everything within 5 s of SIGTERM, leaves nothing, and ends with 0', async () => {
    const startMs = performance.now()
    expect(await up.stop()).toBe(0)
    await up.gone
    expect(performance.now() - startMs).toBeLessThan(5_000)
    expect(up.stderr).not.toContain('not closed after')
    for (const address of [...up.ready.controllers, ...up.ready.nodes.flatMap(({ address, http }) => [address, http])]) {
      const server = await listen(Number(address.split(':')[1]))
      server.close()
    }
  })

  it('refuses flags that contradict the data with 78, and names them', async () => {
    const contradictions = [
      ['--nodes', '4'],
      ['--groups', '2'],
      ['--shards', '16'],
      ['--replicas', '1'],
    ]
    for (const [flag = '', value = ''] of contradictions) {
      const refused = await ostrakaHere(['up', '--data', up.folder, flag, value])
      expect(refused).toMatchObject({ code: 78, stdout: '' })
      expectOneLine(refused.stderr, new RegExp(`${flag} ${value} \\(the data has \\d+\\)`))
    }
  })
})

describe('a cluster of one node', () => {
  let up: Up
  beforeAll(async () => {
    up = await Up.start(['--nodes', '1', ...small])
  })
  afterAll(() => up?.dispose())

  it('ends with its children when up is killed, and starts again at once', async () => {
    await up.run(['put', 'kept', 'value'])
    process.kill(up.pid, 'SIGKILL')
    await up.gone
    await up.restart()
    expect((await up.run(['get', 'kept'])).stdout).toBe('value')
  })

  it('starts at once again after kill -9 of all of it', async () => {
    await up.killAll()
    await up.restart()
    expect((await up.run(['get', 'kept'])).stdout).toBe('value')
  })

  it('goes on with the data there on the next start, and without it after --fresh', async () => {
    expect(await up.stop()).toBe(0)
    await up.restart()
    expect((await up.run(['get', 'kept'])).stdout).toBe('value')
    expect(await jsonOf((words) => up.run(words), ['admin', 'query'])).toMatchObject({ number: 3 })
    await up.stop()
    await up.restart(['--fresh', '--nodes', '2', '--groups', '1', '--shards', '32', '--election-timeout-ms', '300'])
    expect(up.ready.nodes).toHaveLength(2)
    expect((await up.run(['get', 'kept'])).code).toBe(3)
  })
})

describe('what up refuses', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ostraka-e2e-refused-'))
  })
  afterEach(() => expect(existsSync(join(folder, 'data'))).toBe(false))
  afterAll(() => rm(folder, { recursive: true, force: true }))

  it.each([
    ['more replicas than nodes', ['--nodes', '2', '--replicas', '3'], 2, /--replicas 3 is more than --nodes 2/],
    ['no node', ['--nodes', '0'], 2, /--nodes: .*from 1 to 10/],
    ['eleven nodes', ['--nodes', '11'], 2, /--nodes: .*from 1 to 10/],
    ['17 shards', ['--shards', '17'], 2, /--shards: .*power of two/],
    ['words', ['now'], 2, /too many arguments|unknown/],
    ['an unknown flag', ['--colour'], 2, /--colour/],
    ['a base port that is none', ['--base-port', 'x'], 2, /--base-port/],
    ['a config file that is not there', ['--config', '/nowhere/at/all'], 2, /--config .*cannot be read/],
  ])('%s', async (_what, flags, code, message) => {
    const refused = await ostrakaHere(['up', '--data', join(folder, 'data'), ...flags])
    expect(refused).toMatchObject({ code, stdout: '' })
    expectOneLine(refused.stderr, message)
  })

  it('a port in use, with 1, naming it', async () => {
    const base = await freeBasePort()
    const taken = await listen(base + 11)
    try {
      const data = join(folder, 'port')
      const refused = await ostrakaHere(['up', '--data', data, '--base-port', String(base)])
      expect(refused).toMatchObject({ code: 1, stdout: '' })
      expectOneLine(lastLine(refused.stderr), new RegExp(`127\\.0\\.0\\.1:${base + 11}`))
    } finally {
      taken.close()
    }
  })

  it('a folder that it did not make, also with --fresh, with 78, and leaves it as it is', async () => {
    const foreign = join(folder, 'foreign')
    await mkdir(foreign)
    await writeFile(join(foreign, 'thesis.txt'), 'years of work')
    for (const flags of [[], ['--fresh']]) {
      const refused = await ostrakaHere(['up', '--data', foreign, ...flags])
      expect(refused).toMatchObject({ code: 78, stdout: '' })
      expectOneLine(refused.stderr, /was not made by 'ostraka up'.*thesis\.txt/)
    }
    expect(existsSync(join(foreign, 'thesis.txt'))).toBe(true)
  })
})
