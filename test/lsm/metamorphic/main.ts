#!/usr/bin/env node
/**
 * One random list of steps after the other, each played to databases of all option sets, whose answers must be those of the model.
 *
 *   npm run metamorphic -- --seeds 100                       seeds 1 to 100, each with all fixed sets and two random ones
 *   npm run metamorphic -- --seed 17 --set tiny              one seed, one set
 *   npm run metamorphic -- --seed 17 --set tiny --only s3-9  these steps of the list only
 *
 * A failure is made smaller and printed with its option set, its steps and the command that runs it again.
 */
import { Command } from 'commander'
import { describeFailure, shrinkFailure, tryRun } from './comparison.ts'
import { Machine } from './machine.ts'
import { fixedSets, randomSet, setByName } from './option-sets.ts'

interface Options {
  readonly seeds: string
  readonly from: string
  readonly seed?: string
  readonly steps: string
  readonly set?: string
  readonly only?: string
  readonly shrinkRuns: string
}

async function main(options: Options): Promise<number> {
  const machine = new Machine(new URL('../../../lsm/worker.js', import.meta.url))
  const first = Number(options.seed ?? options.from)
  const count = options.seed === undefined ? Number(options.seeds) : 1
  const start = performance.now()
  let histories = 0
  let failed = 0
  for (let seed = first; seed < first + count; seed++) {
    const sets = options.set === undefined ? [...fixedSets, randomSet(2 * seed), randomSet(2 * seed + 1)] : [setByName(options.set)]
    for (const set of sets) {
      const failure = await tryRun(machine, { seed, steps: Number(options.steps), only: options.only }, set)
      histories++
      if (failure === undefined) continue
      failed++
      console.log(describeFailure(await shrinkFailure(machine, failure, Number(options.shrinkRuns))))
    }
    if ((seed - first + 1) % 20 === 0) console.error(`${seed - first + 1} of ${count} seeds`)
  }
  await machine.close()
  const seconds = (performance.now() - start) / 1000
  console.log(`${count} lists of ${options.steps} steps, ${histories} histories, ${failed} differ; ${seconds.toFixed(0)} s`)
  console.log(`${histories - failed} passed, ${failed} failed`)
  return failed === 0 ? 0 : 1
}

await new Command('metamorphic')
  .description('plays random lists of steps to databases of many option sets, which must all answer the same')
  .option('--seeds <n>', 'how many seeds', '20')
  .option('--from <n>', 'the first seed', '1')
  .option('--seed <n>', 'this seed only')
  .option('--steps <n>', 'steps of a list', '400')
  .option('--set <name>', 'this option set only')
  .option('--only <steps>', 'these steps of the list only, such as s3-9,s12')
  .option('--shrink-runs <n>', 'runs that making a failure smaller may take; 0: none', '300')
  .action(async (options: Options) => {
    process.exitCode = await main(options)
  })
  .parseAsync()
