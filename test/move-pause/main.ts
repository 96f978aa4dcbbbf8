#!/usr/bin/env node
/**
 * What moving a shard does to those who use the cluster: one shard moves back and forth while eight clients read and write it at a steady
 * rate, and others are used beside it. Real processes on this machine, which also makes the load.
 *
 *   npm run bench:moves                             # all of it, about 20 minutes
 *   npm run bench:moves -- --only pause --moves 20  # 256 MiB: pauses, failed calls, other shards, the history
 *   npm run bench:moves -- --only sizes             # 1 MiB and 1 GiB beside 256 MiB
 *   npm run bench:moves -- --only rate              # how fast an idle cluster copies, and with a limit
 *   npm run bench:moves -- --quick                  # a sixteenth of the data, few moves
 */
import Table from 'cli-table3'
import { Command } from 'commander'
import { letHeapGrow } from '../../base/node-heap.ts'
import { Interrupt, Interrupted } from '../chaos/interrupt.ts'
import { inMB, playRates, type Rate } from './rate.ts'
import { playMoves, type StageResult } from './stage.ts'

const sections = ['pause', 'sizes', 'rate'] as const
type Section = (typeof sections)[number]

const pauseMsWanted = { median: 25, most: 100 } as const
const othersRatioWanted = 1.5
const sizesRatioWanted = 1.5
const idleRateWanted = 150e6
const limit = 20e6
const limitShareWanted = 0.1
/** A fault may name hundreds of keys. */
const faultChars = 120

interface Options {
  readonly quick?: boolean
  readonly only: string
  readonly moves?: string
  readonly seed: string
  readonly perSecond: string
  readonly othersPerSecond: string
}

class Bench {
  readonly #table = new Table({ head: ['shard', 'figure', 'measured', 'wanted', ''], style: { head: [], border: [], compact: true } })
  #met = 0
  #short = 0

  /** `isMet` not given: nothing is wanted of it. */
  tell(shard: string, figure: string, measured: string, wanted = '', isMet?: boolean): void {
    if (isMet === true) this.#met++
    if (isMet === false) this.#short++
    this.#table.push([shard, figure, measured, wanted, isMet === undefined ? '' : isMet ? 'met' : 'short'])
  }

  /** Returns whether all was met. */
  print(): boolean {
    console.log(this.#table.toString())
    console.log(`${this.#met} met, ${this.#short} short`)
    return this.#short === 0
  }

  tellPauses(shard: string, { pauses, calmGapsMs, calls, late, failed, lastError, fault, checked }: StageResult): void {
    const gaps = pauses.map(({ gapMs }) => gapMs)
    this.tell(shard, 'pause for clients, ms: median', median(gaps).toFixed(1), ...atMost(median(gaps), pauseMsWanted.median))
    this.tell(shard, `at most, of ${gaps.length}`, Math.max(...gaps).toFixed(1), ...atMost(Math.max(...gaps), pauseMsWanted.most))
    this.tell(shard, 'with no move: median, at most', spread(calmGapsMs))
    this.tell(shard, 'longest call, ms: median, at most', spread(pauses.map(({ callMs }) => callMs)))
    this.tell(shard, "servers' pauseMs: median, at most", spread(pauses.map(({ serverMs }) => serverMs)))
    this.tell(shard, 'a move took, ms: median, at most', spread(pauses.map(({ tookMs }) => tookMs)))
    this.tell(shard, 'calls; begun late by the load', `${calls}; ${late}`)
    this.tell(shard, 'failed calls', failed === 0 ? '0' : `${failed}: ${lastError}`, '0', failed === 0)
    this.tell(shard, 'linearizable', fault === '' ? `${checked} operations` : fault.slice(0, faultChars), 'yes', fault === '')
  }

  tellOthers(shard: string, { othersBeforeMs, othersDuringMs }: StageResult): void {
    const ratio = othersDuringMs / othersBeforeMs
    const measured = `${othersBeforeMs.toFixed(1)}, ${othersDuringMs.toFixed(1)}: ${ratio.toFixed(2)} times`
    this.tell(shard, 'p99 of other shards, ms: before, during', measured, ...atMost(ratio, othersRatioWanted))
  }

  tellRates(shard: string, where: string, rates: readonly Rate[]): void {
    const sums = rates.map(({ bytes, copyingSeconds }) => (3 * bytes) / copyingSeconds)
    this.tell(
      shard,
      `idle copy ${where}, MB/s into three replicas: median`,
      inMB(median(sums)),
      `>= ${inMB(idleRateWanted)}`,
      median(sums) >= idleRateWanted,
    )
  }

  tellLimited(shard: string, where: string, rates: readonly Rate[]): void {
    const rate = median(rates.map(({ perReplica }) => perReplica))
    const isMet = Math.abs(rate - limit) <= limitShareWanted * limit
    this.tell(
      shard,
      `copy ${where}, limit ${inMB(limit)} MB/s: into a replica`,
      inMB(rate),
      `${inMB(limit)} +- ${limitShareWanted * 100} %`,
      isMet,
    )
  }
}

function atMost(value: number, most: number): [wanted: string, isMet: boolean] {
  return [`<= ${most}`, value <= most]
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

function spread(values: readonly number[]): string {
  return `${median(values).toFixed(1)}, ${Math.max(...values).toFixed(1)}`
}

async function main(options: Options): Promise<void> {
  const chosen = new Set(options.only.split(',')) as ReadonlySet<Section>
  for (const section of chosen)
    if (!sections.includes(section)) throw new RangeError(`no section '${section}'; there are ${sections.join(', ')}`)
  console.log(`seed ${options.seed}`)
  letHeapGrow()
  const bench = new Bench()
  const interrupt = new Interrupt()
  let isWhole = false
  try {
    await play(options, chosen, bench, interrupt.happened)
    isWhole = true
  } catch (error) {
    // What was measured by then is not lost.
    if (!(error instanceof Interrupted)) throw error
  } finally {
    interrupt.dispose()
  }
  const isMet = bench.print()
  if (!isWhole) process.exit(1)
  if (!isMet) process.exitCode = 1
}

async function play(options: Options, chosen: ReadonlySet<Section>, bench: Bench, ended: Promise<never>): Promise<void> {
  const { quick = false } = options
  const shared = { seed: Number(options.seed), ended, tell: (line: string) => console.error(line) }
  const rates = { perSecond: Number(options.perSecond), othersPerSecond: Number(options.othersPerSecond) }
  const movesOf = (mib: number, moves: number) =>
    playMoves({ ...shared, ...rates, mib, moves: Number(options.moves ?? moves), calmMs: quick ? 3000 : 4000 })
  const mib = quick ? 16 : 256
  const sizes = quick ? [1, 16, 64] : [1, 256, 1024]
  const played = new Map<number, StageResult>()
  if (chosen.has('pause')) {
    const result = await movesOf(mib, quick ? 4 : 20)
    played.set(mib, result)
    bench.tellPauses(`${mib} MiB`, result)
    bench.tellOthers(`${mib} MiB`, result)
  }
  if (chosen.has('sizes')) {
    for (const size of sizes) {
      if (played.has(size)) continue
      const result = await movesOf(size, quick ? 4 : 6)
      played.set(size, result)
      bench.tellPauses(`${size} MiB`, result)
    }
    const medians = sizes.map((size) => median((played.get(size)?.pauses ?? []).map(({ gapMs }) => gapMs)))
    const ratio = Math.max(...medians) / Math.min(...medians)
    const measured = `${medians.map((ms) => ms.toFixed(1)).join(', ')}: ${ratio.toFixed(2)} times`
    bench.tell(`${sizes.join(', ')} MiB`, 'median pauses, ms', measured, ...atMost(ratio, sizesRatioWanted))
  }
  if (chosen.has('rate')) {
    for (const [nodes, where] of [
      [3, 'on shared nodes'],
      [6, 'to other nodes'],
    ] as const) {
      bench.tellRates(`${mib} MiB`, where, await playRates({ ...shared, nodes, mib, moves: quick ? 2 : 4 }))
      bench.tellLimited(`${mib} MiB`, where, await playRates({ ...shared, nodes, mib, moves: 2, limit }))
    }
  }
}

await new Command('bench:moves')
  .option('--quick', 'a sixteenth of the data, few moves')
  .option('--only <sections>', `some of ${sections.join(', ')}`, sections.join(','))
  .option('--moves <n>', 'of each size (default: 20 of 256 MiB, 6 of others; with --quick 4)')
  .option('--per-second <n>', 'calls on the moving shard', '2000')
  .option('--others-per-second <n>', 'calls on other shards', '200')
  .option('--seed <n>', 'of the load', '1')
  .action(main)
  .parseAsync()
