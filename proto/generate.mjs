#!/usr/bin/env node
/**
 * Makes `proto/gen/messages.{js,d.ts}` from `proto/*.proto`, and `proto/gen/descriptor.json` for gRPC reflection.
 *   node proto/generate.mjs           writes them
 *   node proto/generate.mjs --check   exits 1 if what is there differs from what would be written
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = dirname(fileURLToPath(import.meta.url))
const target = join(folder, 'gen')
const pbjs = join(dirname(createRequire(import.meta.url).resolve('protobufjs-cli/package.json')), 'bin', 'pbjs')
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

const check = process.argv.includes('--check')
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
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
