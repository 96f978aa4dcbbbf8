#!/usr/bin/env node
/**
 * Injects faults into the storage engine, at each point where one can be.
 *
 *   npm run faults                       every operation on files of two histories, with a WAL and without
 *   npm run faults -- --seeds 10         of twenty histories
 *   npm run faults -- --seed 17          of these two only
 *   npm run faults -- --stride 5         each fifth point
 *
 * Prints a line for each sweep, and how many points were tried and how many values were wrong in the end. What is wrong names its point.
 */
import { Command } from 'commander'
import { sweepFlippedReads, sweepFlips, sweepMissingFiles, sweepTornManifest } from './damage-sweeps.ts'
import { makeScript } from './script.ts'
import {
  sweepErrors,
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
}

type Sweep = () => Promise<Tally | Tally[]>

/** Images of a broken recovery, and places of each kind of block, for one seed. */
const images = 6
const flipsPerKind = 100

function sweepsOf(seed: number, wal: boolean, dose: Dose): Sweep[] {
  const script = makeScript(seed, wal)
  return [
    () => sweepPowerLoss(script, dose),
    () => sweepErrors(script, dose),
    () => sweepOpenLimit(script, dose),
    () => sweepFullDisk(script, dose),
    ...(wal ? [] : [() => sweepFullDiskWaitedFor(script, dose)]),
    () => sweepRecoveryPowerLoss(script, dose, images),
    () => sweepRecoveryErrors(script, dose, images),
    () => sweepFlips(wal, 'close', flipsPerKind, seed),
    () => sweepFlips(wal, 'kill', flipsPerKind, seed),
    () => sweepFlippedReads(wal, dose, seed),
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
  const sweeps = [...fixedSweeps, ...seeds.flatMap((seed) => [...sweepsOf(seed, true, dose), ...sweepsOf(seed, false, dose)])]
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
  .option('--seeds <n>', 'how many seeds, each a history with a WAL and one without', '1')
  .option('--from <n>', 'the first seed', '11')
  .option('--seed <n>', 'this seed only')
  .option('--stride <n>', 'only each so-many-th point', '1')
  .action(async (options: Options) => {
    process.exitCode = await main(options)
  })
  .parseAsync()
