#!/usr/bin/env node
/**
 * Injects faults into the storage engine, at each point where one can be.
 *
 *   npm run faults                       every operation on files of four histories: with a WAL and without, plain and with what options add
 *   npm run faults -- --seeds 10         of forty histories
 *   npm run faults -- --seed 17          of these four only
 *   npm run faults -- --stride 5         each fifth point
 *   npm run faults -- --no-pairs         without the pairs of faults, which are most of the points
 *
 * Prints a line for each sweep, and how many points were tried and how many values were wrong in the end. What is wrong names its point.
 */
import { Command } from 'commander'
import { sweepFlippedReads, sweepFlips, sweepMissingFiles, sweepTornManifest } from './damage-sweeps.ts'
import { makeScript } from './script.ts'
import {
  sweepErrors,
  sweepErrorThenPowerLoss,
  sweepFullDisk,
  sweepFullDiskWaitedFor,
  sweepOpenLimit,
  sweepPowerLoss,
  sweepRecoveryErrors,
  sweepRecoveryPowerLoss,
} from './sweeps.ts'
import { type Dose, describeTally, type Tally } from './tally.ts'

interface Options {
  readonly seeds: string
  readonly from: string
  readonly seed?: string
  readonly stride: string
  readonly pairs: boolean
}

type Sweep = () => Promise<Tally | Tally[]>

/** Images of a broken recovery, and places of each kind of block, for one seed. */
const images = 6
const flipsPerKind = 100

/** Of damage to files, which no script makes. */
function damageSweepsOf(seed: number, wal: boolean, dose: Dose): Sweep[] {
  return [
    () => sweepFlips(wal, 'close', flipsPerKind, seed),
    () => sweepFlips(wal, 'kill', flipsPerKind, seed),
    () => sweepFlippedReads(wal, dose, seed),
  ]
}

function sweepsOf(seed: number, wal: boolean, rich: boolean, dose: Dose, pairs: boolean): Sweep[] {
  const script = makeScript(seed, wal, rich)
  return [
    () => sweepPowerLoss(script, dose),
    () => sweepErrors(script, dose),
    () => sweepOpenLimit(script, dose),
    () => sweepFullDisk(script, dose),
    ...(wal ? [] : [() => sweepFullDiskWaitedFor(script, dose)]),
    () => sweepRecoveryPowerLoss(script, dose, images),
    () => sweepRecoveryErrors(script, dose, images),
    ...(pairs ? [() => sweepErrorThenPowerLoss(script, dose, dose)] : []),
  ]
}

/** Those that depend on no seed. */
const fixedSweeps: Sweep[] = [true, false].flatMap((wal) => [
  () => sweepTornManifest(wal, { stride: 1, first: 0 }),
  () => sweepMissingFiles(wal, 'close'),
  () => sweepMissingFiles(wal, 'kill'),
])

async function main(options: Options): Promise<number> {
  const first = Number(options.seed ?? options.from)
  const count = options.seed === undefined ? Number(options.seeds) : 1
  const dose = { stride: Number(options.stride), first: 0 }
  const seeds = Array.from({ length: count }, (_, i) => first + i)
  const sweeps = [
    ...fixedSweeps,
    ...seeds.flatMap((seed) =>
      [true, false].flatMap((wal) => [
        ...damageSweepsOf(seed, wal, dose),
        ...sweepsOf(seed, wal, false, dose, options.pairs),
        ...sweepsOf(seed, wal, true, dose, options.pairs),
      ]),
    ),
  ]
  const start = performance.now()
  let points = 0
  let failed = 0
  for (const sweep of sweeps) {
    try {
      for (const tally of [await sweep()].flat()) {
        console.log(describeTally(tally))
        points += tally.points
      }
    } catch (error) {
      failed++
      console.log(`FAILED ${error instanceof Error ? error.message : error}`)
    }
  }
  const seconds = (performance.now() - start) / 1000
  console.log(`${points} injection points, ${failed} wrong values or losses; ${seconds.toFixed(0)} s`)
  console.log(`${sweeps.length - failed} passed, ${failed} failed`)
  return failed === 0 ? 0 : 1
}

await new Command('faults')
  .description('injects faults into the storage engine, at each point where one can be')
  .option('--seeds <n>', 'how many seeds, each two histories with a WAL and two without', '1')
  .option('--from <n>', 'the first seed', '11')
  .option('--seed <n>', 'this seed only')
  .option('--stride <n>', 'only each so-many-th point, and of the second of two faults, too', '1')
  .option('--no-pairs', 'leave pairs of faults out')
  .action(async (options: Options) => {
    process.exitCode = await main(options)
  })
  .parseAsync()
