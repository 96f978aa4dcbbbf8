import { assert } from '../../base/assert.ts'
import type { Clock, Timer } from '../../base/clock.ts'
import { isOutOfSpace, type Space } from '../../base/disk-space.ts'
import { DiskError } from '../../base/errors.ts'
import { type FileSystem, joinPath } from '../../base/file-system.ts'
import type { Logger } from '../../base/logger.ts'
import { Batch, SlabPool } from './batch.ts'
import { batchHeaderBytes, formatVersion, type LogPosition, segmentName, writeBatchHeader } from './format.ts'
import type { Segment, Segments } from './segments.ts'

/** What the writer asks of the log around it. Both are synchronous. */
export interface WriterHost {
  /** Adds to `batch` what waited for one (hard states of which only the commit moved). */
  addWaiting(batch: Batch): void
  /** Adds the `state` record of each group as of now. */
  addStates(batch: Batch): void
  /** A batch is durable and placed; its callbacks run after this. */
  batchDurable(): void
}

export interface WriterOptions {
  readonly fileSystem: FileSystem
  readonly clock: Clock
  /** Calls back when a turn's records are in. */
  readonly soon: (callback: () => void) => void
  readonly logger: Logger
  readonly folder: string
  readonly segmentBytes: number
  readonly idleMarkMs: number
  readonly noSync: boolean
  readonly onFailure: (error: Error) => void
  /** A full disk is waited for. Not given: it is a failed write as any other. */
  readonly space?: Space
}

export interface WriterStats {
  batches: number
  marks: number
  syncs: number
  bytesWritten: number
  sealed: number
}

/** A batch with the header and the `state` records in front of it. */
interface Sealed {
  readonly batch: Batch
  readonly states: Batch | undefined
  readonly chunks: Uint8Array[]
  readonly bytes: number
}

/**
 * The group commit: records queue in a batch; one batch at a time is written and synced; what queued meanwhile is the next. Nothing is
 * acknowledged before its batch, and every batch before it, is durable.
 */
export class LogWriter {
  readonly #options: WriterOptions
  readonly #segments: Segments
  readonly #host: WriterHost
  readonly #pool = new SlabPool()
  readonly stats: WriterStats = { batches: 0, marks: 0, syncs: 0, bytesWritten: 0, sealed: 0 }
  #queue: Batch
  #active: Segment | undefined
  /** All below is durable. Moves when a batch is. */
  #synced: LogPosition
  /** Number of the newest durable batch. */
  #durable: number
  #writing: Sealed | undefined
  #running: Promise<void> | undefined
  #scheduled = false
  /** Something waits for a batch that forces none. */
  #waiting = false
  /** The newest durable batch was waited for, and no mark covers it yet. */
  #unmarked: boolean
  #timer: Timer | undefined
  #failure: Error | undefined
  readonly #failureWaiters = new Set<(error: Error) => void>()
  #closing = false

  /** `active`: the segment to go on in, undefined in an empty folder; `batch`: the newest batch number in use; `synced`: the end of the log. */
  constructor(
    options: WriterOptions,
    segments: Segments,
    host: WriterHost,
    start: { active: Segment | undefined; batch: number; synced: LogPosition; unmarked: boolean },
  ) {
    this.#options = options
    this.#segments = segments
    this.#host = host
    this.#active = start.active
    this.#durable = start.batch
    this.#synced = start.synced
    this.#unmarked = start.unmarked
    this.#queue = this.#nextBatch(start.batch)
    this.#armTimer()
  }

  /** The batch to add records to. */
  get batch(): Batch {
    return this.#queue
  }

  /** Bytes that are queued or being written. */
  get queuedBytes(): number {
    return this.#queue.bytes + (this.#writing?.bytes ?? 0)
  }

  get failure(): Error | undefined {
    return this.#failure
  }

  /** Number of the newest durable batch. */
  get durableBatch(): number {
    return this.#durable
  }

  /** The segment that batches go to, and where it ends. */
  get synced(): LogPosition {
    return this.#synced
  }

  /** The batch being filled is written as soon as this turn's records are in; `onDurable` is called when it is durable. */
  force(onDurable?: () => void): void {
    if (this.#failure !== undefined) return
    assert(!this.#closing, 'the log is closed')
    if (onDurable !== undefined) this.#queue.onDurable(onDurable)
    this.#queue.forced = true
    this.#schedule()
  }

  /** The batch being filled need not be written soon; an idle log writes it with its mark. */
  lazily(): void {
    this.#waiting = true
    this.#armTimer()
  }

  /** Resolves when all that is queued is durable. Rejects when the log has failed. */
  async flush(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      if (this.#failure !== undefined) reject(this.#failure)
      else this.#failureWaiters.add(reject)
      this.force(() => {
        this.#failureWaiters.delete(reject)
        resolve()
      })
    })
  }

  /** Writes what is queued and the last mark. */
  async close(): Promise<void> {
    if (this.#failure === undefined && (this.#queue.forced || this.#queue.records > 0 || this.#waiting || this.#running !== undefined)) {
      await this.flush().catch(() => undefined)
    }
    await this.#running
    this.#closing = true
    this.#timer?.cancel()
    if (this.#unmarked && this.#failure === undefined) await this.#run()
  }

  fail(error: Error): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.#timer?.cancel()
    for (const reject of this.#failureWaiters) reject(error)
    this.#failureWaiters.clear()
    this.#options.onFailure(error)
  }

  #schedule(): void {
    if (this.#scheduled || this.#running !== undefined) return
    this.#scheduled = true
    this.#options.soon(() => {
      this.#scheduled = false
      if (this.#running === undefined && this.#failure === undefined) this.#start()
    })
  }

  #start(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#running = this.#run().finally(() => {
      this.#running = undefined
      if (this.#failure !== undefined) return
      if (this.#queue.forced) this.#schedule()
      else this.#armTimer()
    })
  }

  /** Writes at least one batch, then goes on as long as someone waits for the next. */
  async #run(): Promise<void> {
    try {
      do await this.#writeBatch()
      while (this.#queue.forced && this.#failure === undefined)
    } catch (error) {
      this.fail(error instanceof Error ? error : new DiskError(String(error)))
    }
  }

  #armTimer(): void {
    if (this.#timer !== undefined || this.#running !== undefined || this.#closing || this.#failure !== undefined) return
    if (!this.#unmarked && !this.#waiting) return
    this.#timer = this.#options.clock.setTimer(this.#options.idleMarkMs, () => {
      this.#timer = undefined
      if (this.#running === undefined && this.#failure === undefined && !this.#closing) this.#start()
    })
  }

  #nextBatch(number: number): Batch {
    this.#segments.batch = number + 1
    return new Batch(number + 1, this.#pool)
  }

  async #writeBatch(): Promise<void> {
    let sealed = this.#seal(undefined)
    for (let failures = 0; ; ) {
      try {
        const segment = await this.#segmentFor(sealed)
        await segment.file.write(sealed.chunks, segment.length)
        await this.#sync(segment)
        this.#complete(sealed, segment)
        return
      } catch (error) {
        if (error instanceof DiskError) throw error
        await this.#leaveSegment(error)
        // A full disk is no broken one: it is waited for, however long.
        if (this.#options.space !== undefined && isOutOfSpace(error)) await this.#options.space.exhausted()
        else if (++failures > 1) throw new DiskError(`cannot write to ${this.#options.folder}: ${text(error)}`, { cause: error })
        sealed = this.#seal(sealed.batch)
      }
    }
  }

  /**
   * A failed or short write: the segment ends at its last good offset, which the next segment's first `syncedUpTo` says; nothing behind it
   * was acknowledged, so the batch is written again there. One that holds nothing yet is removed, so that a full disk is not filled with names.
   */
  async #leaveSegment(error: unknown): Promise<void> {
    const segment = this.#active
    this.#active = undefined
    if (segment === undefined) return
    this.#options.logger.warn({ file: segment.path, offset: segment.length, error }, 'a write to the log failed; its segment is sealed')
    if (segment.length === 0 && segment === this.#segments.newest) {
      await this.#segments.removeNewest()
      await this.#options.fileSystem.unlink(segment.path)
      return
    }
    this.stats.sealed++
    await segment.file.truncate(segment.length).catch(() => undefined)
  }

  /** Closes the queue and lays the batch out, after `failed` if that must be written again. Synchronous: the states are those behind it. */
  #seal(failed: Batch | undefined): Sealed {
    this.#host.addWaiting(this.#queue)
    this.#waiting = false
    const batch = failed === undefined ? this.#queue : Batch.joined(failed, this.#queue)
    this.#queue = this.#nextBatch(batch.number)
    const wanted = batchHeaderBytes + batch.bytes
    const active = this.#active
    if (active !== undefined && batch.records > 0 && active.length > 0 && active.length + wanted > this.#options.segmentBytes) {
      this.#active = undefined
    }
    const starts = this.#active === undefined || this.#active.length === 0
    const states = starts ? new Batch(batch.number, this.#pool) : undefined
    if (states !== undefined) this.#host.addStates(states)
    const bytes = wanted + (states?.bytes ?? 0)
    const sealed = { batch, states, chunks: [new Uint8Array(batchHeaderBytes), ...(states?.chunks() ?? []), ...batch.chunks()], bytes }
    this.#writing = sealed
    return sealed
  }

  /** The segment for this batch, made where there is none, and the batch's header. */
  async #segmentFor(sealed: Sealed): Promise<Segment> {
    const segment = this.#active ?? (await this.#createSegment())
    this.#active = segment
    const { batch, states } = sealed
    writeBatchHeader(sealed.chunks[0] as Uint8Array, {
      version: formatVersion,
      records: batch.records + (states?.records ?? 0),
      segment: segment.number,
      batch: batch.number,
      offset: segment.length,
      syncedUpTo: this.#synced,
      bodyLength: sealed.bytes - batchHeaderBytes,
      recordsChecksum: batch.recordsChecksum(states?.recordsChecksum() ?? 0),
    })
    return segment
  }

  async #createSegment(): Promise<Segment> {
    const newest = this.#segments.newest
    const number = newest === undefined ? 1 : newest.number + 1
    const path = joinPath(this.#options.folder, segmentName(number))
    return this.#segments.add(number, path, await this.#options.fileSystem.open(path, 'create'), 0)
  }

  async #sync(segment: Segment): Promise<void> {
    if (this.#options.noSync) return
    this.stats.syncs++
    try {
      await segment.file.sync()
      if (segment.length === 0) await this.#options.fileSystem.syncFolder(this.#options.folder)
    } catch (error) {
      throw new DiskError(`cannot sync ${segment.path}: ${text(error)}`, { cause: error })
    }
  }

  #complete(sealed: Sealed, segment: Segment): void {
    const { batch, states } = sealed
    batch.place(segment.number, segment.length + batchHeaderBytes + (states?.bytes ?? 0))
    segment.length += sealed.bytes
    this.#synced = { segment: segment.number, offset: segment.length }
    this.#durable = batch.number
    this.#unmarked = batch.forced && batch.records > 0
    this.#writing = undefined
    this.stats.batches++
    if (batch.records === 0) this.stats.marks++
    this.stats.bytesWritten += sealed.bytes
    batch.release()
    states?.release()
    // It failed meanwhile for another reason: nothing is acknowledged after that.
    if (this.#failure !== undefined) return
    this.#host.batchDurable()
    for (const callback of batch.callbacks) callback()
  }
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
