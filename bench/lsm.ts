#!/usr/bin/env node
/**
 * The storage engine beside LevelDB through `classic-level`, from the same JavaScript, sides interleaved, each measurement in a process of its
 * own: medians of the rounds, the ratio of each pair, and the ratio that we want.
 *
 *   npm run bench:lsm                     # about 25 minutes
 *   npm run bench:lsm -- --quick          # a tenth of the records, one round
 *   npm run bench:lsm -- --only fill,mix  # some sections
 *   npm run bench:lsm -- --only large     # values of 64 KiB, which are in no other run
 *
 * Both sides: no compression, no sync, keys of 16 bytes in random order, values that do not compress, write buffers and block caches of the same size.
 */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import Table from 'cli-table3'
import { Command } from 'commander'
import { type Shape, userBytes } from './lsm/records.ts'
import { type SideName, sideNames } from './lsm/stores.ts'
import type { Results, Spec, Work } from './lsm/workloads.ts'
import { median } from './median.ts'

const MiB = 1024 * 1024
const cacheBytes = 64 * MiB
const sideModule = new URL('./lsm/side.js', import.meta.url).pathname
const sections = ['fill', 'get', 'scan', 'mix', 'soak', 'open', 'large'] as const
type Section = (typeof sections)[number]

/** What one figure should be: as a ratio to LevelDB's, or as a bound of ours. */
interface Target {
  readonly figure: string
  readonly ratio?: number
  readonly atMost?: number
  /** Ours may be no more than this many times LevelDB's. */
  readonly ratioAtMost?: number
}

/** One line or some of the table: what is done, on what, and what we want of it. */
interface Measurement {
  readonly name: string
  readonly work: Work
  readonly cacheBytes?: number
  /** How often in a round, of 0 on; once if not given. */
  readonly times?: (round: number) => number
  readonly targets: readonly Target[]
  /** Not given: those of its course. */
  readonly sides?: readonly SideName[]
}

/** Measurements on one store after the other, the first of which fills it. */
interface Course {
  readonly shape: Shape
  readonly writeBufferBytes: number
  readonly measurements: readonly Measurement[]
  /** Not given: both. */
  readonly sides?: readonly SideName[]
  /** At most so many, however many are asked for. */
  readonly rounds?: number
}

function courses(scale: number, only: ReadonlySet<Section>, mixSeconds: number): Course[] {
  const small: Shape = { records: 2_000_000 * scale, valueBytes: 100 }
  const large: Shape = { records: 200_000 * scale, valueBytes: 4096 }
  const seconds = Math.max(1, 2 * scale)
  const list: Course[] = []
  for (const shape of [small, large]) {
    for (const writeBufferBytes of [64 * MiB, 16 * MiB]) {
      const isFirst = writeBufferBytes === 64 * MiB
      const measurements = [fillOf(shape, writeBufferBytes)]
      if (isFirst && only.has('get')) measurements.push(...getsOf(shape, seconds))
      if (isFirst && only.has('scan')) measurements.push(scansOf(seconds))
      if (isFirst && only.has('mix') && shape === small) measurements.push(mixOf(mixSeconds))
      if (isFirst && only.has('soak') && shape === small) measurements.push(soakOf(180 * scale))
      if (isFirst && only.has('fill')) measurements.push({ ...overwriteOf(), sides: ['ostraka'] })
      if (only.has('fill') || measurements.length > 1) list.push({ shape, writeBufferBytes, measurements })
    }
  }
  if (only.has('large')) list.push(hugeOf(scale))
  if (only.has('open')) list.push(openOf(scale))
  return list
}

function fillOf(shape: Shape, writeBufferBytes: number, only?: readonly Target[]): Measurement {
  const ratio = shape.valueBytes === 100 ? 1.5 : writeBufferBytes === 64 * MiB ? 1 : 1.3
  const targets: Target[] = [
    { figure: 'perSecond', ratio },
    { figure: 'drainedPerSecond' },
    { figure: 'p50Ms' },
    { figure: 'p999Ms', atMost: 50 },
    { figure: 'maxMs' },
    { figure: 'loopDelayMs' },
    { figure: 'spaceAmplification', atMost: 1.2 },
    { figure: 'writeAmplification' },
  ]
  return { name: `fill, ${writeBufferBytes / MiB} MiB`, work: { kind: 'fill' }, targets: only ?? targets }
}

/** What separating large values from their keys could save. */
function hugeOf(scale: number): Course {
  const shape: Shape = { records: 20_000 * scale, valueBytes: 65_536 }
  const writeBufferBytes = 64 * MiB
  const figures = ['perSecond', 'drainedPerSecond', 'spaceAmplification', 'writeAmplification']
  const targets = figures.map((figure): Target => ({ figure }))
  return { shape, writeBufferBytes, measurements: [fillOf(shape, writeBufferBytes, targets), { ...overwriteOf(), targets }], rounds: 1 }
}

/** Once: what is written and what remains differs little from round to round. */
function overwriteOf(): Measurement {
  const targets: Target[] = [
    { figure: 'perSecond' },
    { figure: 'drainedPerSecond' },
    { figure: 'p999Ms', atMost: 50 },
    { figure: 'spaceAmplification' },
    { figure: 'writeAmplification' },
    { figure: 'compactedSpaceAmplification', atMost: 1.2 },
  ]
  return { name: 'overwrite, 64 MiB', work: { kind: 'overwrite' }, times: (round) => (round === 0 ? 1 : 0), targets }
}

function getsOf(shape: Shape, seconds: number): Measurement[] {
  const isSmall = shape.valueBytes === 100
  // A block a record, so that they take half of the cache.
  const warm = cacheBytes / 2 / Math.max(4096, shape.valueBytes)
  const tenth = Math.floor(userBytes(shape) / 10)
  const missing = (dropsPageCache: boolean, ratio: number): Measurement => ({
    name: dropsPageCache ? 'get, 10 x the cache, from disk' : 'get, 10 x the cache, page-cached',
    work: { kind: 'misses', seconds, dropsPageCache },
    cacheBytes: tenth,
    targets: [
      { figure: 'getPerSecond', ratio },
      { figure: 'getP99Ms' },
      ...(dropsPageCache ? [] : [{ figure: 'fromDiskPercent' }, { figure: 'tries' }]),
    ],
  })
  const hot: Measurement = {
    name: 'get, hot',
    work: { kind: 'hot', warm, seconds },
    targets: [{ figure: 'getPerSecond', ratio: isSmall ? 2.5 : 2 }, { figure: 'getP99Ms' }, { figure: 'getSyncPerSecond', ratio: 1.5 }],
  }
  const isRoot = process.platform === 'linux' && process.getuid?.() === 0
  if (!isRoot) console.error('reads from disk are left out: dropping the page cache takes root on Linux')
  return [hot, missing(false, 1.2), ...(isRoot ? [missing(true, 0.7)] : [])]
}

function scansOf(seconds: number): Measurement {
  return {
    name: 'scans',
    work: { kind: 'scans', seconds },
    targets: [
      { figure: 'fullPerSecond', ratio: 3 },
      { figure: 'shortPerSecond', ratio: 3 },
    ],
  }
}

function mixOf(seconds: number): Measurement {
  return {
    name: 'half reads, half writes',
    work: { kind: 'mix', seconds },
    // Five in three rounds.
    times: (round) => (round === 2 ? 1 : 2),
    targets: [
      { figure: 'perSecond', ratio: 1 },
      { figure: 'p99Ms', ratioAtMost: 1 },
      { figure: 'p999Ms' },
      { figure: 'maxMs' },
      { figure: 'loopDelayMs', atMost: 20 },
    ],
  }
}

/** Ours alone, once: whether it stays as even as it was in half a minute. */
function soakOf(seconds: number): Measurement {
  const targets: Target[] = [{ figure: 'perSecond' }, { figure: 'p99Ms' }, { figure: 'maxMs' }, { figure: 'loopDelayMs', atMost: 20 }]
  return { name: 'soak', work: { kind: 'mix', seconds }, times: (round) => (round === 0 ? 1 : 0), targets, sides: ['ostraka'] }
}

/** Ours alone: LevelDB takes minutes to fill so much. */
function openOf(scale: number): Course {
  const shape: Shape = { records: 10_000_000 * scale, valueBytes: 100 }
  const writeBufferBytes = 64 * MiB
  // What a memtable takes for them is just below its budget.
  const crash: Work = { kind: 'crash', writes: 380_000 }
  const open: Work = { kind: 'open', queries: 500_000 * scale }
  // `besideMiB`: what the process takes beside the cache, the memory of memtables and what its workers hold, after the queries; `settledBesideMiB`: once
  // what was due at the open is compacted.
  const memory: Target[] = [
    { figure: 'rssMiB' },
    { figure: 'maxRssMiB' },
    { figure: 'memtableMiB' },
    { figure: 'workersMiB' },
    { figure: 'besideMiB', atMost: 150 },
    { figure: 'settledBesideMiB', atMost: 150 },
    { figure: 'compactions' },
    { figure: 'settledCompactions' },
  ]
  return {
    shape,
    writeBufferBytes,
    measurements: [
      { name: 'fill', work: { kind: 'fill' }, targets: [{ figure: 'perSecond' }, { figure: 'drainedPerSecond' }] },
      { name: 'open after close', work: open, targets: [{ figure: 'openMs', atMost: 2000 }, ...memory] },
      { name: 'a full memtable', work: crash, targets: [] },
      { name: 'open after kill -9', work: open, targets: [{ figure: 'openMs', atMost: 10_000 }, ...memory] },
    ],
    sides: ['ostraka'],
    rounds: 1,
  }
}

/** Both sides of one round of a measurement, as far as they took part. */
type Pair = Partial<Readonly<Record<SideName, Results>>>

class Bench {
  readonly #root = mkdtempSync(path.join(os.tmpdir(), 'ostraka-bench-lsm-'))
  readonly #table = new Table({
    head: ['values', 'what', 'figure', ...sideNames, 'ratio', 'wanted', ''],
    style: { head: [], border: [], compact: true },
  })
  met = 0
  short = 0

  async run(course: Course, rounds: number): Promise<void> {
    const pairs = course.measurements.map((): Pair[] => [])
    const count = Math.min(rounds, course.rounds ?? rounds)
    const sides = course.sides ?? sideNames
    for (let round = 0; round < count; round++) {
      const order = round % 2 === 0 ? sides : [...sides].reverse()
      const folders = new Map(order.map((side) => [side, mkdtempSync(path.join(this.#root, `${side}-`))]))
      for (const [i, measurement] of course.measurements.entries()) {
        let pair: Pair = {}
        for (let again = 0; again < (measurement.times?.(round) ?? 1); again++) {
          const results = new Map<SideName, Results>()
          for (const side of order.filter((side) => measurement.sides?.includes(side) !== false)) {
            results.set(side, await measure(course, measurement, side, folders.get(side) ?? ''))
          }
          pair = Object.fromEntries(results)
          pairs[i]?.push(pair)
        }
        const figure = measurement.targets[0]?.figure
        const told = sides.map((side) => `${side} ${round3(pair[side]?.[figure ?? ''] ?? Number.NaN)}`).join(', ')
        const what = `round ${round + 1} of ${count}: ${course.shape.valueBytes} B, ${measurement.name}`
        if (Object.keys(pair).length > 0) console.error(figure === undefined ? what : `${what}: ${figure} ${told}`)
      }
      for (const folder of folders.values()) rmSync(folder, { recursive: true })
    }
    for (const [i, measurement] of course.measurements.entries()) this.#tell(course, measurement, pairs[i] ?? [])
  }

  print(): void {
    console.log(this.#table.toString())
    console.log(`${this.met} met, ${this.short} short`)
  }

  dispose(): void {
    rmSync(this.#root, { recursive: true, force: true })
  }

  #tell(course: Course, { name, targets }: Measurement, pairs: readonly Pair[]): void {
    for (const target of targets) {
      const of = (side: SideName) => median(pairs.map((pair) => pair[side]?.[target.figure] ?? Number.NaN))
      const ratio = median(
        pairs.map((pair) => (pair.ostraka?.[target.figure] ?? Number.NaN) / (pair['classic-level']?.[target.figure] ?? Number.NaN)),
      )
      const isMet = verdict(target, of('ostraka'), ratio)
      if (isMet === true) this.met++
      if (isMet === false) this.short++
      this.#table.push([
        `${course.shape.valueBytes} B`,
        name,
        target.figure,
        round3(of('ostraka')),
        round3(of('classic-level')),
        Number.isNaN(ratio) ? '' : ratio.toFixed(2),
        wanted(target),
        isMet === undefined ? '' : isMet ? 'met' : 'short',
      ])
    }
  }
}

async function measure({ shape, writeBufferBytes }: Course, measurement: Measurement, side: SideName, folder: string): Promise<Results> {
  const spec: Spec = { side, folder, shape, writeBufferBytes, cacheBytes: measurement.cacheBytes ?? cacheBytes, work: measurement.work }
  const { kind } = measurement.work
  // Memory is measured as Node is without flags.
  const flags = kind === 'open' ? [] : ['--max-semi-space-size=64']
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [...flags, sideModule, JSON.stringify(spec)], {
      env: { ...process.env, UV_THREADPOOL_SIZE: '8' },
    })
    return JSON.parse(stdout) as Results
  } catch (error) {
    if (kind === 'crash' && (error as { signal?: unknown }).signal === 'SIGKILL') return {}
    throw error
  }
}

/** undefined where nothing is wanted. */
function verdict({ ratio, atMost, ratioAtMost }: Target, ours: number, found: number): boolean | undefined {
  if (ratio !== undefined) return found >= ratio
  if (ratioAtMost !== undefined) return found <= ratioAtMost
  if (atMost !== undefined) return ours <= atMost
  return undefined
}

function wanted({ ratio, atMost, ratioAtMost }: Target): string {
  if (ratio !== undefined) return `ratio >= ${ratio}`
  if (ratioAtMost !== undefined) return `ratio <= ${ratioAtMost}`
  return atMost === undefined ? '' : `<= ${atMost}`
}

function round3(value: number): string {
  return Number.isFinite(value) ? Number(value.toPrecision(3)).toLocaleString('en') : '?'
}

interface Options {
  readonly quick?: boolean
  readonly only: string
  readonly rounds?: string
}

async function main({ quick = false, only, rounds }: Options): Promise<void> {
  const chosen = new Set(only.split(',')) as ReadonlySet<Section>
  for (const section of chosen)
    if (!sections.includes(section)) throw new RangeError(`no section '${section}'; there are ${sections.join(', ')}`)
  const bench = new Bench()
  // What was measured by then is not lost.
  const stop = () => {
    bench.print()
    bench.dispose()
    process.exit(1)
  }
  process.once('SIGINT', stop).once('SIGTERM', stop)
  try {
    const count = rounds === undefined ? (quick ? 1 : 3) : Number(rounds)
    for (const course of courses(quick ? 0.1 : 1, chosen, quick ? 5 : 30)) await bench.run(course, count)
    bench.print()
    if (bench.short > 0) process.exitCode = 1
  } finally {
    bench.dispose()
  }
}

await new Command('bench:lsm')
  .option('--quick', 'a tenth of the records, one round')
  .option('--rounds <n>', 'rounds of each side (default: 3, with --quick 1)')
  .option('--only <sections>', `some of ${sections.join(', ')}`, sections.filter((section) => section !== 'large').join(','))
  .action((options: Options) => main(options))
  .parseAsync()
