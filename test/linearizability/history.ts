/** What clients did and saw, as the checker takes it. */
import { assert, must } from '../../base/assert.ts'

export interface Operation<Input, Output> {
  readonly client: string
  /** Keys are independent: each has a state of its own. */
  readonly key: string
  readonly input: Input
  /** Undefined where the outcome is unknown: it may have taken effect at any time after its call, or never. */
  readonly output: Output | undefined
  /** Places in one order of all calls and returns (or times of one clock). */
  readonly called: number
  /** Infinity where the outcome is unknown. */
  readonly returned: number
}

interface Pending<Input, Output> {
  readonly client: string
  readonly key: string
  readonly input: Input
  readonly called: number
  returned: number
  output: Output | undefined
  failed: boolean
}

/**
 * Records a history in the order in which its calls come: one recorder for all clients of a process. An operation that is neither `returned`
 * nor `failed` in the end counts as unknown; so a client that gives up says nothing.
 */
export class HistoryRecorder<Input, Output> {
  readonly #pending: Pending<Input, Output>[] = []
  #clock = 0

  /** A client sends an operation. Returns its number. */
  call(client: string, key: string, input: Input): number {
    const operation = { client, key, input, called: this.#clock++, returned: Number.POSITIVE_INFINITY, output: undefined, failed: false }
    return this.#pending.push(operation) - 1
  }

  return(operation: number, output: Output): void {
    const pending = this.#open(operation)
    pending.returned = this.#clock++
    pending.output = output
  }

  /** It had no effect and never will: only for errors that say so. */
  fail(operation: number): void {
    this.#open(operation).failed = true
  }

  operations(): Operation<Input, Output>[] {
    return this.#pending.filter((operation) => !operation.failed)
  }

  #open(number: number): Pending<Input, Output> {
    const operation = must(this.#pending[number], `no operation ${number}`)
    assert(operation.returned === Number.POSITIVE_INFINITY && !operation.failed, `operation ${number} has ended`)
    return operation
  }
}
