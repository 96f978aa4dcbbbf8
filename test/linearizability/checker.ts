/**
 * Is a history linearizable? Keys are independent, so each is searched by itself; all in turn, with budgets that grow, and the first key that
 * is refuted ends it: a key that takes for ever does not hide one that is refuted at once.
 */
import { must } from '../../base/assert.ts'
import type { Operation } from './history.ts'
import { KeySearch } from './key-search.ts'
import type { Model } from './model.ts'

export interface CheckOptions {
  /** Steps of all keys together before the verdict is 'unknown'. */
  readonly stepsMax?: number
  /** Remembered states of all keys together (each about 100 bytes) before the verdict is 'unknown'. */
  readonly statesMax?: number
}

export type Verdict<Input, Output> =
  | { readonly verdict: 'linearizable'; readonly operations: number; readonly keys: number; readonly steps: number }
  /** The budget is used up. A failure of the test's set-up (use fewer operations per key), never a pass. */
  | { readonly verdict: 'unknown'; readonly keys: readonly string[]; readonly steps: number }
  | {
      readonly verdict: 'refuted'
      readonly key: string
      readonly steps: number
      /** The longest order that fits. */
      readonly linearized: readonly Operation<Input, Output>[]
      /** What had been called by the first return that could not be explained, and none of which fits next. */
      readonly stuck: readonly Operation<Input, Output>[]
    }

const FIRST_BUDGET = 1_000

export function checkLinearizable<State, Input, Output>(
  model: Model<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
  options: CheckOptions = {},
): Verdict<Input, Output> {
  const { stepsMax = 100_000_000, statesMax = 8_000_000 } = options
  const all = searches(model, operations)
  let active = all
  // Of all keys. Counted as they go: there may be hundreds of thousands.
  let steps = 0
  let states = 0
  for (let budget = FIRST_BUDGET; active.length > 0; budget *= 2) {
    const undecided: KeySearch<State, Input, Output>[] = []
    for (const search of active) {
      steps -= search.steps
      states -= search.seenCount
      const outcome = search.run(budget)
      steps += search.steps
      states += search.seenCount
      if (outcome === 'refuted') return { verdict: 'refuted', key: search.key, steps, ...partial(search) }
      if (outcome === 'undecided') undecided.push(search)
      if (steps > stepsMax || states > statesMax) {
        return { verdict: 'unknown', keys: active.filter((other) => other.run(0) === 'undecided').map(({ key }) => key), steps }
      }
    }
    active = undecided
  }
  return { verdict: 'linearizable', operations: operations.length, keys: all.length, steps }
}

/** A report for people; the longest order's end is what matters, so of a long one only `tail` operations are shown. */
export function describeVerdict<State, Input, Output>(
  model: Model<State, Input, Output>,
  verdict: Verdict<Input, Output>,
  tail = 20,
): string {
  if (verdict.verdict === 'linearizable') return `linearizable: ${verdict.operations} operations on ${verdict.keys} keys`
  if (verdict.verdict === 'unknown')
    return `unknown after ${verdict.steps} steps: too many concurrent operations on ${verdict.keys.join(', ')}`
  const line = ({ client, called, returned, input, output }: Operation<Input, Output>) =>
    `  [${called}, ${returned === Number.POSITIVE_INFINITY ? 'open' : returned}] ${client}: ${model.describe(input, output)}`
  const skipped = Math.max(0, verdict.linearized.length - tail)
  return [
    `not linearizable: key ${verdict.key}; the longest order that fits${skipped > 0 ? ` (after ${skipped} more)` : ''}:`,
    ...verdict.linearized.slice(skipped).map(line),
    'then none of these fits:',
    ...verdict.stuck.map(line),
  ].join('\n')
}

function searches<State, Input, Output>(
  model: Model<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
): KeySearch<State, Input, Output>[] {
  const byKey = new Map<string, Operation<Input, Output>[]>()
  for (const operation of operations) {
    // A read without an outcome explains nothing and contradicts nothing.
    if (operation.returned === Number.POSITIVE_INFINITY && model.isRead(operation.input)) continue
    const ofKey = byKey.get(operation.key)
    if (ofKey === undefined) byKey.set(operation.key, [operation])
    else ofKey.push(operation)
  }
  return [...byKey].map(([key, ofKey]) => new KeySearch(model, key, ofKey))
}

function partial<State, Input, Output>(search: KeySearch<State, Input, Output>) {
  const taken = new Set(search.longest)
  const linearized = search.longest.map((index) => must(search.operations[index], 'an operation'))
  const rest = search.operations.filter((_, index) => !taken.has(index))
  const firstReturn = Math.min(...rest.map(({ returned }) => returned))
  return { linearized, stuck: rest.filter(({ called }) => called <= firstReturn) }
}
