/**
 * Clients that read and write a few keys in every way the SDK has, and a history of what they saw. The same for simulated and for real
 * clusters: all it needs is a client and random numbers.
 */
import type { Random } from '../../base/random.ts'
import type { Client } from '../../client/client.ts'
import type { Condition, Found, ReadOptions, Replacement } from '../../client/types.ts'
import { OstrakaError } from '../../proto/errors.ts'
import type { HistoryRecorder } from '../linearizability/history.ts'
import type { OstrakaInput, OstrakaOutput } from '../linearizability/ostraka-model.ts'
import { AppendLists } from './append-lists.ts'
import { Invariants } from './invariants.ts'
import { SetFull } from './set-full.ts'

export interface WorkloadOptions {
  /** Keys of text, and as many counters. */
  readonly keys: number
  /** Values are padded to about this many bytes. */
  readonly valueBytes: number
  /** Any monotonic time, ms: how long records live is measured by it. */
  readonly nowMs: () => number
  /** By how much clocks of machines may run apart, as a share. Default 0.01. */
  readonly clockDrift?: number
  /** Gets of some clients are stale; if not given all read as they are made to. */
  readonly stale?: StaleGets
}

export interface StaleGets {
  /** By name. */
  readonly clients: ReadonlySet<string>
  readonly maxStalenessMs: number
  /** How old what they see may be, by the recorder's time. */
  readonly forMs: number
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
  readonly sets: SetFull
  readonly lists: AppendLists
  readonly #options: WorkloadOptions
  readonly #random: Random
  readonly #invariants: Invariants
  #values = 0

  constructor(recorder: Recorder, random: Random, options: WorkloadOptions) {
    this.recorder = recorder
    this.#random = random
    this.#options = options
    this.#invariants = new Invariants(random, options.nowMs, options.clockDrift)
    this.sets = new SetFull(random)
    this.lists = new AppendLists(random)
  }

  /** A few random calls of `client`. Rejects only where what it saw cannot be. */
  async one(client: string, db: Client): Promise<void> {
    const draw = this.#random.next()
    if (draw < 0.5) await this.#single(client, db)
    else if (draw < 0.62) await Promise.all(Array.from({ length: 2 + this.#random.below(5) }, () => this.#single(client, db)))
    else if (draw < 0.68) await this.#many(client, db)
    else if (draw < 0.82) await this.#counted([], this.#invariants.one(db))
    else if (draw < 0.91) await this.#counted([], this.sets.one(db))
    else await this.#counted([], this.lists.one(client, db))
  }

  /** Reads everything that only grows once more, when the cluster is whole; `again` waits a little. */
  async readAll(db: Client, again: () => Promise<void>): Promise<void> {
    const insist = async (call: () => Promise<void>) => {
      for (;;) {
        try {
          return await call()
        } catch (error) {
          if (!(error instanceof OstrakaError)) throw error
          await again()
        }
      }
    }
    await this.sets.readAll(db, insist)
    await this.lists.readAll(db, insist)
  }

  /** What is wrong with what only grows, after `readAll`; undefined: nothing. The history is for `linearizability/`. */
  verdict(): string | undefined {
    return this.sets.verdict() ?? this.lists.verdict()
  }

  async #single(client: string, db: Client): Promise<void> {
    const counter = this.#random.next() < 0.25
    const key = `${counter ? 'counter' : 'key'}-${this.#random.below(this.#options.keys)}`
    if (!counter && this.#random.next() < 0.15) {
      await this.#checked(client, db, key)
      return
    }
    const input = counter ? this.#counterInput() : this.#textInput()
    const operation = this.#call(client, key, input)
    await this.#counted(
      [operation],
      execute(db, key, input, this.#readOptions(client)).then((output) => this.recorder.return(operation, output)),
    )
  }

  /** Reads a key, then changes it only if it is still at the revision that was read. Values are unique, so that is: still has that value. */
  async #checked(client: string, db: Client, key: string): Promise<void> {
    const read = this.#call(client, key, { op: 'get' })
    let found: Found | undefined
    const reading = db.get(key, this.#readOptions(client)).then((result) => {
      found = result
      this.recorder.return(read, { value: result?.value.toString('utf8') })
    })
    if (!(await this.#counted([read], reading)) || found === undefined) return
    const { revision } = found
    const value = this.#value()
    const expect = { value: found.value.toString('utf8') }
    const change = this.recorder.call(client, key, { op: 'compareAndSet', expect, change: { value } })
    const changing = this.#random.next() < 0.5 ? changeByRevision(db, key, revision, value) : changeByBatch(db, key, revision, value)
    await this.#counted(
      [change],
      changing.then((output) => this.recorder.return(change, output)),
    )
  }

  /** Calls on many keys as one. */
  async #many(client: string, db: Client): Promise<void> {
    const keys = Array.from({ length: this.#options.keys }, (_, i) => `key-${i}`).filter(() => this.#random.next() < 0.5)
    if (this.#random.next() < 0.5) {
      const operations = keys.map((key) => this.#call(client, key, { op: 'get' }))
      const reading = db.getMany(keys, this.#readOptions(client)).then((results) => {
        for (const [i, operation] of operations.entries()) this.recorder.return(operation, { value: results[i]?.value.toString('utf8') })
      })
      await this.#counted(operations, reading)
      return
    }
    const entries = keys.map((key) => [key, this.#value()] as const)
    const operations = entries.map(([key, value]) => this.recorder.call(client, key, { op: 'put', value }))
    try {
      await db.putMany(entries)
      for (const operation of operations) this.recorder.return(operation, {})
      this.counts.ok++
    } catch (error) {
      if (!(error instanceof OstrakaError)) throw error
      const failed = new Map((error.failed ?? []).map((member) => [member.index, member.error]))
      for (const [i, operation] of operations.entries()) {
        const reason = failed.get(i)
        if (reason === undefined) this.recorder.return(operation, {})
        else if (reason.definite) this.recorder.fail(operation)
      }
      this.#failed(error)
    }
  }

  /** Counts the outcome of a call that stands for `operations`. Returns whether it was answered. */
  async #counted(operations: readonly number[], call: Promise<void>): Promise<boolean> {
    try {
      await call
      this.counts.ok++
      return true
    } catch (error) {
      if (!(error instanceof OstrakaError)) throw error
      if (error.definite) for (const operation of operations) this.recorder.fail(operation)
      this.#failed(error)
      return false
    }
  }

  #failed(error: OstrakaError): void {
    this.counts.lastError = `${error.code} ${error.message}`
    if (error.definite) this.counts.failed++
    else this.counts.unknown++
  }

  /** A call is sent; a get of a client whose gets may be stale may be answered as if it had been sent earlier. */
  #call(client: string, key: string, input: OstrakaInput): number {
    const { stale } = this.#options
    return this.recorder.call(client, key, input, input.op === 'get' && stale?.clients.has(client) === true ? stale.forMs : 0)
  }

  #readOptions(client: string): ReadOptions {
    const { stale } = this.#options
    return stale?.clients.has(client) === true ? { read: 'stale', maxStalenessMs: stale.maxStalenessMs } : {}
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

async function changeByRevision(db: Client, key: string, revision: number, value: string): Promise<OstrakaOutput> {
  const { applied, current } = await db.compareAndSet(key, { revision }, value)
  return applied ? { applied } : { applied, current: current?.value.toString('utf8') }
}

async function changeByBatch(db: Client, key: string, revision: number, value: string): Promise<OstrakaOutput> {
  try {
    await db.batch([
      { check: key, revision },
      { put: key, value },
    ])
    return { applied: true }
  } catch (error) {
    if (error instanceof OstrakaError && error.code === 'CONDITION_FAILED' && error.definite) return { applied: false }
    throw error
  }
}

async function execute(db: Client, key: string, input: OstrakaInput, read: ReadOptions): Promise<OstrakaOutput> {
  switch (input.op) {
    case 'get':
      return { value: (await db.get(key, read))?.value.toString('utf8') }
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
