import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Executor } from '../../../base/executor.ts'
import { type Compiled, compile } from '../../base/compile.ts'
import { describeFailure, shrinkFailure, stepsOf, tryRun } from './comparison.ts'
import { Machine } from './machine.ts'
import { fixedSets, type OptionSet, randomSet, setByName } from './option-sets.ts'

const seeds = [1, 2]
const steps = 250

let compiled: Compiled
let machine: Machine

beforeAll(() => {
  compiled = compile(new URL('../../../lsm/worker.ts', import.meta.url))
  machine = new Machine(compiled.url)
})

afterAll(async () => {
  await machine.close()
  compiled.remove()
})

/** More: `npm run metamorphic`. */
describe.each(seeds)('one list of operations (seed %i)', (seed) => {
  it.each([...fixedSets, randomSet(2 * seed), randomSet(2 * seed + 1)])('has one history: $name', async (set) => {
    const failure = await tryRun(machine, { seed, steps }, set)
    if (failure !== undefined) throw new Error(describeFailure(await shrinkFailure(machine, failure, 100)))
  })
})

/** Compactions forget that deeper levels may hold what a tombstone hides. */
function forgetful(executor: Executor): Executor {
  return {
    run: (name, input) => executor.run(name, name === 'lsm.compact' ? { ...input, deeper: [] } : input),
    close: () => executor.close(),
  }
}

it('a compaction that drops tombstones too early is found, by a list that is made short and is run again by what is printed', async () => {
  const broken: OptionSet = { ...setByName('tiny'), wrapExecutor: forgetful }
  let failure: Awaited<ReturnType<typeof tryRun>>
  let seed = 0
  while (failure === undefined && seed < 20) failure = await tryRun(machine, { seed: ++seed, steps }, broken)
  if (failure === undefined) throw new Error('it is found by none of 20 lists')
  const smallest = await shrinkFailure(machine, failure, 150)
  expect(stepsOf(smallest).length).toBeLessThan(60)
  expect(describeFailure(smallest)).toContain(`again: npm run metamorphic -- --seed ${seed} --steps ${steps} --set tiny --only s`)
  expect((await tryRun(machine, smallest, broken))?.difference).toBe(smallest.difference)
  expect(await tryRun(machine, smallest, setByName('tiny'))).toBeUndefined()
})
