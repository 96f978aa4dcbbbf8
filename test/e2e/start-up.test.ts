/** What a command loads before it does anything: most of the time of a short one. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { untilStdinEndsFlag } from '../../cli/until-stdin-ends.ts'
import { bin, ostraka, root } from './up.ts'

const folders: string[] = []
afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))))

interface Loaded {
  /** Of node_modules/. */
  readonly packages: string[]
  /** Of dist/. */
  readonly folders: string[]
  readonly code: number
}

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'ostraka-start-up-'))
  folders.push(folder)
  return folder
}

async function loadedBy(words: readonly string[]): Promise<Loaded> {
  const coverage = await newFolder()
  const { code } = await ostraka(words, '', { NODE_V8_COVERAGE: coverage })
  return { code, ...(await loadedIn(coverage)) }
}

/** Node writes down every script that it compiled, for who wants to know what of it was run. */
async function loadedIn(coverage: string): Promise<Omit<Loaded, 'code'>> {
  const paths: string[] = []
  for (const name of await readdir(coverage)) {
    const { result } = JSON.parse(await readFile(join(coverage, name), 'utf8')) as { result: { url: string }[] }
    paths.push(...result.filter(({ url }) => url.startsWith('file:')).map(({ url }) => relative(root, fileURLToPath(url))))
  }
  const matches = (pattern: RegExp) => [...new Set(paths.flatMap((path) => pattern.exec(path)?.[1] ?? []))].sort()
  return { packages: matches(/node_modules\/((?:@[^/]+\/)?[^/]+)\//), folders: matches(/^dist\/([^/]+)\//) }
}

/** What speaks gRPC, and what that needs. */
const grpc = ['@grpc/grpc-js', '@js-sdsl/ordered-map', 'long', 'protobufjs']
/** Nobody answers there. */
const nowhere = ['--controllers', '127.0.0.1:1', '--timeout', '0.2']

describe('what a command loads', () => {
  it.each(['--version', 'get --help', 'admin status --help'])(
    '%s: of the packages only the one that reads the command line, of ours nothing that serves or stores',
    async (words) => {
      expect(await loadedBy(words.split(' '))).toEqual({ code: 0, packages: ['commander'], folders: ['base', 'cli', 'proto'] })
    },
  )

  it.each(['get key', 'put key value'])('%s: beside it only the client, and what speaks gRPC', async (words) => {
    const expected = { code: 69, packages: [...grpc, 'commander'].sort(), folders: ['base', 'cli', 'client', 'proto'] }
    expect(await loadedBy([...words.split(' '), ...nowhere])).toEqual(expected)
  })

  it.each(['status', 'move 1 g1 --wait'])(
    'admin %s: no client, and no tables and bars before there is something to show',
    async (words) => {
      const expected = { code: 69, packages: [...grpc, 'commander'].sort(), folders: ['base', 'cli', 'proto'] }
      expect(await loadedBy(['admin', ...words.split(' '), ...nowhere])).toEqual(expected)
    },
  )

  it.each(['server', 'controller'])('%s: nothing of what serves before its flags are checked', async (command) => {
    expect(await loadedBy([command, '--id', 'x1'])).toEqual({ code: 2, packages: ['commander', 'zod'], folders: ['base', 'cli', 'proto'] })
  })

  it('a server that nobody asks for its services has not loaded what tells of them', async () => {
    const coverage = await newFolder()
    const flags = ['--id', 'c1', '--listen', '127.0.0.1:0', '--peers', 'c1=127.0.0.1:1', '--data', join(await newFolder(), 'c1')]
    const child = spawn(process.execPath, [bin, 'controller', ...flags, untilStdinEndsFlag], {
      env: { ...process.env, NODE_V8_COVERAGE: coverage },
      stdio: ['pipe', 'pipe', 'ignore'],
    })
    await once(child.stdout, 'data')
    child.stdin.end()
    expect(await once(child, 'exit')).toEqual([0, null])
    const { packages } = await loadedIn(coverage)
    expect(packages).toContain('grpc-health-check')
    expect(packages).not.toContain('@grpc/reflection')
  })
})
