import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, it } from 'vitest'
import { compile } from '../base/compile.ts'

const compiled = compile(new URL('./suite.ts', import.meta.url), new URL('../../lsm/worker.ts', import.meta.url))
afterAll(() => compiled.remove())

/** Assertions of the suite at its release 3.1: fewer were not all of it. */
const leastAssertions = 5000

it("OstrakaLevel passes abstract-level's own suite", { timeout: 180_000 }, async () => {
  const { code, output, leftBehind } = await run(fileURLToPath(compiled.url))
  const count = (what: string) => Number(new RegExp(`^# ${what} +(\\d+)$`, 'm').exec(output)?.[1] ?? 0)
  console.log(`abstract-level's suite: ${count('pass')} of ${count('tests')} passed, ${count('fail')} failed`)
  // Each with what it found, up to the next line of TAP.
  const failures = output.match(/^(?:not ok|Bail out!).*(?:\n +.*)*/gm) ?? []
  expect(failures.slice(0, 10).join('\n')).toBe('')
  expect({ code, failed: count('fail'), passed: count('pass') }).toEqual({ code: 0, failed: 0, passed: count('tests') })
  expect(count('tests')).toBeGreaterThan(leastAssertions)
  expect(leftBehind).toEqual([])
  expect(output).toMatch(new RegExp(`^1\\.\\.${count('tests')}$`, 'm'))
})

/** Standard error follows standard output: a process that dies says why there. */
async function run(file: string): Promise<{ code: unknown; output: string; leftBehind: string[] }> {
  const temporary = await mkdtemp(path.join(os.tmpdir(), 'ostraka-level-'))
  const env = { ...process.env, TMPDIR: temporary }
  try {
    return await new Promise((resolve, reject) => {
      execFile(process.execPath, [file], { env, maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
        const code = error === null ? 0 : (error.code ?? error.signal)
        readdir(temporary).then((leftBehind) => resolve({ code, output: `${stdout}\n${stderr}`, leftBehind }), reject)
      })
    })
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
}
