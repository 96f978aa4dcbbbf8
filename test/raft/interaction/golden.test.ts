import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Environment } from './environment.ts'
import { parseScript, rewriteScript } from './script.ts'

const folder = join(import.meta.dirname, 'scripts')

/** After a change on purpose: `npx vitest run test/raft/interaction/golden.test.ts -u` writes what is now printed. Read the diff before it is kept. */
describe('interaction of replicas, our own stories', () => {
  it.each(readdirSync(folder))('%s', async (file) => {
    const script = parseScript(readFileSync(join(folder, file), 'utf8'))
    const environment = new Environment(script, { likeOthers: false })
    const outputs = script.map((command) => environment.run(command))
    await expect(rewriteScript(script, outputs)).toMatchFileSnapshot(join(folder, file))
  })
})
