import { Argument, type Command } from 'commander'
import type { Histogram } from 'hdr-histogram-js'
import { limits } from '../proto/limits.ts'
import { type ExitCode, exitCode, usageError } from './exit-code.ts'
import { addFreshness, type FreshnessFlags, freshnessOf } from './freshness.ts'
import { InFlight } from './in-flight.ts'
import { examples, type Invocation, type Registry } from './invocation.ts'
import { keyOf, needsKeys, type Operation, Values, Workload, type WorkloadName, workloads } from './workload.ts'
import type { Database } from './world.ts'

const LOAD_CONCURRENCY = 1_024
const LOAD_BYTES = 16 * 1024 * 1024

interface BenchFlags {
  readonly seconds: number
  readonly concurrency: number
  readonly valueBytes: number
  readonly keys: number
  readonly seed: number
}

export function addBench(program: Command, registry: Registry): void {
  const command = addFreshness(program.command('bench'))
    .description('measure: a closed loop, so many operations in flight for so long')
    .addArgument(new Argument('[workload]', 'what to do').choices([...workloads]).default('put'))
    .option('--seconds <number>', 'how long', '10')
    .option('--concurrency <count>', 'operations in flight', '64')
    .option('--value-bytes <count>', 'bytes of a value', '128')
    .option('--keys <count>', 'distinct keys', '100000')
    .option('--seed <number>', 'the same seed asks the same', '1')
    .addHelpText('after', examples('bench', 'bench get --value-bytes 4096 --seconds 30', 'bench ycsb-a --concurrency 256 --json'))
  registry.add(command, async (invocation) => {
    const workload = command.processedArgs[0] as WorkloadName
    const flags = parseFlags(command.opts())
    const freshness = freshnessOf(command.opts<FreshnessFlags>())
    return await invocation.withDatabase((database) => runBench(invocation, database, workload, flags, freshness))
  })
}

function parseFlags(options: Record<string, string>): BenchFlags {
  const whole = (flag: string, name: string, min: number, max: number) => {
    const text = options[name] ?? ''
    const value = Number(text)
    if (!/^\d+$/.test(text) || value < min || value > max) throw usageError(`--${flag} ${text}: give a whole number from ${min} to ${max}`)
    return value
  }
  const seconds = Number(options.seconds)
  if (!/^\d*\.?\d+$/.test(options.seconds ?? '') || seconds <= 0 || seconds > 86_400) {
    throw usageError(`--seconds ${options.seconds}: give a number above 0 and at most 86400`)
  }
  return {
    seconds,
    concurrency: whole('concurrency', 'concurrency', 1, 65_536),
    valueBytes: whole('value-bytes', 'valueBytes', 0, limits.valueBytesMax),
    keys: whole('keys', 'keys', 1, 100_000_000),
    seed: whole('seed', 'seed', 0, 2 ** 32),
  }
}

async function runBench(
  invocation: Invocation,
  database: Database,
  name: WorkloadName,
  flags: BenchFlags,
  freshness: ReturnType<typeof freshnessOf>,
): Promise<ExitCode | undefined> {
  const values = new Values(flags.valueBytes, flags.seed + 1)
  if (needsKeys(name)) {
    invocation.say(`writing ${flags.keys} keys first`)
    await load(database, flags, values)
  }
  const { build } = await import('hdr-histogram-js')
  const latencies = build({ lowestDiscernibleValue: 1, highestTrackableValue: 3_600_000_000, numberOfSignificantValueDigits: 3 })
  const run = new Run(latencies, database, new Workload(name, flags.keys, flags.seed), values, freshness)
  const seconds = await run.loop(flags.concurrency, flags.seconds)
  const result = resultOf(name, run, seconds)
  const text = [
    `${name}: ${result.operations} operations in ${seconds.toFixed(1)} s, ${result.perSecond}/s, ${result.errors} errors`,
    `latency ms: p50 ${result.p50}, p99 ${result.p99}, p99.9 ${result.p999}, max ${result.max}`,
  ].join('\n')
  invocation.print(result, text)
  if (run.firstError !== undefined) invocation.say(`first error: ${String(run.firstError)}`)
  return run.operations === 0 ? exitCode.failed : undefined
}

async function load(database: Database, flags: BenchFlags, values: Values): Promise<void> {
  const flight = new InFlight(LOAD_CONCURRENCY, LOAD_BYTES)
  for (let number = 0; number < flags.keys; number++) {
    await flight.add(flags.valueBytes, async () => {
      await database.put(keyOf(number), values.next())
    })
  }
  await flight.settled()
  flight.throwIfFailed()
}

/** One measured closed loop. */
class Run {
  readonly #database: Database
  readonly #workload: Workload
  readonly #values: Values
  readonly #freshness: ReturnType<typeof freshnessOf>
  /** Microseconds. */
  readonly latencies: Histogram
  operations = 0
  errors = 0
  firstError: unknown

  constructor(latencies: Histogram, database: Database, workload: Workload, values: Values, freshness: ReturnType<typeof freshnessOf>) {
    this.latencies = latencies
    this.#database = database
    this.#workload = workload
    this.#values = values
    this.#freshness = freshness
  }

  /** Returns the seconds until the last operation had ended. */
  async loop(concurrency: number, seconds: number): Promise<number> {
    const startMs = performance.now()
    const endMs = startMs + seconds * 1000
    await Promise.all(Array.from({ length: concurrency }, () => this.#worker(endMs)))
    return (performance.now() - startMs) / 1000
  }

  async #worker(endMs: number): Promise<void> {
    for (let beginMs = performance.now(); beginMs < endMs; beginMs = performance.now()) {
      try {
        await this.#perform(this.#workload.next())
        this.operations++
        this.latencies.recordValue(Math.max(1, Math.round((performance.now() - beginMs) * 1000)))
      } catch (error) {
        this.errors++
        this.firstError ??= error
      }
    }
  }

  async #perform(operation: Operation): Promise<void> {
    const key = keyOf(operation.key)
    switch (operation.kind) {
      case 'put':
        await this.#database.put(key, this.#values.next())
        return
      case 'get':
        await this.#database.get(key, this.#freshness)
        return
      case 'read-modify-write':
        await this.#database.get(key, this.#freshness)
        await this.#database.put(key, this.#values.next())
        return
      case 'scan':
        for await (const record of this.#database.scan({ start: key, limit: operation.limit, ...this.#freshness }))
          if (record.key.length === 0) return
        return
    }
  }
}

function resultOf(workload: WorkloadName, run: Run, seconds: number) {
  const ms = (microseconds: number) => Math.round(microseconds) / 1000
  const { latencies } = run
  // The histogram answers with the upper end of a bucket.
  const percentile = (percent: number) => ms(Math.min(latencies.getValueAtPercentile(percent), latencies.maxValue))
  return {
    workload,
    operations: run.operations,
    seconds: Math.round(seconds * 1000) / 1000,
    perSecond: Math.round(run.operations / seconds),
    p50: percentile(50),
    p99: percentile(99),
    p999: percentile(99.9),
    max: ms(latencies.maxValue),
    errors: run.errors,
  }
}
