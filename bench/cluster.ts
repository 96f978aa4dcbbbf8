#!/usr/bin/env node
/**
 * Puts and gets through the SDKs, beside etcd in the same run, sides interleaved: A B A B, medians.
 *
 *   npm run bench:cluster                                              # this cluster alone, started for the run
 *   npm run bench:cluster -- --etcd 127.0.0.1:2371,127.0.0.1:2372      # beside a running etcd
 *   npm run bench:cluster -- --in-flight 64                            # with so many calls under way alone, not with 64, then 256
 *
 * Values are random bytes (incompressible), keys come from a set of 20,000, fsync is on on both sides. Every process shares this machine's
 * cores with the load.
 */
import { randomBytes } from 'node:crypto'
import Table from 'cli-table3'
import { Command } from 'commander'
import { Etcd3 } from 'etcd3'
import { connect } from '../client/index.ts'
import { Up } from '../testing/up.ts'
import { closedLoop, type LoopResult } from './closed-loop.ts'
import { median } from './median.ts'

interface Side {
  readonly name: string
  put(key: string, value: Buffer): Promise<unknown>
  get(key: string): Promise<unknown>
}

const keys = 20_000
const values = 64

interface Workload {
  readonly kind: 'put' | 'get'
  readonly bytes: number
}

const workloads: readonly Workload[] = [
  { kind: 'put', bytes: 128 },
  { kind: 'put', bytes: 4096 },
  { kind: 'get', bytes: 128 },
  { kind: 'get', bytes: 4096 },
]

function keyOf(bytes: number, n: number): string {
  return `bench/${bytes}/${(n * 7919) % keys}`
}

async function fill(side: Side, bytes: number, inFlight: number): Promise<void> {
  const value = randomBytes(bytes)
  let next = 0
  const worker = async () => {
    while (next < keys) await side.put(`bench/${bytes}/${next++}`, value)
  }
  await Promise.all(Array.from({ length: inFlight }, worker))
}

async function measure(side: Side, { kind, bytes }: Workload, inFlight: number, seconds: number): Promise<LoopResult> {
  const pool = Array.from({ length: values }, () => randomBytes(bytes))
  if (kind === 'get') return await closedLoop(inFlight, seconds, (n) => side.get(keyOf(bytes, n)))
  return await closedLoop(inFlight, seconds, (n) => side.put(keyOf(bytes, n), pool[n % values] ?? Buffer.alloc(0)))
}

/** The first side is ours: its ratio to the second is printed beside it. Returns how many calls failed. */
async function run(sides: readonly Side[], rounds: number, seconds: number, inFlight: number): Promise<number> {
  const table = new Table({ head: ['in flight', 'workload', 'side', 'per second', 'p50 ms', 'p99 ms', 'errors', 'ratio'] })
  let errors = 0
  for (const workload of workloads) {
    const results = new Map<string, LoopResult[]>(sides.map(({ name }) => [name, []]))
    for (let round = 0; round < rounds; round++) {
      for (const side of sides) results.get(side.name)?.push(await measure(side, workload, inFlight, seconds))
    }
    const rates = sides.map(({ name }) => median((results.get(name) ?? []).map((r) => r.perSecond)))
    const ratio = rates.length > 1 ? ((rates[0] ?? 0) / (rates[1] ?? 1)).toFixed(2) : ''
    for (const [name, all] of results) {
      const failed = all.reduce((sum, result) => sum + result.errors, 0)
      errors += failed
      const fixed = (of: (result: LoopResult) => number) => median(all.map(of)).toFixed(2)
      table.push([
        inFlight,
        `${workload.kind} ${workload.bytes} B`,
        name,
        Math.round(median(all.map((r) => r.perSecond))),
        fixed((r) => r.p50),
        fixed((r) => r.p99),
        failed,
        name === sides[0]?.name ? ratio : '',
      ])
    }
  }
  console.log(table.toString())
  return errors
}

async function etcdSide(endpoints: string): Promise<Side & { close(): void }> {
  const client = new Etcd3({ hosts: endpoints.split(',') })
  return {
    name: 'etcd',
    put: (key, value) => client.put(key).value(value).exec(),
    get: (key) => client.get(key).buffer(),
    close: () => client.close(),
  }
}

interface Options {
  readonly rounds: string
  readonly seconds: string
  readonly inFlight: string
  readonly etcd?: string
  readonly controllers?: string
}

async function main(options: Options): Promise<void> {
  const up = options.controllers === undefined ? await Up.start() : undefined
  const db = await connect({ controllers: (options.controllers ?? up?.controllers ?? '').split(','), deadlineMs: 30_000 })
  const etcd = options.etcd === undefined ? undefined : await etcdSide(options.etcd)
  const ours: Side = { name: 'ostraka', put: (key, value) => db.put(key, value), get: (key) => db.get(key) }
  try {
    const sides = etcd === undefined ? [ours] : [ours, etcd]
    const concurrencies = options.inFlight.split(',').map(Number)
    for (const side of sides) for (const bytes of [128, 4096]) await fill(side, bytes, Math.max(...concurrencies))
    let errors = 0
    for (const inFlight of concurrencies) errors += await run(sides, Number(options.rounds), Number(options.seconds), inFlight)
    const passed = workloads.length * concurrencies.length
    console.log(errors === 0 ? `${passed} passed, 0 failed` : `0 passed, ${errors} failed`)
    if (errors > 0) process.exitCode = 1
  } finally {
    await db.close()
    etcd?.close()
    await up?.dispose()
  }
}

await new Command('bench:cluster')
  .option('--rounds <n>', 'rounds of each side', '3')
  .option('--seconds <n>', 'seconds of each round', '4')
  .option('--in-flight <n>', 'calls under way; several one after the other', '64,256')
  .option('--etcd <endpoints>', 'HOST:PORT,… of a running etcd')
  .option('--controllers <addresses>', 'HOST:PORT,… of a running cluster; one is started if not given')
  .action(main)
  .parseAsync()
