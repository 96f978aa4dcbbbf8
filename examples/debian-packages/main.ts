#!/usr/bin/env node
/**
 * Loads Debian's package index into a cluster and reads every record back.
 *
 *   npm start                                             # in one terminal: a cluster on loopback
 *   npm run example:debian-packages                       # in another: the index of this machine (apt-cache dumpavail)
 *   npm run example:debian-packages -- Packages --controllers 127.0.0.1:7400
 *
 * Key: the package's name; value: its stanza. Where a name comes more than once its last stanza counts. Exits 1 if a record is missing or
 * wrong or a call failed.
 */
import { spawn } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { SingleBar } from 'cli-progress'
import { Command } from 'commander'
import { type Client, connect } from '../../client/index.ts'
import { stanzas } from './stanzas.ts'

interface Options {
  readonly controllers: string
  readonly concurrency: string
  readonly deadline: string
}

interface Phase {
  readonly calls: number
  readonly failed: number
  readonly seconds: number
}

/** The index as lines: a file, or what apt-cache knows. */
function openIndex(file: string | undefined): Readable {
  if (file !== undefined) return createReadStream(file)
  const child = spawn('apt-cache', ['dumpavail'], { stdio: ['ignore', 'pipe', 'inherit'] })
  child.on('error', () => child.stdout.destroy(new Error('apt-cache is not here: give a Packages file as argument')))
  return child.stdout
}

async function readIndex(file: string | undefined): Promise<Map<string, string>> {
  const input = openIndex(file)
  const packages = new Map<string, string>()
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })
  // readline drops its input's errors: carry them over.
  const failed = new Promise<never>((_, reject) => input.once('error', reject))
  const all = (async () => {
    for await (const { name, text } of stanzas(lines)) packages.set(name, text)
  })()
  await Promise.race([all, failed])
  return packages
}

/** Runs `call` over all names, `concurrency` at a time, with a progress bar. */
async function forAll(label: string, names: readonly string[], concurrency: number, call: (name: string) => Promise<void>): Promise<Phase> {
  const bar = new SingleBar({
    format: `${label} {bar} {percentage}% | {value}/{total} | {speed}/s | {eta_formatted} left`,
    stream: process.stderr,
  })
  bar.start(names.length, 0, { speed: 0 })
  const start = performance.now()
  let next = 0
  let done = 0
  let failed = 0
  const report = setInterval(() => bar.update(done, { speed: Math.round(done / ((performance.now() - start) / 1000)) }), 200)
  const worker = async () => {
    while (next < names.length) {
      const name = names[next++] ?? ''
      try {
        await call(name)
      } catch (error) {
        failed++
        if (failed <= 5) console.error(`\n${label} ${name}: ${error instanceof Error ? error.message : String(error)}`)
      }
      done++
    }
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
  clearInterval(report)
  const seconds = (performance.now() - start) / 1000
  bar.update(done, { speed: Math.round(done / seconds) })
  bar.stop()
  return { calls: names.length, failed, seconds }
}

async function loadAndVerify(db: Client, packages: ReadonlyMap<string, string>, concurrency: number) {
  const names = [...packages.keys()]
  const load = await forAll('load  ', names, concurrency, async (name) => {
    await db.put(name, packages.get(name) ?? '')
  })
  let wrong = 0
  let missing = 0
  const verify = await forAll('verify', names, concurrency, async (name) => {
    const found = await db.get(name)
    if (found === undefined) missing++
    else if (found.value.toString('utf8') !== packages.get(name)) wrong++
  })
  return { load, verify, wrong, missing }
}

async function main(file: string | undefined, options: Options): Promise<number> {
  const packages = await readIndex(file)
  if (packages.size === 0) throw new Error('the index holds no package (on a fresh machine: apt-get update)')
  const bytes = [...packages.values()].reduce((sum, text) => sum + Buffer.byteLength(text), 0)
  console.error(`${packages.size} packages, ${(bytes / 1e6).toFixed(1)} MB`)
  const db = await connect({ controllers: options.controllers.split(','), deadlineMs: Number(options.deadline) })
  try {
    const { load, verify, wrong, missing } = await loadAndVerify(db, packages, Number(options.concurrency))
    const failed = load.failed + verify.failed
    console.log(
      JSON.stringify({
        records: packages.size,
        bytes,
        loadPerSecond: Math.round(load.calls / load.seconds),
        verifyPerSecond: Math.round(verify.calls / verify.seconds),
        wrong,
        missing,
        failed,
      }),
    )
    return wrong + missing + failed === 0 ? 0 : 1
  } finally {
    await db.close()
  }
}

const program = new Command('debian-packages')
  .description("loads Debian's package index into a cluster and reads every record back")
  .argument('[file]', "a Packages file; this machine's index if not given")
  .option('--controllers <addresses>', 'HOST:PORT,…', process.env.OSTRAKA_CONTROLLERS ?? '127.0.0.1:7400,127.0.0.1:7401,127.0.0.1:7402')
  .option('--concurrency <calls>', 'calls in flight', '64')
  .option('--deadline <ms>', 'deadline of a call', '15000')
  .action(async (file: string | undefined, options: Options) => {
    try {
      process.exitCode = await main(file, options)
    } catch (error) {
      console.error(`debian-packages: ${error instanceof Error ? error.message : String(error)}`)
      process.exitCode = 1
    }
  })
await program.parseAsync()
