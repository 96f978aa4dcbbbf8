/**
 * A world in one thread on virtual time: a queue of events ordered by (time, sequence). Between two events all promises that can go on do.
 * Everything that happens is drawn from the seed, so a run is repeated by its seed; `traceHash` proves it.
 *
 * Duties of whoever builds on it: no real timers, sockets or files in the code under test (only the seams), one world at a time in a process
 * (it judges all rejected promises while it runs), and of it one `runUntil`, `runFor` or `settle` at a time.
 */
import { SeededRandom } from '../../base/random.ts'
import { type EventOwner, EventQueue, WorldEvent } from './event-queue.ts'
import { hashText, TraceHash } from './trace.ts'

export interface WorldOptions {
  readonly seed: number
  /** Keeps a line for each event (`traceLines`), to find where two runs part. Slow. */
  readonly recordTrace?: boolean
}

/** A run failed: an event threw, a promise was rejected and nobody cared, or a condition was not reached. Names the seed and the time first. */
export class SimulationError extends Error {
  override readonly name = 'SimulationError'
}

/** Told whose event has just run. */
export type Observer = (owner: EventOwner | undefined) => void

export interface LogLine {
  readonly atMs: number
  readonly process: string
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly fields: object
  readonly message: string
}

/** Microtasks by way of a promise: `queueMicrotask` makes an async resource for each. */
const settled = Promise.resolve()
/** Events in a row without a turn of Node's own loop, in which it notices rejected promises: nextTick is six times as fast as setImmediate. */
const EVENTS_PER_TURN = 256
/** So many events at one moment are a loop that lets no time pass. */
const EVENTS_PER_MOMENT_MAX = 2_000_000
const LOG_LINES_MAX = 2_000

export class World {
  readonly seed: number
  /** The world's own source. Parts fork theirs from it, in a fixed order. */
  readonly random: SeededRandom
  /** One line for each event and note, where `recordTrace` is set. */
  readonly traceLines: string[] = []
  /** The newest log lines of all processes. */
  readonly logLines: LogLine[] = []
  readonly #recordTrace: boolean
  readonly #queue = new EventQueue()
  readonly #trace = new TraceHash()
  #nowMs = 0
  #sequence = 0
  /** Below all of `#sequence`: what waited for a paused process goes first, in its old order. */
  #requeueSequence = -(2 ** 50)
  #events = 0
  #eventsOfMoment = 0
  #failure: unknown
  #running = false
  #observers: readonly Observer[] = []

  constructor(options: WorldOptions) {
    this.seed = options.seed
    this.random = new SeededRandom(options.seed)
    this.#recordTrace = options.recordTrace ?? false
  }

  /** Virtual milliseconds since the world began. */
  get nowMs(): number {
    return this.#nowMs
  }

  /** Events run so far. */
  get events(): number {
    return this.#events
  }

  traceHash(): string {
    return this.#trace.toString()
  }

  /** Runs `callback` after `delayMs` of virtual time. `what` goes into the trace: say little, and nothing that differs from run to run. */
  schedule(delayMs: number, owner: EventOwner | undefined, what: string, callback: () => void): WorldEvent {
    const event = new WorldEvent(this.#nowMs + Math.max(delayMs, 0), this.#sequence++, owner, what, callback)
    if (delayMs <= 0) this.#queue.pushLast(event)
    else this.#queue.push(event)
    return event
  }

  /** Puts events that came while their owner was paused before everything else of this moment, in the order given. */
  requeue(events: readonly WorldEvent[]): void {
    for (const event of events) {
      event.atMs = this.#nowMs
      event.sequence = this.#requeueSequence++
      this.#queue.push(event)
    }
  }

  /** Adds to the trace hash what an event's time and name do not show, such as a message's checksum. */
  note(value: number): void {
    this.#trace.mix(value)
    if (this.#recordTrace) this.traceLines.push(`  ${value >>> 0}`)
  }

  log(line: LogLine): void {
    if (this.logLines.length >= LOG_LINES_MAX) this.logLines.splice(0, LOG_LINES_MAX / 2)
    this.logLines.push(line)
  }

  /** Fails the run: `runUntil` and its like reject. The first failure counts. */
  fail(error: unknown): void {
    this.#failure ??= error
  }

  /**
   * Has `observer` called after each event, once all promises that can go on have: what one process did becomes visible to it before it can
   * reach another. It must not change the world but by scheduling events. Returns what ends it.
   */
  observe(observer: Observer): () => void {
    this.#observers = [...this.#observers, observer]
    return () => {
      this.#observers = this.#observers.filter((other) => other !== observer)
    }
  }

  /** Runs until `condition`, asked after each event, holds; rejects when it does not within `withinMs` or nothing is left to happen. `what`: for people. */
  async runUntil(condition: () => boolean, withinMs = 60_000, what = String(condition)): Promise<void> {
    if (condition()) return
    const endMs = this.#nowMs + withinMs
    const reached = await this.#run(condition, endMs)
    if (!reached) throw this.#error(`what was waited for did not happen within ${withinMs} ms: ${what}`)
  }

  /** Lets `durationMs` pass. */
  async runFor(durationMs: number): Promise<void> {
    const endMs = this.#nowMs + durationMs
    await this.#run(() => false, endMs)
    this.#nowMs = endMs
  }

  /** Runs until `promise` is settled, and gives its value or throws its error. */
  async settle<T>(promise: Promise<T>, withinMs = 60_000): Promise<T> {
    let settled = false
    const settle = () => {
      settled = true
    }
    promise.then(settle, settle)
    await new Promise<void>((resolve) => setImmediate(resolve))
    const reached = settled || (await this.#run(() => settled, this.#nowMs + withinMs))
    if (!reached) throw this.#error(`a promise was not settled within ${withinMs} ms`)
    return promise
  }

  /** True when `isDone` held, false when the time was over or the queue empty. */
  async #run(isDone: () => boolean, endMs: number): Promise<boolean> {
    if (this.#running) throw new SimulationError('the world runs already: await one run before the next')
    this.#running = true
    // Of all listeners ours alone must judge: a rejection belongs to this run, and the test runner's own listener would blame the process.
    const others = process.listeners('unhandledRejection')
    process.removeAllListeners('unhandledRejection')
    const onRejection = (reason: unknown) => this.fail(reason)
    process.on('unhandledRejection', onRejection)
    try {
      return await this.#loop(isDone, endMs)
    } finally {
      process.removeListener('unhandledRejection', onRejection)
      for (const listener of others) process.on('unhandledRejection', listener)
      this.#running = false
    }
  }

  #loop(isDone: () => boolean, endMs: number): Promise<boolean> {
    return new Promise((resolve, reject) => {
      // A turn of Node's loop at the end, so that a rejection in the last event is noticed too.
      const finish = (reached: boolean) =>
        setImmediate(() => (this.#failure === undefined ? resolve(reached) : reject(this.#error(this.#failure))))
      // A tick runs only when the queue of microtasks is empty.
      let steps = 0
      let executed: WorldEvent | undefined
      const observe = () => {
        if (executed === undefined) return
        const { owner } = executed
        executed = undefined
        try {
          for (const look of this.#observers) look(owner)
        } catch (error) {
          this.fail(error)
        }
      }
      const afterMicrotasks = () => process.nextTick(step)
      const step = () => {
        observe()
        // The condition first: it may schedule something itself.
        const done = this.#failure === undefined && isDone()
        const next = this.#queue.peek()
        if (this.#failure !== undefined) finish(false)
        else if (done) finish(true)
        else if (next === undefined || next.atMs > endMs) finish(false)
        else {
          this.#queue.pop()
          this.#execute(next)
          executed = next
          if (++steps % EVENTS_PER_TURN === 0) setImmediate(step)
          else settled.then(afterMicrotasks)
        }
      }
      setImmediate(step)
    })
  }

  #execute(event: WorldEvent): void {
    const callback = event.callback
    if (callback === undefined) return
    if (event.atMs > this.#nowMs) this.#eventsOfMoment = 0
    this.#nowMs = event.atMs
    if (event.owner !== undefined && !event.owner.admits(event)) return
    this.#events++
    if (++this.#eventsOfMoment > EVENTS_PER_MOMENT_MAX) this.fail(new Error(`time stands still: ${event.what}`))
    this.#trace.mixFloat(event.atMs)
    this.#trace.mix(event.owner?.traceId ?? 0)
    this.#trace.mix(hashText(event.what))
    if (this.#recordTrace) this.traceLines.push(`${event.atMs} ${event.owner?.traceId ?? 0} ${event.what}`)
    event.callback = undefined
    try {
      callback()
    } catch (error) {
      this.fail(error)
    }
  }

  #error(cause: unknown): SimulationError {
    if (cause instanceof SimulationError) return cause
    const what = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause)
    const where = `seed ${this.seed}, ${this.#nowMs.toFixed(3)} ms, event ${this.#events}`
    return new SimulationError(`${where}: ${what}`, { cause })
  }
}
