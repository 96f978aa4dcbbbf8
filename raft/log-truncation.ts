import { must } from '../base/assert.ts'
import type { StateMachine } from './state-machine.ts'

/** Past so many times `snapshotLogBytes` the log is kept for nobody who lags. */
const laggardFactor = 2
/**
 * So much may have been applied and not be durable: after a kill all of it is applied again before the replica serves, at the cost of each command more than
 * of its bytes. So these bounds are far below that of the log, which is kept for replicas that lag. What is flushed in small tables is merged the more often:
 * with 4 MiB compactions of values of 4 KiB took a quarter of a core where they take a tenth with 16 (docs/decisions/0050-moves-leave-room.md).
 */
const replayMax = { entries: 8192, bytes: 16 * 1024 * 1024 }
/** Its multiples, without their whole parts, lie far apart where their factors follow one another. */
const goldenRatio = (Math.sqrt(5) - 1) / 2
/** Past so many times, and past the size of the state, it is kept for nobody who fetches a snapshot. */
const fetchFactor = 16

export interface LogTruncationOptions {
  readonly log: {
    readonly firstIndex: number
    readonly lastIndex: number
    /** Bytes of the group's entries in the log. */
    readonly bytes: number
    term(index: number): number | undefined
    truncateTo(index: number, term: number): void
  }
  readonly stateMachine: Pick<StateMachine<unknown>, 'durable' | 'flush' | 'bytes'>
  /** The replica's number. */
  readonly replica: number
  /** The log grows to about this before the state machine is flushed to free it. */
  readonly snapshotLogBytes: number
  /** Index of the last entry applied. */
  applied(): number
  /** The log is durable up to here: a write that is on its way may replace what stands there on the disk. */
  stable(): number
  /** The lowest index of a snapshot that a replica is fetching, as a leader knows it; undefined: none is. */
  fetchedSnapshot(): number | undefined
  /** The log's mark moved: space may be reclaimed. */
  onTruncated(): void
  /** The state machine could not be made durable. */
  onFailed(error: Error): void
}

/**
 * Decides how far a replica's log may go, and when the state machine has to be flushed for it. The log is truncated up to where the state
 * machine is durable and the driver knows it applied. Of that it is kept
 * - for replicas that lag, while it is shorter than twice `snapshotLogBytes`; beyond, the newest `snapshotLogBytes` of it are, since most who lag
 *   lag by little. Who needs what is gone gets a snapshot;
 * - behind a snapshot that a replica is fetching, so that its log begins where the snapshot ends, while it is shorter than sixteen times that or than
 *   the state itself: who fetches faster than is written is there before the log has grown as long as what it fetches.
 *
 * What every replica holds durably stays in the log of each later leader, so that bound, once heard, holds in all terms to come.
 */
export class LogTruncation {
  readonly #options: LogTruncationOptions
  /** From 0 to 1: see `#passedFlushPoint`. */
  readonly #phase: number
  /** Every replica's log durably holds the leader's log up to here, as far as this one heard. Only rises. */
  #allMatched = 0
  /** The log's oldest segment must go: the log is kept for nobody until it was truncated. */
  #pinning = false
  #flushing = false
  #stopped = false

  constructor(options: LogTruncationOptions) {
    this.#options = options
    this.#phase = (options.replica * goldenRatio) % 1
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
    const index = Math.min(stateMachine.durable.index, this.#wanted())
    if (index < log.firstIndex) return
    log.truncateTo(index, must(log.term(index), `term of entry ${index}`))
    this.#pinning = false
    this.#options.onTruncated()
  }

  /** More is applied or held by all: a log that has grown past its bound is freed, and what a restart would apply again stays bounded. */
  maybeFlush(): void {
    const { log, stateMachine, snapshotLogBytes } = this.#options
    if (this.#passedFlushPoint()) this.#flush()
    else if (log.bytes >= snapshotLogBytes && stateMachine.durable.index < this.#wanted()) this.#flush()
  }

  /**
   * Whether more is applied than a restart should apply again. Replicas of a group apply the same entries, and a flush slows a node down: if all
   * flushed at the same entry, no majority would be left that is fast. So every replica flushes each `period` entries, at a phase of its own. The
   * period is a power of two: it is the same on all, and stays so, though each takes its entries' size from its own log.
   */
  #passedFlushPoint(): boolean {
    const { log, stateMachine } = this.#options
    const bytesPerEntry = log.bytes / Math.max(1, log.lastIndex - log.firstIndex + 1)
    const entriesMax = Math.min(replayMax.entries, replayMax.bytes / Math.max(1, bytesPerEntry))
    const period = 2 ** Math.max(0, Math.floor(Math.log2(entriesMax)))
    const point = (index: number) => Math.floor(index / period + this.#phase)
    return point(this.#options.applied()) > point(stateMachine.durable.index)
  }

  /** The log's oldest segment must go, and this group pins it: makes durable what is applied and truncates, whoever lags. */
  free(): void {
    this.#pinning = true
    this.maybeTruncate()
    if (this.#options.stateMachine.durable.index < this.#wanted()) this.#flush()
  }

  stop(): void {
    this.#stopped = true
  }

  /** Up to where the log would be truncated, were all that is applied durable. */
  #wanted(): number {
    const { log, snapshotLogBytes } = this.#options
    // The state machine may have sealed in the middle of a batch of which the driver has not heard yet.
    let index = Math.min(this.#options.applied(), this.#options.stable())
    const { bytes } = log
    if (!this.#pinning) index = Math.min(index, bytes < laggardFactor * snapshotLogBytes ? this.#allMatched : this.#behindNewest())
    // In this order: the state's size is a sum over its tables.
    if (bytes >= fetchFactor * snapshotLogBytes && bytes >= (this.#options.stateMachine.bytes ?? 0)) return index
    return Math.min(index, this.#options.fetchedSnapshot() ?? index)
  }

  /** About `snapshotLogBytes` lie behind it, where entries are of one size; not before what all replicas hold. */
  #behindNewest(): number {
    const { log, snapshotLogBytes } = this.#options
    const count = log.lastIndex - log.firstIndex + 1
    return Math.max(this.#allMatched, log.lastIndex - Math.floor((count * snapshotLogBytes) / log.bytes))
  }

  /** Begins to make what is applied durable. Does nothing where that is under way. */
  #flush(): void {
    const { stateMachine } = this.#options
    if (this.#flushing || this.#stopped) return
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
}
