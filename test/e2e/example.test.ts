/** examples/debian-packages, run as its header says, on an index of some hundred packages. */
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { jsonOf } from './expectations.ts'
import { root, Up } from './up.ts'

let up: Up
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ostraka-e2e-example-'))
  up = await Up.start(['--shards', '16', '--election-timeout-ms', '300'])
})
afterAll(async () => {
  await up?.dispose()
  await rm(folder, { recursive: true, force: true })
})

const stanza = (i: number) =>
  `Package: package-${i}\nVersion: ${i}.0-1\nDescription: größer than package-${i - 1}\n ${'long text '.repeat(i % 50)}\n .\n the end\n`

function runExample(parameters: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [join(root, 'dist/examples/debian-packages/main.js'), ...parameters], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
    })
  })
}

describe('examples/debian-packages', () => {
  it('loads every record and reads it back; where a name comes twice the last one counts', async () => {
    const file = join(folder, 'Packages')
    const texts = Array.from({ length: 500 }, (_, i) => stanza(i))
    await writeFile(file, [...texts, 'Package: package-7\nVersion: 8\n'].join('\n'))
    const { code, stdout, stderr } = await runExample([file, '--controllers', up.controllers])
    expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining('500 packages, ') })
    expect(JSON.parse(stdout)).toMatchObject({
      records: 500,
      wrong: 0,
      missing: 0,
      failed: 0,
      loadPerSecond: expect.any(Number),
      bytes: expect.any(Number),
    })
    expect((await up.run(['get', 'package-499'])).stdout).toBe(texts[499])
    expect((await up.run(['get', 'package-7'])).stdout).toBe('Package: package-7\nVersion: 8\n')
    const out = join(folder, 'out.ndjson')
    expect(await jsonOf((words) => up.run(words), ['export', out])).toEqual({ records: 500 })
  })

  it('ends with 1 and a line that says why: no such file, a stanza without a name, an empty index', async () => {
    const [nameless, empty] = [join(folder, 'nameless'), join(folder, 'empty')]
    await writeFile(nameless, 'Version: 1\n')
    await writeFile(empty, '')
    for (const [file, message] of [
      [join(folder, 'none'), /ENOENT/],
      [nameless, /line 1: this stanza has no field "Package"/],
      [empty, /the index holds no package/],
    ] as const) {
      const { code, stderr } = await runExample([file, '--controllers', up.controllers])
      expect(code).toBe(1)
      expect(stderr).toMatch(/^debian-packages: [^\n]+\n$/)
      expect(stderr).toMatch(message)
    }
  })
})
