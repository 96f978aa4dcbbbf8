#!/usr/bin/env node
/** Every gate that is no test: types, Biome, the import rule, generated code up to date, links in the documentation. All run; any failure exits 1. */
import { spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const gates = [
  ['generated code', ['proto/generate.mjs', '--check']],
  ['types', ['node_modules/typescript/bin/tsc', '--noEmit', '-p', '.']],
  ['Biome', ['node_modules/@biomejs/biome/bin/biome', 'check', '.']],
  ['import rule', ['scripts/check-imports.mjs']],
  ['seams', ['scripts/check-seams.mjs']],
  ['links', ['scripts/check-links.mjs']],
]

let failed = 0
for (const [name, command] of gates) {
  const result = spawnSync(process.execPath, command, { cwd: root, encoding: 'utf8' })
  const ok = result.status === 0
  if (!ok) failed++
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${name}`)
  if (!ok) console.log(`${result.stdout}${result.stderr}`.trimEnd())
}
console.log(`${gates.length - failed} passed, ${failed} failed`)
process.exit(failed === 0 ? 0 : 1)
