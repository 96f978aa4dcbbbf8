import { encodeFaults, parseFaults } from '../../sim/fault-journal.ts'
import { shrink } from '../../sim/shrink.ts'
import { expectedHistory, type History } from './history.ts'
import type { Machine } from './machine.ts'
import type { Opening, OptionSet } from './option-sets.ts'
import { describeStep, randomSteps, type Step } from './steps.ts'

export interface Run {
  readonly seed: number
  /** Of the whole list. */
  readonly steps: number
  /** Such as s1-4,s9: these of the list only. All if not given. */
  readonly only?: string | undefined
}

export interface Failure extends Run {
  readonly set: OptionSet
  /** The first line at which the histories part. */
  readonly difference: string
}

export function stepsOf({ seed, steps, only }: Run): Step[] {
  const all = randomSteps(seed, steps)
  if (only === undefined) return all
  const kept = parseFaults(only)
  return all.filter((_, i) => kept.has(`s${i + 1}`))
}

/** Plays a list to one database; undefined where it answers what the model does. */
export async function tryRun(machine: Machine, run: Run, set: OptionSet): Promise<Failure | undefined> {
  const steps = stepsOf(run)
  const expected = expectedHistory(steps)
  const found = await machine.play(steps, set, run.seed)
  const difference = differenceOf(steps, expected, found)
  return difference === undefined ? undefined : { ...run, set, difference }
}

function differenceOf(steps: readonly Step[], expected: History, found: History): string | undefined {
  for (let i = 0; i < Math.max(expected.length, found.length); i++) {
    if (expected[i] === found[i]) continue
    const step = steps[i]
    const what = step === undefined ? 'the end' : describeStep(step)
    return `step ${i + 1} of ${steps.length}, ${what}\n    expected ${shortened(expected[i])}\n    found    ${shortened(found[i])}`
  }
  return undefined
}

function shortened(line: string | undefined): string {
  const text = String(line).replace(/\.{4,}/g, (dots) => `(+${dots.length})`)
  return text.length <= 1500 ? text : `${text.slice(0, 1500)}…`
}

/** The failure with as few steps as can be found in `runsMax` runs. */
export async function shrinkFailure(machine: Machine, failure: Failure, runsMax: number): Promise<Failure> {
  const { seed, steps, set } = failure
  let smallest = failure
  const names = randomSteps(seed, steps).map((_, i) => `s${i + 1}`)
  const kept = failure.only === undefined ? undefined : parseFaults(failure.only)
  await shrink(
    names.filter((name) => kept?.has(name) ?? true),
    async (subset) => {
      const found = await tryRun(machine, { seed, steps, only: encodeFaults(subset) }, set)
      if (found !== undefined) smallest = found
      return found !== undefined
    },
    runsMax,
  )
  return smallest
}

function describeOpening({ options, cacheBytes, openTables, inline }: Opening, i: number): string {
  const more = `cache ${cacheBytes ?? 'large'}, open tables ${openTables ?? 'many'}${inline === true ? ', no threads' : ''}`
  return `  ${i === 0 ? 'opened with' : 'later with '} ${more}, ${JSON.stringify(options)}`
}

/** For people: the options, the list, the first difference and how to run it again. */
export function describeFailure(failure: Failure): string {
  const { seed, steps, only, set, difference } = failure
  const list = stepsOf(failure)
  return [
    `seed ${seed}: the database "${set.name}" answers otherwise than the model`,
    `  ${set.where}, WAL ${set.wal}, sync ${set.sync ?? 'as asked'}`,
    ...[set, ...(set.later ?? [])].map(describeOpening),
    ...list.map((step, i) => `  ${String(i + 1).padStart(3)} ${describeStep(step)}`),
    `  ${difference}`,
    `  again: npm run metamorphic -- --seed ${seed} --steps ${steps} --set ${set.name}${only === undefined ? '' : ` --only ${only}`}`,
  ].join('\n')
}
