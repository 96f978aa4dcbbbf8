import { build, type Histogram } from 'hdr-histogram-js'
import type { Random } from '../../base/random.ts'
import type { Client } from '../../client/index.ts'
import { OstrakaError } from '../../proto/errors.ts'
import type { HistoryRecorder } from '../linearizability/history.ts'
import type { OstrakaInput, OstrakaOutput } from '../linearizability/ostraka-model.ts'
import type { Records } from './records.ts'
import { Timeline } from './timeline.ts'

/** A call that begins so much later than it was due was held up by this process, not by the cluster. */
const lateMs = 5
const tickMs = 1
/** Each client issues so many calls at a time, as a server does that serves several users. */
const callsAtOnce = 4
/** Half of the calls go to so many keys, so that each is read again soon after it was written. */
const hotKeys = 256

export type Recorder = HistoryRecorder<OstrakaInput, OstrakaOutput>

export interface PacedLoadOptions {
  readonly perSecond: number
  readonly records: Records
  readonly clients: readonly Client[]
  readonly random: Random
  /** Not given: the calls are not checked. */
  readonly recorder?: Recorder
}

export function newLatencies(): Histogram {
  return build({ lowestDiscernibleValue: 1, highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: 3 })
}

/**
 * Reads and writes, half each, a few of one client at a time, that begin when they are due whether or not those before them were answered. Latencies count from when a call
 * was due.
 */
export class PacedLoad {
  /** In microseconds; may be exchanged at any time. */
  latencies = newLatencies()
  readonly timeline = new Timeline()
  failed = 0
  /** Of a call that failed, the newest. */
  lastError = ''
  /** Calls that this process began late. */
  late = 0
  readonly #options: PacedLoadOptions
  readonly #pending = new Set<Promise<void>>()
  #startedMs = 0
  #begun = 0
  #written: number
  #timer: NodeJS.Timeout | undefined

  constructor(options: PacedLoadOptions) {
    this.#options = options
    this.#written = options.records.count
  }

  /** Writes each record once, `inFlight` at a time. */
  async fill(inFlight: number): Promise<void> {
    const { records, clients } = this.#options
    let next = 0
    const worker = async (_: unknown, worker: number) => {
      const client = worker % clients.length
      for (let i = next++; i < records.count; i = next++) await this.#put(client, i, i)
    }
    await Promise.all(Array.from({ length: inFlight }, worker))
  }

  start(): void {
    this.#startedMs = performance.now()
    this.#begun = 0
    this.#tick()
  }

  /** Begins no more, and waits for what is under way. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer)
    await Promise.all(this.#pending)
  }

  #tick(): void {
    const nowMs = performance.now()
    const everyMs = (callsAtOnce * 1000) / this.#options.perSecond
    for (;;) {
      const dueMs = this.#startedMs + Math.floor(this.#begun / callsAtOnce) * everyMs
      if (dueMs > nowMs) break
      if (nowMs - dueMs > lateMs) this.late++
      this.#begin(this.#begun++, dueMs)
    }
    this.#timer = setTimeout(() => this.#tick(), tickMs)
  }

  #begin(number: number, dueMs: number): void {
    const { records, clients, random } = this.#options
    const client = Math.floor(number / callsAtOnce) % clients.length
    const i = random.below(number % 2 === 0 ? Math.min(hotKeys, records.count) : records.count)
    const isRead = random.next() < 0.5
    const call = (isRead ? this.#get(client, i) : this.#put(client, i, this.#written++))
      .then(() => this.#answered(dueMs))
      .catch((error: unknown) => this.#fail(error))
      .finally(() => this.#pending.delete(call))
    this.#pending.add(call)
  }

  #answered(dueMs: number): void {
    const nowMs = performance.now()
    this.timeline.add(dueMs, nowMs)
    this.latencies.recordValue(Math.max(1, Math.round((nowMs - dueMs) * 1000)))
  }

  /** What is no typed error is a value that nobody wrote. */
  #fail(error: unknown): void {
    this.failed++
    this.lastError = error instanceof Error ? error.message : String(error)
  }

  async #get(client: number, i: number): Promise<void> {
    const { records, recorder } = this.#options
    const key = records.key(i)
    const operation = recorder?.call(`client ${client}`, key, { op: 'get' })
    const found = await this.#client(client).get(key)
    const value = found === undefined ? undefined : String(records.numberOf(found.value))
    if (operation !== undefined) recorder?.return(operation, { value })
  }

  async #put(client: number, i: number, number: number): Promise<void> {
    const { records, recorder } = this.#options
    const key = records.key(i)
    const operation = recorder?.call(`client ${client}`, key, { op: 'put', value: String(number) })
    try {
      await this.#client(client).put(key, records.value(number))
    } catch (error) {
      if (operation !== undefined && error instanceof OstrakaError && error.definite) recorder?.fail(operation)
      throw error
    }
    if (operation !== undefined) recorder?.return(operation, {})
  }

  #client(client: number): Client {
    const found = this.#options.clients[client]
    if (found === undefined) throw new Error(`no client ${client}`)
    return found
  }
}
