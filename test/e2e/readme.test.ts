/** What README shows is what works: its commands, its program, those of the storage engine's, the package that is published, `ostraka/testing`. */
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { root, Up } from './up.ts'

const execute = promisify(execFile)
const readme = await readFile(join(root, 'README.md'), 'utf8')

/** The fenced blocks of one language ('' for none). */
function blocks(language: string, text = readme): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\``, 'gm'))].map((match) => match[1] ?? '')
}

let folder: string
beforeAll(async () => {
  // A project that has installed the package.
  folder = await mkdtemp(join(tmpdir(), 'ostraka-e2e-readme-'))
  await execute('mkdir', ['-p', join(folder, 'node_modules')])
  await symlink(root, join(folder, 'node_modules', 'ostraka'))
  await writeFile(join(folder, 'package.json'), '{"type":"module"}')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function runProgram(name: string, source: string): Promise<string> {
  const temporary = join(folder, 'tmp')
  await execute('mkdir', ['-p', temporary])
  await writeFile(join(folder, name), source)
  const { stdout } = await execute(process.execPath, [name], { cwd: folder, env: { ...process.env, TMPDIR: temporary }, timeout: 60_000 })
  expect(await readdir(temporary), 'temporary files left behind').toEqual([])
  return stdout
}

describe("README's program", () => {
  it('runs as it stands on a cluster of ostraka/testing, and prints what it says', async () => {
    const [program = ''] = blocks('ts')
    expect(program).toContain("import { connect } from 'ostraka'")
    const rewired = program.replace("controllers: ['127.0.0.1:7400']", 'controllers: cluster.controllers')
    expect(rewired).not.toBe(program)
    const stdout = await runProgram(
      'readme.js',
      [
        "import { startCluster } from 'ostraka/testing'",
        'const cluster = await startCluster({ nodes: 1, groups: 1 })',
        rewired,
        'await cluster.stop()',
        "console.log('after:', found.value.toString(), found.revision)",
      ].join('\n'),
    )
    expect(stdout).toBe('user:17 Ada Lovelace\nafter: {"name":"Ada"} 1\n')
  })
})

describe("The storage engine's programs", () => {
  it('run as they stand, and print what they say', async () => {
    const programs = blocks('ts', await readFile(join(root, 'lsm/README.md'), 'utf8'))
    const outputs = await Promise.all(programs.map((program, i) => runProgram(`lsm-${i}.js`, program)))
    expect(outputs).toEqual(['1815 undefined\nuser:ada 1815\n', "{ born: 1815 } undefined [ 'ada' ]\n"])
  })
})

describe('ostraka/testing', () => {
  it('starts a cluster of three nodes on free ports, and stops it clean: the process ends by itself, no port or file is left', async () => {
    const stdout = await runProgram(
      'testing.js',
      [
        "import { connect } from 'ostraka'",
        "import { startCluster } from 'ostraka/testing'",
        'const clusters = [await startCluster({ nodes: 3, groups: 2, shards: 16 }), await startCluster({ nodes: 1, groups: 1 })]',
        'for (const { controllers } of clusters) {',
        '  const db = await connect({ controllers })',
        "  const { revision } = await db.put('key', 'value')",
        "  const { value } = await db.get('key')",
        '  console.log(JSON.stringify({ controllers, revision, value: value.toString() }))',
        '  await db.close()',
        '}',
        'await Promise.all(clusters.map((cluster) => cluster.stop()))',
      ].join('\n'),
    )
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { controllers: string[]; revision: number; value: string })
    expect(lines).toHaveLength(2)
    for (const { controllers, value, revision } of lines) {
      expect({ value, revision }).toEqual({ value: 'value', revision: 1 })
      const port = Number(controllers[0]?.split(':')[1])
      const again = createServer()
      await new Promise<void>((resolve, reject) => again.once('error', reject).listen(port, '127.0.0.1', resolve))
      again.close()
    }
  })
})

describe("README's commands", () => {
  let up: Up
  beforeAll(async () => {
    up = await Up.start(['--nodes', '1', '--shards', '16', '--election-timeout-ms', '300'])
  })
  afterAll(() => up?.dispose())

  it('do what they say on a running cluster', async () => {
    const commands = blocks('')
      .flatMap((block) => block.split('\n'))
      .filter((line) => line.startsWith('npx ostraka '))
      .map((line) => line.replace('npx ostraka ', '').split(' '))
    expect(commands.length).toBeGreaterThanOrEqual(4)
    for (const command of commands) expect(await up.start(command), command.join(' ')).toMatchObject({ code: 0, stderr: '' })
    expect((await up.run(['get', 'greeting'])).stdout).toBe('hello')
  })

  it('name scripts that there are, and npm start is `ostraka up`', async () => {
    const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
    const named = [...readme.matchAll(/npm (?:run ([\w:-]+)|(start|test))/g)].map(([, script, short]) => script ?? short ?? '')
    expect(named).toEqual(expect.arrayContaining(['start', 'test', 'example:debian-packages']))
    for (const name of named) expect(Object.keys(scripts)).toContain(name)
    expect(scripts.start).toBe('node dist/cli/main.js up')
  })
})

describe('the package', () => {
  it('holds the command, every export, the proto files and the types, and no test', async () => {
    const { stdout } = await execute('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, maxBuffer: 64 * 1024 * 1024 })
    const [packed] = JSON.parse(stdout) as { name: string; files: { path: string }[] }[]
    const paths = new Set(packed?.files.map(({ path }) => path))
    const { bin, exports } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
      bin: { ostraka: string }
      exports: Record<string, string | { types: string; default: string }>
    }
    const wanted = [
      bin.ostraka,
      'README.md',
      'LICENSE',
      'CHANGELOG.md',
      ...['kv', 'controller', 'raft', 'node', 'error'].map((name) => `proto/${name}.proto`),
    ]
    for (const target of Object.values(exports)) {
      if (typeof target !== 'string') wanted.push(target.types.slice(2), target.default.slice(2))
    }
    for (const path of wanted) expect([...paths], path).toContain(path)
    expect([...paths].filter((path) => /(^|\/)test\//.test(path))).toEqual([])
    expect((await readFile(join(root, bin.ostraka), 'utf8')).startsWith('#!/usr/bin/env node\n')).toBe(true)
  })
})
