#!/usr/bin/env node
/**
 * Runs whole clusters in the simulator, seed after seed.
 *
 *   npm run sim -- --seeds 300             seeds 1 to 300, each run twice: the trace hashes must be equal
 *   npm run sim -- --seed 17 --trace       one seed, with a line for every event
 *   npm run sim -- --seeds 40 --break no-fsync     a deliberate break: passes when some seed catches it
 *
 * Seeds are spread over worker processes. A failure prints its seed and the command that runs it again.
 */
import { fork } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import type { UnsafeRaft } from '../../raft/raft-host.ts'
import { type ClusterRun, runCluster } from './cluster-run.ts'
import { runMap } from './map-run.ts'

const breaks: Readonly<Record<string, UnsafeRaft>> = {
  'no-fsync': { noSync: true },
  'vote-not-persisted': { forgetVote: true },
  'old-term-counted': { countOldTermEntries: true },
  'read-without-quorum': { readWithoutQuorum: true },
}

interface Options {
  readonly seeds: string
  readonly seed?: string
  readonly from: string
  readonly trace?: boolean
  readonly once?: boolean
  readonly break?: string
  readonly scenario: 'cluster' | 'map'
  readonly workers: string
}

interface Task {
  readonly seed: number
  readonly twice: boolean
  readonly scenario: 'cluster' | 'map'
  readonly unsafe: UnsafeRaft | undefined
}

type Outcome = { readonly seed: number } & (
  | { readonly ok: true; readonly virtualMs: number; readonly operations: number; readonly faults: number; readonly realMs: number }
  | { readonly ok: false; readonly error: string }
)

async function run({ seed, twice, scenario, unsafe }: Task): Promise<Outcome> {
  const start = performance.now()
  try {
    const first = await runScenario(scenario, seed, unsafe)
    const realMs = performance.now() - start
    if (twice) {
      const second = await runScenario(scenario, seed, unsafe)
      if (first.traceHash !== second.traceHash)
        throw new Error(`seed ${seed}: two runs differ: traces ${first.traceHash} and ${second.traceHash}`)
    }
    return { seed, ok: true, virtualMs: first.virtualMs, operations: first.operations, faults: first.faults, realMs }
  } catch (error) {
    return { seed, ok: false, error: error instanceof Error ? error.message : String(error) }
  }
}

async function runScenario(scenario: Task['scenario'], seed: number, unsafe: UnsafeRaft | undefined) {
  if (scenario === 'map') return await runMap(seed, unsafe)
  return await runCluster(unsafe === undefined ? { seed } : { seed, unsafe })
}

/** Spreads tasks over worker processes; `done` gets each outcome and says whether to go on. */
async function spread(tasks: Task[], workers: number, done: (outcome: Outcome) => boolean): Promise<void> {
  let next = 0
  let stopped = false
  await Promise.all(
    Array.from({ length: Math.min(workers, tasks.length) }, () => {
      const child = fork(fileURLToPath(import.meta.url), ['--worker'], { serialization: 'advanced' })
      return new Promise<void>((resolve, reject) => {
        const give = () => {
          const task = stopped ? undefined : tasks[next++]
          if (task === undefined) child.disconnect()
          else child.send(task)
        }
        child.on('message', (outcome: Outcome) => {
          stopped ||= !done(outcome)
          give()
        })
        child.on('error', reject)
        child.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`a worker ended with ${code}`))))
        give()
      })
    }),
  )
}

function seedsOf(options: Options): number[] {
  if (options.seed !== undefined) return [Number(options.seed)]
  return Array.from({ length: Number(options.seeds) }, (_, i) => Number(options.from) + i)
}

async function main(options: Options): Promise<number> {
  const unsafe = options.break === undefined ? undefined : breaks[options.break]
  if (options.break !== undefined && unsafe === undefined)
    throw new Error(`unknown break ${options.break}; known: ${Object.keys(breaks).join(', ')}`)
  if (options.trace === true) return await trace(Number(options.seed ?? options.from))
  const { scenario } = options
  const tasks = seedsOf(options).map((seed) => ({ seed, twice: options.once !== true && unsafe === undefined, scenario, unsafe }))
  const start = performance.now()
  const totals = { passed: 0, failed: 0, virtualMs: 0, realMs: 0, operations: 0, faults: 0 }
  const caught: Outcome[] = []
  await spread(tasks, Number(options.workers), (outcome) => {
    if (outcome.ok) {
      totals.passed++
      totals.virtualMs += outcome.virtualMs
      totals.realMs += outcome.realMs
      totals.operations += outcome.operations
      totals.faults += outcome.faults
      if (totals.passed % 20 === 0) console.error(`${totals.passed} of ${tasks.length} seeds passed`)
      return true
    }
    totals.failed++
    caught.push(outcome)
    console.log(`seed ${outcome.seed} FAILED: ${outcome.error}`)
    const flags = `${scenario === 'map' ? ' --scenario map' : ''}${options.break === undefined ? '' : ` --break ${options.break}`}`
    console.log(`  again: npm run sim -- --seed ${outcome.seed}${flags}`)
    return unsafe === undefined
  })
  const seconds = (performance.now() - start) / 1000
  const { passed, failed, virtualMs, realMs, operations, faults } = totals
  if (unsafe !== undefined) {
    const [first] = caught
    console.log(
      first === undefined
        ? `break ${options.break}: NOT caught by ${passed} seeds`
        : `break ${options.break}: caught by seed ${first.seed}, after ${passed} seeds that passed`,
    )
    console.log(first === undefined ? '0 passed, 1 failed' : '1 passed, 0 failed')
    return first === undefined ? 1 : 0
  }
  const rate = realMs === 0 ? 0 : virtualMs / realMs
  console.log(
    `${passed} seeds${options.once === true ? '' : ', each run twice'}: ${operations} operations, ${faults} faults, ${(virtualMs / 1000).toFixed(0)} virtual seconds, ${rate.toFixed(1)} virtual seconds per second of a core; ${seconds.toFixed(0)} s`,
  )
  console.log(`${passed} passed, ${failed} failed`)
  return failed === 0 ? 0 : 1
}

async function trace(seed: number): Promise<number> {
  const result: ClusterRun = await runCluster({ seed, recordTrace: true })
  for (const line of result.traceLines) console.log(line)
  return 0
}

if (process.argv[2] === '--worker') {
  process.on('message', (task: Task) => {
    void run(task).then((outcome) => process.send?.(outcome))
  })
} else {
  await new Command('sim')
    .description('runs whole clusters in the simulator')
    .option('--seeds <n>', 'how many seeds', '20')
    .option('--from <n>', 'the first seed', '1')
    .option('--seed <n>', 'this seed only')
    .option('--scenario <name>', 'cluster: controllers, nodes, groups and clients; map: three replicas of a map over Raft', 'cluster')
    .option('--break <name>', `a deliberate break: ${Object.keys(breaks).join(', ')}`)
    .option('--once', 'run each seed once')
    .option('--trace', 'print every event of one seed')
    .option('--workers <n>', 'processes', String(availableParallelism()))
    .action(async (options: Options) => {
      process.exitCode = await main(options)
    })
    .parseAsync()
}
