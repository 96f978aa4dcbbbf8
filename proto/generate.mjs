#!/usr/bin/env node
/**
 * Makes `proto/gen/messages.{js,d.ts}` from `proto/*.proto`, and `proto/gen/descriptor.json` for gRPC reflection.
 *   node proto/generate.mjs           writes them, unless what is there was made from what there is: it takes seconds, and each script builds first
 *   node proto/generate.mjs --check   exits 1 if what is there differs from what would be written
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = dirname(fileURLToPath(import.meta.url))
const target = join(folder, 'gen')
const require = createRequire(import.meta.url)
const pbjs = join(dirname(require.resolve('protobufjs-cli/package.json')), 'bin', 'pbjs')
/** `madeFrom()` of the last time. Gone with the packages, whose versions it does not know all of. */
const stamp = join(folder, '../node_modules/.cache/ostraka/proto-gen')
const protos = readdirSync(folder)
  .filter((name) => name.endsWith('.proto'))
  .sort()

function run(...parameters) {
  execFileSync(process.execPath, [pbjs, '-p', folder, ...parameters, ...protos.map((name) => join(folder, name))], { stdio: 'inherit' })
}

function generateInto(out) {
  run(
    '-t',
    'static-module',
    '-w',
    'esm',
    '--dts',
    '--force-number',
    '--no-verify',
    '--no-convert',
    '--no-delimited',
    '--no-typeurl',
    '--no-service',
    '-o',
    join(out, 'messages.js'),
  )
  run('-t', 'json', '-o', join(out, 'descriptor.json'))
}

/** A hash of all that the output depends on, and of the output. */
function madeFrom() {
  const outputs = readdirSync(target).filter((name) => /^(messages|descriptor)\./.test(name))
  const files = [
    fileURLToPath(import.meta.url),
    ...protos.map((name) => join(folder, name)),
    ...outputs.sort().map((name) => join(target, name)),
  ]
  const hash = createHash('sha256')
  for (const name of ['protobufjs-cli', 'protobufjs']) hash.update(readFileSync(require.resolve(`${name}/package.json`)))
  for (const file of files) hash.update(`\n${file}\n`).update(readFileSync(file))
  return hash.digest('hex')
}

const check = process.argv.includes('--check')
if (!check && existsSync(stamp) && existsSync(target) && readFileSync(stamp, 'utf8') === madeFrom()) process.exit()
mkdirSync(target, { recursive: true })
const scratch = mkdtempSync(join(target, 'tmp-'))
try {
  generateInto(scratch)
  let stale = false
  for (const name of readdirSync(scratch)) {
    const made = readFileSync(join(scratch, name))
    let present
    try {
      present = readFileSync(join(target, name))
    } catch {}
    if (present?.equals(made)) continue
    if (check) {
      stale = true
      console.error(`proto/gen/${name} is not what proto/*.proto give: npm run build`)
    } else {
      writeFileSync(join(scratch, name), made)
      renameSync(join(scratch, name), join(target, name))
    }
  }
  if (stale) process.exitCode = 1
  if (!check) {
    mkdirSync(dirname(stamp), { recursive: true })
    writeFileSync(stamp, madeFrom())
  }
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
