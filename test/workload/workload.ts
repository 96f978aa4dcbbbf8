/**
 * Clients that read and write a few keys in every way the SDK has, and a history of what they saw. The same for simulated and for real
 * clusters: all it needs is a client and random numbers.
 */
import type { Random } from '../../base/random.ts'
import type { Client } from '../../client/client.ts'
import type { Condition, Replacement } from '../../client/types.ts'
import { OstrakaError } from '../../proto/errors.ts'
import type { HistoryRecorder } from '../linearizability/history.ts'
import type { OstrakaInput, OstrakaOutput } from '../linearizability/ostraka-model.ts'

export interface WorkloadOptions {
  /** Keys of text, and as many counters. */
  readonly keys: number
  /** Values are padded to about this many bytes. */
  readonly valueBytes: number
}

export interface WorkloadCounts {
  /** Calls that were answered. */
  ok: number
  /** Calls that failed without effect, and calls whose outcome is not known. */
  failed: number
  unknown: number
  /** Of the failed and the unknown, the newest's message. */
  lastError: string
}

type Recorder = HistoryRecorder<OstrakaInput, OstrakaOutput>

/** What all clients of one run share. */
export class Workload {
  readonly recorder: Recorder
  readonly counts: WorkloadCounts = { ok: 0, failed: 0, unknown: 0, lastError: '' }
  readonly #options: WorkloadOptions
  readonly #random: Random
  #values = 0

  constructor(recorder: Recorder, random: Random, options: WorkloadOptions) {
    this.recorder = recorder
    this.#random = random
    this.#options = options
  }

  /** One random call of `client`; never rejects. */
  async one(client: string, db: Client): Promise<void> {
    const counter = this.#random.next() < 0.25
    const key = `${counter ? 'counter' : 'key'}-${this.#random.below(this.#options.keys)}`
    const input = counter ? this.#counterInput() : this.#textInput()
    const operation = this.recorder.call(client, key, input)
    try {
      this.recorder.return(operation, await execute(db, key, input))
      this.counts.ok++
    } catch (error) {
      if (!(error instanceof OstrakaError)) throw error
      this.counts.lastError = `${error.code} ${error.message}`
      if (error.definite) {
        this.recorder.fail(operation)
        this.counts.failed++
      } else this.counts.unknown++
    }
  }

  #counterInput(): OstrakaInput {
    const draw = this.#random.next()
    if (draw < 0.5) return { op: 'increment', by: BigInt(this.#random.below(10)) - 3n }
    return draw < 0.9 ? { op: 'get' } : { op: 'delete' }
  }

  #textInput(): OstrakaInput {
    const draw = this.#random.next()
    if (draw < 0.35) return { op: 'get' }
    if (draw < 0.65) return { op: 'put', value: this.#value() }
    if (draw < 0.8) return { op: 'append', value: `${this.#value().slice(0, 16)};` }
    if (draw < 0.9) return { op: 'delete' }
    const change = this.#random.next() < 0.8 ? { value: this.#value() } : { delete: true as const }
    return { op: 'compareAndSet', expect: { absent: true }, change }
  }

  /** Never the same twice. */
  #value(): string {
    return `v${++this.#values}`.padEnd(this.#options.valueBytes, '.')
  }
}

async function execute(db: Client, key: string, input: OstrakaInput): Promise<OstrakaOutput> {
  switch (input.op) {
    case 'get':
      return { value: (await db.get(key))?.value.toString('utf8') }
    case 'put':
      await db.put(key, input.value)
      return {}
    case 'delete':
      return await db.delete(key)
    case 'append':
      return { length: (await db.append(key, input.value)).length }
    case 'increment':
      return { value: String((await db.increment(key, input.by)).value) }
    case 'compareAndSet': {
      const condition: Condition = 'absent' in input.expect ? { absent: true } : { value: input.expect.value }
      const replacement: Replacement = 'delete' in input.change ? { delete: true } : input.change.value
      const { applied, current } = await db.compareAndSet(key, condition, replacement)
      return applied ? { applied } : { applied, current: current?.value.toString('utf8') }
    }
  }
}
