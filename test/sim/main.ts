#!/usr/bin/env node
/**
 * Runs whole clusters in the simulator, seed after seed.
 *
 *   npm run sim -- --seeds 300             seeds 1 to 300, each run twice: the trace hashes must be equal
 *   npm run sim -- --seed 17 --trace       one seed, with a line for every event
 *   npm run sim -- --seeds 40 --break no-fsync     a deliberate break: passes when some seed catches it
 *   npm run sim -- --scenario moves --seeds 50     shards move all the time; prints which faults hit which step of a migration
 *
 * Seeds are spread over worker processes. A failure prints its seed and the command that runs it again.
 */
import { fork } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { stepStrikes } from './migration-steps.ts'
import { breakNames, runScenario, type Scenario, scenarioOf, scenarios } from './scenarios.ts'

interface Options {
  readonly seeds: string
  readonly seed?: string
  readonly from: string
  readonly trace?: boolean
  readonly once?: boolean
  readonly failFast?: boolean
  readonly break?: string
  readonly scenario?: string
  readonly workers: string
}

interface Task {
  readonly seed: number
  readonly twice: boolean
  readonly scenario: Scenario
  readonly breakName: string | undefined
}

type Outcome = { readonly seed: number } & (
  | {
      readonly ok: true
      readonly virtualMs: number
      readonly operations: number
      readonly faults: number
      readonly moves: number
      readonly strikes: readonly string[]
      readonly realMs: number
    }
  | { readonly ok: false; readonly error: string }
)

async function run({ seed, twice, scenario, breakName }: Task): Promise<Outcome> {
  const start = performance.now()
  try {
    const first = await runScenario({ scenario, seed, breakName })
    const realMs = performance.now() - start
    if (twice) {
      const second = await runScenario({ scenario, seed, breakName })
      if (first.traceHash !== second.traceHash)
        throw new Error(`seed ${seed}: two runs differ: traces ${first.traceHash} and ${second.traceHash}`)
    }
    const { virtualMs, operations, faults, moves = 0, strikes = [] } = first
    return { seed, ok: true, virtualMs, operations, faults, moves, strikes, realMs }
  } catch (error) {
    return { seed, ok: false, error: error instanceof Error ? error.message : String(error) }
  }
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
  const names = options.break?.split(',') ?? []
  for (const name of names) if (!breakNames.includes(name)) throw new Error(`unknown break ${name}; known: ${breakNames.join(', ')}`)
  if (options.trace === true) return await trace(named(options.scenario ?? 'any'), Number(options.seed ?? options.from), names[0])
  if (names.length === 0) return await runSeeds(options)
  let caught = 0
  for (const name of names) if (await isCaught(name, options)) caught++
  console.log(`${caught} passed, ${names.length - caught} failed`)
  return caught === names.length ? 0 : 1
}

async function runSeeds(options: Options): Promise<number> {
  const scenario = named(options.scenario ?? 'any')
  const twice = options.once !== true
  const tasks = seedsOf(options).map((seed) => ({ seed, twice, scenario, breakName: undefined }))
  const start = performance.now()
  const totals = new Totals()
  await spread(tasks, Number(options.workers), (outcome) => {
    if (outcome.ok) totals.add(outcome)
    else {
      totals.failed++
      tellFailure(outcome, scenario, '')
    }
    if (totals.passed % 20 === 0 && totals.passed > 0) console.error(`${totals.passed} of ${tasks.length} seeds passed`)
    return outcome.ok || options.failFast !== true
  })
  console.log(totals.describe(twice, (performance.now() - start) / 1000))
  console.log(`${totals.passed} passed, ${totals.failed} failed`)
  return totals.failed === 0 ? 0 : 1
}

/** Runs seeds until one fails. */
async function isCaught(breakName: string, options: Options): Promise<boolean> {
  const scenario = named(options.scenario ?? scenarioOf(breakName))
  const tasks = seedsOf(options).map((seed) => ({ seed, twice: false, scenario, breakName }))
  let passed = 0
  const caught: number[] = []
  await spread(tasks, Number(options.workers), (outcome) => {
    if (outcome.ok) passed++
    else {
      caught.push(outcome.seed)
      tellFailure(outcome, scenario, ` --break ${breakName}`)
    }
    return outcome.ok
  })
  const [first] = caught
  console.log(
    first === undefined
      ? `break ${breakName}: NOT caught by ${passed} seeds`
      : `break ${breakName}: caught by seed ${first}, after ${passed} seeds that passed`,
  )
  return first !== undefined
}

function tellFailure(outcome: Extract<Outcome, { ok: false }>, scenario: Scenario, flags: string): void {
  console.log(`seed ${outcome.seed} FAILED: ${outcome.error}`)
  console.log(`  again: npm run sim -- --seed ${outcome.seed} --scenario ${scenario}${flags}`)
}

function named(name: string): Scenario {
  const scenario = scenarios.find((known) => known === name)
  if (scenario === undefined) throw new Error(`unknown scenario ${name}; known: ${scenarios.join(', ')}`)
  return scenario
}

class Totals {
  passed = 0
  failed = 0
  readonly #sums = { virtualMs: 0, realMs: 0, operations: 0, faults: 0, moves: 0 }
  readonly #strikes = new Set<string>()

  add(outcome: Extract<Outcome, { ok: true }>): void {
    this.passed++
    for (const name of ['virtualMs', 'realMs', 'operations', 'faults', 'moves'] as const) this.#sums[name] += outcome[name]
    for (const strike of outcome.strikes) this.#strikes.add(strike)
  }

  describe(twice: boolean, seconds: number): string {
    const { virtualMs, realMs, operations, faults, moves } = this.#sums
    const rate = realMs === 0 ? 0 : virtualMs / realMs
    const moved = moves === 0 ? '' : `, ${moves} migrations done, ${this.#coverage()}`
    return `${this.passed} seeds${twice ? ', each run twice' : ''}: ${operations} operations, ${faults} faults${moved}, ${(virtualMs / 1000).toFixed(0)} virtual seconds, ${rate.toFixed(1)} virtual seconds per second of a core; ${seconds.toFixed(0)} s`
  }

  /** Of each step of a migration and each victim, and of each of their faults, how many were hit. */
  #coverage(): string {
    const pairs = (keys: Iterable<string>) => new Set([...keys].map((key) => key.split(' ').slice(0, 2).join(' ')))
    const all = stepStrikes.map(({ step, victim, fault }) => `${step} ${victim} ${fault}`)
    const hit = pairs(this.#strikes)
    const missed = [...pairs(all)].filter((pair) => !hit.has(pair))
    const without = missed.length === 0 ? '' : ` (not: ${missed.join(', ')})`
    return `${hit.size} of ${pairs(all).size} steps × victims${without} and ${this.#strikes.size} of ${all.length} with their faults hit`
  }
}

async function trace(scenario: Scenario, seed: number, breakName: string | undefined): Promise<number> {
  const { traceLines = [] } = await runScenario({ scenario, seed, breakName, recordTrace: true })
  for (const line of traceLines) console.log(line)
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
    .option(
      '--scenario <name>',
      'cluster: controllers, nodes, groups and clients; moves: shards move, too; any: one of these by the seed; scripts: stories of moving shards; map: three replicas of a map over Raft (default: any)',
    )
    .option('--break <name>', `deliberate breaks, separated by commas: ${breakNames.join(', ')}`)
    .option('--once', 'run each seed once')
    .option('--fail-fast', 'begin no further seed once one has failed')
    .option('--trace', 'print every event of one seed')
    .option('--workers <n>', 'processes', String(availableParallelism()))
    .action(async (options: Options) => {
      process.exitCode = await main(options)
    })
    .parseAsync()
}
