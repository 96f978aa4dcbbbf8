import type { Clock, Timer } from '../../base/clock.ts'
import type { WorldEvent } from './event-queue.ts'

/** What a clock needs of its process. */
export interface ClockHost {
  /** Virtual time without the time in which the process's clock stood still. */
  runningMs(): number
  /** Virtual time of the world. */
  worldMs(): number
  schedule(delayMs: number, what: string, callback: () => void): WorldEvent
}

export interface ClockOptions {
  /** Local milliseconds per virtual one; 1.0001 is a fast clock. */
  readonly rate?: number
  /** Where the monotonic clock stands when the world begins. */
  readonly monotonicOffsetMs?: number
  /** By how much the wall clock is wrong. */
  readonly wallOffsetMs?: number
}

/** 2026-01-01, so that dates in simulated histories look like dates. */
const WALL_START_MS = 1_767_225_600_000
/** Rounding may put a timer a hair before its time; it then waits this much longer. */
const SHORTEST_REST_MS = 0.001

/** A process's clock: virtual time with an offset and a rate of its own. */
export class SimClock implements Clock {
  readonly #host: ClockHost
  readonly #rate: number
  readonly #offsetMs: number
  #wallOffsetMs: number

  constructor(host: ClockHost, options: ClockOptions = {}) {
    this.#host = host
    this.#rate = options.rate ?? 1
    this.#offsetMs = options.monotonicOffsetMs ?? 0
    this.#wallOffsetMs = options.wallOffsetMs ?? 0
  }

  monotonicMs(): number {
    return this.#offsetMs + this.#host.runningMs() * this.#rate
  }

  wallMs(): number {
    return WALL_START_MS + this.#wallOffsetMs + Math.floor(this.#host.worldMs() * this.#rate)
  }

  /** Sets the wall clock forward (or back): no decision may rest on it. */
  jumpWall(byMs: number): void {
    this.#wallOffsetMs += byMs
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    return new SimTimer(this, this.#host, this.#rate, delayMs, callback)
  }

  soon(callback: () => void): void {
    this.#host.schedule(0, 'soon', callback)
  }
}

class SimTimer implements Timer {
  #event: WorldEvent

  constructor(clock: SimClock, host: ClockHost, rate: number, delayMs: number, callback: () => void) {
    const dueMs = clock.monotonicMs() + delayMs
    const fire = () => {
      const restMs = dueMs - clock.monotonicMs()
      if (restMs <= 0) callback()
      else this.#event = host.schedule(Math.max(restMs, SHORTEST_REST_MS) / rate, 'timer', fire)
    }
    this.#event = host.schedule(delayMs / rate, 'timer', fire)
  }

  cancel(): void {
    this.#event.cancel()
  }
}
