#!/usr/bin/env node
/**
 * Runs whole clusters in the simulator, seed after seed.
 *
 *   npm run sim -- --seeds 2000            seeds 1 to 2000; of each tenth a second run must have the same trace hash
 *   npm run sim -- --seeds 300 --twice     each is run twice
 *   npm run sim -- --seed 17 --trace       one seed, with a line for every event
 *   npm run sim -- --seed 17 --shrink      leaves out faults while the seed still fails, and prints what is left and how to run it
 *   npm run sim -- --seed 17 --faults n3,n8-9     one seed with only these of its faults
 *   npm run sim -- --seeds 40 --break no-fsync     a deliberate break: passes when some seed catches it
 *   npm run sim -- --scenario moves --seeds 50     shards move all the time; prints which faults hit which step of a migration
 *
 * Seeds are spread over worker processes. A failure prints its seed, its menu of faults, the story of its last seconds and the command that
 * runs it again.
 */
import { fork } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { RunFailure } from './cluster-run.ts'
import { CoreSpeed, loopMs } from './core-speed.ts'
import { encodeFaults, parseFaults } from './fault-journal.ts'
import { stepStrikes } from './migration-steps.ts'
import { breakNames, runScenario, type Scenario, scenarioOf, scenarios } from './scenarios.ts'
import { shrink } from './shrink.ts'

interface Options {
  readonly seeds: string
  readonly seed?: string
  readonly from: string
  readonly trace?: boolean
  readonly once?: boolean
  readonly twice?: boolean
  readonly faults?: string
  readonly shrink?: boolean
  readonly shrinkRuns: string
  readonly hashes?: string
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
  /** Names of the faults that may happen; all if not given. */
  readonly faults: string | undefined
}

type Outcome = { readonly seed: number } & (
  | {
      readonly ok: true
      readonly traceHash: string
      readonly isRepeated: boolean
      readonly virtualMs: number
      readonly operations: number
      readonly faults: number
      readonly moves: number
      readonly strikes: readonly string[]
      /** Of a core. */
      readonly cpuMs: number
      readonly kind: Scenario
      /** See core-speed.ts. */
      readonly loopMs: number
    }
  | ({ readonly ok: false; readonly error: string } & Partial<Pick<RunFailure, 'menu' | 'faults' | 'story'>>)
)

/** Without `--twice` and `--once`: so that a long run still proves for many of its seeds that they are repeated. */
const repeatedEach = 10

async function run({ seed, twice, scenario, breakName, faults }: Task): Promise<Outcome> {
  const options = { scenario, seed, breakName, only: faults === undefined ? undefined : parseFaults(faults) }
  const loopBeforeMs = loopMs()
  const before = process.cpuUsage()
  try {
    const first = await runScenario(options)
    const { user, system } = process.cpuUsage(before)
    const slowerLoopMs = Math.max(loopBeforeMs, loopMs())
    if (twice) {
      const second = await runScenario(options)
      if (first.traceHash !== second.traceHash)
        throw new Error(`seed ${seed}: two runs differ: traces ${first.traceHash} and ${second.traceHash}`)
    }
    const { kind, virtualMs, operations, faults: faultCount, moves = 0, strikes = [], traceHash } = first
    const cpuMs = (user + system) / 1000
    return {
      seed,
      ok: true,
      traceHash,
      isRepeated: twice,
      virtualMs,
      operations,
      faults: faultCount,
      moves,
      strikes,
      cpuMs,
      kind,
      loopMs: slowerLoopMs,
    }
  } catch (error) {
    if (!(error instanceof RunFailure)) return { seed, ok: false, error: error instanceof Error ? error.message : String(error) }
    const { message, menu, faults: happened, story } = error
    return { seed, ok: false, error: message, menu, faults: happened, story }
  }
}

/**
 * Most of what a run makes is garbage at once: a large nursery saves a tenth of its time. V8's helper threads would take it from the other
 * workers: every core has one.
 */
const execArgv = [...process.execArgv, '--min-semi-space-size=64', '--max-semi-space-size=64', '--single-threaded-gc']

/** Spreads tasks over worker processes; `done` gets each outcome and says whether to go on. */
async function spread(tasks: Task[], workers: number, done: (outcome: Outcome) => boolean): Promise<void> {
  let next = 0
  let stopped = false
  await Promise.all(
    Array.from({ length: Math.min(workers, tasks.length) }, () => {
      const child = fork(fileURLToPath(import.meta.url), ['--worker'], { serialization: 'advanced', execArgv })
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
  if (options.faults !== undefined) parseFaults(options.faults)
  if (options.trace === true) return await trace(options, names[0])
  if (options.shrink === true) return await shrinkSeed(options, names[0])
  if (names.length === 0 || options.seed !== undefined) return await runSeeds(options, names[0])
  let caught = 0
  for (const name of names) if (await isCaught(name, options)) caught++
  console.log(`${caught} passed, ${names.length - caught} failed`)
  return caught === names.length ? 0 : 1
}

async function runSeeds(options: Options, breakName: string | undefined): Promise<number> {
  const scenario = scenarioFor(options, breakName)
  const isTwice = (seed: number) =>
    options.twice === true || (options.once !== true && (seed % repeatedEach === 0 || options.seed !== undefined))
  const tasks = seedsOf(options).map((seed) => ({ seed, twice: isTwice(seed), scenario, breakName, faults: options.faults }))
  const hashes = options.hashes === undefined ? undefined : createWriteStream(options.hashes)
  const start = performance.now()
  const totals = new Totals()
  await spread(tasks, Number(options.workers), (outcome) => {
    if (outcome.ok) {
      totals.add(outcome)
      hashes?.write(`${outcome.seed} ${outcome.traceHash}\n`)
    } else {
      totals.failed++
      tellFailure(outcome, scenario, options, breakName)
    }
    if (totals.passed % 20 === 0 && totals.passed > 0) console.error(`${totals.passed} of ${tasks.length} seeds passed`)
    return outcome.ok || options.failFast !== true
  })
  hashes?.end()
  console.log(totals.describe((performance.now() - start) / 1000))
  console.log(`${totals.passed} passed, ${totals.failed} failed`)
  return totals.failed === 0 ? 0 : 1
}

/** Runs seeds until one fails. */
async function isCaught(breakName: string, options: Options): Promise<boolean> {
  const scenario = scenarioFor(options, breakName)
  const tasks = seedsOf(options).map((seed) => ({ seed, twice: false, scenario, breakName, faults: undefined }))
  let passed = 0
  const caught: number[] = []
  await spread(tasks, Number(options.workers), (outcome) => {
    if (outcome.ok) passed++
    else {
      caught.push(outcome.seed)
      console.log(`seed ${outcome.seed}: ${outcome.error}`)
      console.log(`  again: ${command(outcome.seed, scenario, breakName)}`)
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

/** Leaves out faults while the seed still fails in the same way. */
async function shrinkSeed(options: Options, breakName: string | undefined): Promise<number> {
  const scenario = scenarioFor(options, breakName)
  const seed = Number(options.seed ?? options.from)
  const attempt = (faults: string | undefined) => run({ seed, twice: false, scenario, breakName, faults })
  const whole = await attempt(options.faults)
  if (whole.ok || whole.faults === undefined) {
    console.log(whole.ok ? `seed ${seed} passes: there is nothing to shrink` : `seed ${seed} FAILED: ${whole.error}`)
    return 1
  }
  console.log(`seed ${seed} fails with ${whole.faults.length} faults: ${whole.error}`)
  let smallest: Extract<Outcome, { ok: false }> = whole
  const { items, runs, minimal } = await shrink(
    whole.faults.map(({ id }) => id),
    async (ids) => {
      const outcome = await attempt(encodeFaults(ids))
      if (outcome.ok || wayOf(outcome.error) !== wayOf(whole.error)) return false
      smallest = outcome
      console.error(`still fails with ${ids.length} faults`)
      return true
    },
    Number(options.shrinkRuns),
  )
  console.log(`${minimal ? 'none of these can be left out' : 'the smallest found'}, after ${runs} runs: ${items.length} faults`)
  for (const { id, atMs, what } of smallest.faults ?? []) console.log(`${(atMs / 1000).toFixed(3).padStart(9)} s  ${id}: ${what}`)
  tellFailure(smallest, scenario, { ...options, faults: encodeFaults(items) }, breakName)
  return 0
}

/** The same failure comes at other times, to other machines and keys. */
function wayOf(error: string): string {
  return error
    .replace(/^seed \d+(, [\d.]+ ms, event \d+)?: /, '')
    .replace(/\b[a-z]+-?\d+(@\d+)?\b|\d+/g, '#')
    .slice(0, 40)
}

function tellFailure(outcome: Extract<Outcome, { ok: false }>, scenario: Scenario, options: Options, breakName: string | undefined): void {
  console.log(`seed ${outcome.seed} FAILED: ${outcome.error}`)
  if (outcome.menu !== undefined) console.log(`  menu: ${outcome.menu}`)
  for (const line of outcome.story ?? []) console.log(`  ${line}`)
  console.log(`  again: ${command(outcome.seed, scenario, breakName, options.faults)}`)
}

function command(seed: number, scenario: Scenario, breakName: string | undefined, faults?: string): string {
  const flags = `${breakName === undefined ? '' : ` --break ${breakName}`}${faults === undefined ? '' : ` --faults ${faults}`}`
  return `npm run sim -- --seed ${seed} --scenario ${scenario}${flags}`
}

function scenarioFor(options: Options, breakName: string | undefined): Scenario {
  return named(options.scenario ?? (breakName === undefined ? 'any' : scenarioOf(breakName)))
}

function named(name: string): Scenario {
  const scenario = scenarios.find((known) => known === name)
  if (scenario === undefined) throw new Error(`unknown scenario ${name}; known: ${scenarios.join(', ')}`)
  return scenario
}

class Totals {
  passed = 0
  failed = 0
  readonly #sums = { virtualMs: 0, cpuMs: 0, operations: 0, faults: 0, moves: 0 }
  readonly #strikes = new Set<string>()
  readonly #speed = new CoreSpeed()
  #repeated = 0

  add(outcome: Extract<Outcome, { ok: true }>): void {
    this.passed++
    if (outcome.isRepeated) this.#repeated++
    this.#speed.add(outcome)
    for (const name of ['virtualMs', 'cpuMs', 'operations', 'faults', 'moves'] as const) this.#sums[name] += outcome[name]
    for (const strike of outcome.strikes) this.#strikes.add(strike)
  }

  describe(seconds: number): string {
    const { virtualMs, cpuMs, operations, faults, moves } = this.#sums
    const rate = cpuMs === 0 ? 0 : virtualMs / cpuMs
    const moved = moves === 0 ? '' : `, ${moves} migrations done, ${this.#coverage()}`
    return `${this.passed} seeds, ${this.#repeated} of them run twice: ${operations} operations, ${faults} faults${moved}, ${(virtualMs / 1000).toFixed(0)} virtual seconds, ${rate.toFixed(1)} virtual seconds per second of a core${this.#undisturbed()}; ${seconds.toFixed(0)} s`
  }

  #undisturbed(): string {
    const undisturbed = this.#speed.undisturbed()
    if (undisturbed === undefined) return ''
    const { perSecond, seeds, bestLoopMs } = undisturbed
    return ` (${perSecond.toFixed(1)} where the core ran undisturbed: ${seeds} seeds, loops of ${bestLoopMs.toFixed(1)} ms)`
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

async function trace(options: Options, breakName: string | undefined): Promise<number> {
  const only = options.faults === undefined ? undefined : parseFaults(options.faults)
  const scenario = scenarioFor(options, breakName)
  try {
    const { traceLines = [] } = await runScenario({
      scenario,
      seed: Number(options.seed ?? options.from),
      breakName,
      only,
      recordTrace: true,
    })
    for (const line of traceLines) console.log(line)
    return 0
  } catch (error) {
    if (!(error instanceof RunFailure)) throw error
    for (const line of error.traceLines) console.log(line)
    console.log(error.message)
    return 1
  }
}

if (process.argv[2] === '--worker') {
  // Errors are half of what happens under faults, and their stacks cost a tenth of a run; a seed that fails tells its story without.
  Error.stackTraceLimit = 0
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
    .option('--twice', `run each seed twice (without either: each ${repeatedEach}th)`)
    .option('--faults <names>', 'only these faults of a seed, such as n3,n8-9,s2')
    .option('--shrink', 'leave out faults of a failing seed while it still fails')
    .option('--shrink-runs <n>', 'runs that --shrink may take', '200')
    .option('--hashes <file>', 'write the trace hash of each seed, to compare with those of another run')
    .option('--fail-fast', 'begin no further seed once one has failed')
    .option('--trace', 'print every event of one seed')
    .option('--workers <n>', 'processes', String(availableParallelism()))
    .action(async (options: Options) => {
      process.exitCode = await main(options)
    })
    .parseAsync()
}
