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
  readonly #nowMs: () => number
  /** When each place was taken, rising. */
  readonly #times: number[] = []

  /** `nowMs` is needed where operations of a certain age are called. */
  constructor(nowMs: () => number = () => 0) {
    this.#nowMs = nowMs
  }

  /**
   * A client sends an operation. Returns its number. `ageMs` above 0: a read that may be answered as of up to so long ago. All that returned longer
   * ago comes before it; what returned since may, as if it had been called then.
   */
  call(client: string, key: string, input: Input, ageMs = 0): number {
    const place = this.#take()
    const called = ageMs > 0 ? this.#firstSince(this.#nowMs() - ageMs) - 0.5 : place
    const operation = { client, key, input, called, returned: Number.POSITIVE_INFINITY, output: undefined, failed: false }
    return this.#pending.push(operation) - 1
  }

  return(operation: number, output: Output): void {
    const pending = this.#open(operation)
    pending.returned = this.#take()
    pending.output = output
  }

  /** It had no effect and never will: only for errors that say so. */
  fail(operation: number): void {
    this.#open(operation).failed = true
  }

  operations(): Operation<Input, Output>[] {
    return this.#pending.filter((operation) => !operation.failed)
  }

  #take(): number {
    return this.#times.push(this.#nowMs()) - 1
  }

  /** The first place taken at `timeMs` or later. */
  #firstSince(timeMs: number): number {
    let from = 0
    for (let to = this.#times.length; from < to; ) {
      const middle = (from + to) >> 1
      if ((this.#times[middle] as number) < timeMs) from = middle + 1
      else to = middle
    }
    return from
  }

  #open(number: number): Pending<Input, Output> {
    const operation = must(this.#pending[number], `no operation ${number}`)
    assert(operation.returned === Number.POSITIVE_INFINITY && !operation.failed, `operation ${number} has ended`)
    return operation
  }
}
