import { must } from '../base/assert.ts'
import type { StateMachine } from './state-machine.ts'

export interface LogTruncationOptions {
  readonly log: {
    readonly firstIndex: number
    /** Bytes of the group's entries in the log. */
    readonly bytes: number
    term(index: number): number | undefined
    truncateTo(index: number, term: number): void
  }
  readonly stateMachine: Pick<StateMachine<unknown>, 'durable' | 'flush'>
  /** The log grows to about this before the state machine is flushed to free it. */
  readonly snapshotLogBytes: number
  /** Index of the last entry applied. */
  applied(): number
  /** The log's mark moved: space may be reclaimed. */
  onTruncated(): void
  /** The state machine could not be made durable. */
  onFailed(error: Error): void
}

/**
 * Decides how far a replica's log may go, and when the state machine has to be flushed for it. The log is truncated up to where the state
 * machine is durable, the driver knows it applied, and every replica of the group has it: who lags is served from the log. What every
 * replica holds durably stays in the log of each later leader, so a bound once heard holds in all terms to come.
 */
export class LogTruncation {
  readonly #options: LogTruncationOptions
  /** Every replica's log durably holds the leader's log up to here, as far as this one heard. Only rises. */
  #allMatched = 0
  #flushing = false
  #stopped = false

  constructor(options: LogTruncationOptions) {
    this.#options = options
  }

  get allMatched(): number {
    return this.#allMatched
  }

  /** Every replica holds the log up to `index`. */
  matchedTo(index: number): void {
    if (index <= this.#allMatched) return
    this.#allMatched = index
    this.maybeTruncate()
    this.maybeFlush()
  }

  /** More is durable, applied or held by all. */
  maybeTruncate(): void {
    const { log, stateMachine } = this.#options
    if (this.#stopped) return
    // The state machine may have sealed in the middle of a batch of which the driver has not heard yet.
    const index = Math.min(stateMachine.durable.index, this.#allMatched, this.#options.applied())
    if (index < log.firstIndex) return
    log.truncateTo(index, must(log.term(index), `term of entry ${index}`))
    this.#options.onTruncated()
  }

  /** More is applied or held by all: a log that has grown past its bound is freed. */
  maybeFlush(): void {
    if (!this.#stopped && this.#options.log.bytes >= this.#options.snapshotLogBytes) this.flush()
  }

  /**
   * Begins to make what is applied durable, so that the log may go. Does nothing where that is under way, or would free nothing because
   * some replica lags: else its absence would make everyone flush after every batch.
   */
  flush(): void {
    const { stateMachine } = this.#options
    if (this.#flushing || this.#stopped || stateMachine.durable.index >= Math.min(this.#allMatched, this.#options.applied())) return
    this.#flushing = true
    stateMachine.flush().then(
      () => {
        this.#flushing = false
      },
      (error: unknown) => {
        if (!this.#stopped) this.#options.onFailed(error instanceof Error ? error : new Error(String(error)))
      },
    )
  }

  stop(): void {
    this.#stopped = true
  }
}
