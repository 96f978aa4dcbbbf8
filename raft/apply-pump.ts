import { assert } from '../base/assert.ts'
import type { Clock } from '../base/clock.ts'
import type { Entry } from './core/types.ts'
import { SnapshotNeeded, type StateMachine } from './state-machine.ts'

/** Bytes of entries that are applied at one go. */
const applyBytesMax = 256 * 1024
/** A turn that has applied for so long lets others run. */
const applySliceMs = 3
/** What takes longer than this is told: whatever is committed behind it has waited for it. */
const slowApplyMs = 100

export interface ApplyPumpOptions<Result> {
  readonly clock: Pick<Clock, 'monotonicMs' | 'soon'>
  readonly log: {
    /** Undefined: not in memory. */
    entries(from: number, to: number, maxBytes: number): readonly Entry[] | undefined
    load(from: number, to: number, maxBytes: number): Promise<readonly Entry[]>
  }
  readonly stateMachine: Pick<StateMachine<Result>, 'apply' | 'durable'>
  /** Committed when the replica was opened. */
  readonly commit: number
  /** These are applied; called in the order of the log, once for each entry. */
  onApplied(entries: readonly Entry[], results: readonly Result[]): void
  /** It took the state machine long to apply these. */
  onSlow(entries: readonly Entry[], tookMs: number): void
  /** Entry `index` cannot be applied without a snapshot: nothing is, until `installed`. */
  onSnapshotNeeded(index: number): void
  /** Nothing is applied any more. Called once at most. */
  onFailed(error: Error): void
}

/**
 * Applies what is committed, one batch after the other: waits for entries that are on disk only, for a state machine that takes its time, and
 * for the next turn when this one has become long.
 */
export class ApplyPump<Result> {
  readonly #options: ApplyPumpOptions<Result>
  /** Index of the last entry applied. #applied <= #commit. */
  #applied: number
  #commit: number
  /** Something has to be waited for before the next batch. */
  #waiting = false
  #paused = false
  /** Called once what runs has ended. */
  #onIdle: (() => void)[] = []
  #stopped = false

  constructor(options: ApplyPumpOptions<Result>) {
    this.#options = options
    this.#applied = options.stateMachine.durable.index
    this.#commit = Math.max(this.#applied, options.commit)
  }

  get applied(): number {
    return this.#applied
  }

  get commit(): number {
    return this.#commit
  }

  commitTo(index: number): void {
    if (index <= this.#commit) return
    this.#commit = index
    this.run()
  }

  /** Applies until there is nothing more or something has to be waited for. Never throws. */
  run(): void {
    if (this.#waiting || this.#paused) return
    const { clock } = this.#options
    const startMs = clock.monotonicMs()
    try {
      while (!this.#stopped && !this.#paused && this.#applied < this.#commit) {
        const pending = this.#applyNext()
        if (pending !== undefined) {
          this.#resumeAfter(pending)
          return
        }
        if (clock.monotonicMs() - startMs > applySliceMs) {
          this.#resumeAfter(new Promise((resolve) => clock.soon(resolve)))
          return
        }
      }
    } catch (error) {
      this.#fail(error)
    }
  }

  /** Begins nothing new; resolves when nothing is being applied. It never does where an apply that runs fails. */
  async pause(): Promise<void> {
    this.#paused = true
    if (this.#waiting) await new Promise<void>((resolve) => this.#onIdle.push(resolve))
  }

  resume(): void {
    this.#paused = false
    this.run()
  }

  /** The state machine was replaced, while nothing was applied: it stands at `index`. Goes on behind it with `resume`. */
  installed(index: number): void {
    assert(this.#paused && !this.#waiting, 'a state machine is replaced while nothing is applied')
    assert(index > this.#applied, `the state at ${index} was installed over that at ${this.#applied}`)
    this.#applied = index
    this.#commit = Math.max(this.#commit, index)
  }

  stop(): void {
    this.#stopped = true
  }

  #applyNext(): Promise<void> | undefined {
    const { log } = this.#options
    const entries = log.entries(this.#applied + 1, this.#commit + 1, applyBytesMax)
    if (entries !== undefined) return this.#apply(entries)
    return log.load(this.#applied + 1, this.#commit + 1, applyBytesMax).then((loaded) => (this.#stopped ? undefined : this.#apply(loaded)))
  }

  #apply(entries: readonly Entry[]): Promise<void> | undefined {
    assert(entries[0]?.index === this.#applied + 1, `the entry behind ${this.#applied} is not there to be applied`)
    const startMs = this.#options.clock.monotonicMs()
    const results = this.#options.stateMachine.apply(entries)
    if (results instanceof Promise) return results.then((settled) => this.#took(entries, settled, startMs))
    this.#took(entries, results, startMs)
    return undefined
  }

  #took(entries: readonly Entry[], results: readonly Result[], startMs: number): void {
    if (this.#stopped) return
    const tookMs = this.#options.clock.monotonicMs() - startMs
    if (tookMs > slowApplyMs) this.#options.onSlow(entries, tookMs)
    this.#applied += entries.length
    this.#options.onApplied(entries, results)
  }

  #resumeAfter(pending: Promise<void>): void {
    this.#waiting = true
    pending.then(
      () => this.#goOn(),
      (error: unknown) => this.#fail(error),
    )
  }

  #goOn(): void {
    this.#waiting = false
    const idle = this.#onIdle
    this.#onIdle = []
    for (const resolve of idle) resolve()
    this.run()
  }

  #fail(error: unknown): void {
    if (this.#stopped) return
    if (error instanceof SnapshotNeeded) {
      this.#paused = true
      this.#goOn()
      this.#options.onSnapshotNeeded(error.index)
      return
    }
    this.#stopped = true
    this.#options.onFailed(error instanceof Error ? error : new Error(String(error)))
  }
}
