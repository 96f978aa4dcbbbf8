import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

const run = promisify(execFile)

describe('the heap of a server', () => {
  // An unknown flag would be ignored without a word.
  it('is let to grow by a flag that this V8 knows', async () => {
    const { stdout } = await run(process.execPath, ['--v8-options'])
    expect(stdout).toContain('--heap-growing-percent')
  })
})
