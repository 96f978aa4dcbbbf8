import { unlessAborted } from '../base/abort.ts'
import { assert, must } from '../base/assert.ts'
import { compareBytes, copyBytes } from '../base/bytes.ts'
import { ClosedError } from '../base/errors.ts'
import { type MaybePromise, settleAll } from '../base/maybe-promise.ts'
import { copyOfRange, mustBeBytes, mustBeRange } from './arguments.ts'
import { writeDelayMs } from './back-pressure.ts'
import { type CheckpointFiles, makeCheckpoint } from './checkpoint.ts'
import { Compactor } from './compactor.ts'
import { Engine } from './engine.ts'
import { FlushQueue } from './flush-queue.ts'
import { discardIngest, type IngestFile, PreparedIngest, prepareIngest, removeIngest } from './ingest.ts'
import { DatabaseIterator, type IterateOptions, Snapshot } from './iterator.ts'
import type { Abortable, KeyRange } from './kind.ts'
import { LogPipeline } from './log-pipeline.ts'
import { type DatabaseOptions, resolveOptions } from './options.ts'
import { deletesOf } from './range-deletes.ts'
import { type ExportedTable, type ExportRange, exportRanges } from './range-export.ts'
import { approximateBytes } from './range-size.ts'
import { recover } from './recovery.ts'
import { TableStore } from './table-store.ts'
import type { Version } from './version.ts'
import { View } from './view.ts'
import { WriteAheadLog } from './write-ahead-log.ts'
import { WriteBatch } from './write-batch.ts'

export interface DatabaseStats {
  /** Active memtable. */
  readonly memtableBytes: number
  readonly memtableEntries: number
  /** Memory for memtables: of those there are, and what is kept for those to come. With a shared budget: of all its databases. */
  readonly memtableMemoryBytes: number
  /** Elements of the flush queue, and the memtables among them. */
  readonly queueLength: number
  readonly immutableMemtables: number
  /** By level. */
  readonly levels: readonly { readonly tables: number; readonly bytes: number }[]
  readonly blockCacheBytes: number
  /** Files of tables; where databases share them: of all. */
  readonly openTables: number
  readonly flushes: number
  readonly flushedBytes: number
  readonly compactions: number
  /** Input of compactions. */
  readonly compactedBytes: number
  readonly trivialMoves: number
}

type QueueContent = Parameters<FlushQueue['push']>[0]

/** The storage engine; its contract is `lsm/README.md`. */
export class Database {
  readonly #engine: Engine
  readonly #queue: FlushQueue
  readonly #compactor: Compactor
  readonly #log: LogPipeline | undefined
  /** What neither queue nor log knows of, though it is at work with the folder or reads its files: `close` waits for it. */
  readonly #underWay = new Set<Promise<unknown>>()
  #closing: Promise<void> | undefined

  private constructor(engine: Engine, log: WriteAheadLog | undefined) {
    this.#engine = engine
    this.#compactor = new Compactor(engine)
    this.#queue = new FlushQueue(engine, () => this.#compactor.maybeStart())
    this.#log = log === undefined ? undefined : new LogPipeline(engine, this.#queue, log)
  }

  /** Throws RangeError on an option that cannot be, CorruptionError on damage, the file system's error where it refuses. */
  static async open(options: DatabaseOptions): Promise<Database> {
    const resolved = resolveOptions(options)
    const { fileSystem, folder, blockCache: cache, tableFiles: files, logger } = resolved
    const { manifest, logNumber } = await recover(resolved)
    try {
      const log = resolved.wal ? await WriteAheadLog.create(fileSystem, folder, logNumber) : undefined
      await log?.begin(0).catch(async (error: unknown) => {
        await log.close()
        throw error
      })
      const store = new TableStore({ fileSystem, folder, cache, files, logger })
      const database = new Database(new Engine(resolved, manifest, store), log)
      database.#compactor.maybeStart()
      return database
    } catch (error) {
      await manifest.close()
      throw error
    }
  }

  /** The first background failure (DiskError or CorruptionError); writes fail with it from then on. */
  get failed(): Error | undefined {
    return this.#engine.failed
  }

  /**
   * Applies the batch as a whole. Without a WAL: at once, visible when it returns. With a WAL: resolves, and is visible, when it is in the log
   * and, unless `sync` is false, durable. Throws (rejects, with a WAL) after a failure or `close`.
   */
  write(batch: WriteBatch, options?: { readonly sync?: boolean }): MaybePromise<void> {
    const engine = this.#engine
    if (this.#log !== undefined) return this.#writeLogged(batch, options?.sync ?? true)
    engine.mustWrite()
    engine.view.memtable.add(batch.encoded(), engine.sequence + 1)
    engine.sequence++
  }

  /** A batch of one: see `write`. Throws RangeError as `WriteBatch` does. */
  put(key: Uint8Array, value: Uint8Array, options?: { readonly sync?: boolean }): MaybePromise<void> {
    return this.write(new WriteBatch().put(key, value), options)
  }

  /** The same: a key that is not there is deleted without an error. */
  delete(key: Uint8Array, options?: { readonly sync?: boolean }): MaybePromise<void> {
    return this.write(new WriteBatch().delete(key), options)
  }

  /** A copy of the value. */
  get(key: Uint8Array, snapshot?: Snapshot): MaybePromise<Uint8Array | undefined> {
    this.#mustBeOpen()
    mustBeBytes('key', key)
    if (snapshot !== undefined) return snapshot.mustBeHeld().view.get(key, snapshot.sequence)
    return this.#engine.view.get(key, this.#engine.sequence)
  }

  /**
   * `get` that never waits for another turn: what is not in memory is read in this thread, however long the disk takes, and kept in the cache.
   * Throws where `get` would reject; without a WAL also while `ingest` still opens files that `prepareIngest` has not.
   */
  getSync(key: Uint8Array, snapshot?: Snapshot): Uint8Array | undefined {
    this.#mustBeOpen()
    mustBeBytes('key', key)
    if (snapshot !== undefined) return snapshot.mustBeHeld().view.getSync(key, snapshot.sequence)
    return this.#engine.view.getSync(key, this.#engine.sequence)
  }

  /** All of one moment; a promise if one of them needs it. */
  getMany(keys: readonly Uint8Array[], snapshot?: Snapshot): MaybePromise<(Uint8Array | undefined)[]> {
    this.#mustBeOpen()
    for (const key of keys) mustBeBytes('key', key)
    const view = snapshot?.mustBeHeld().view ?? this.#engine.view
    const limit = snapshot?.sequence ?? this.#engine.sequence
    const values: MaybePromise<Uint8Array | undefined>[] = []
    let waits = false
    try {
      for (const key of keys) {
        const value = view.get(key, limit)
        if (value instanceof Promise) waits = true
        values.push(value)
      }
    } catch (error) {
      // Of those under way only this call hears, also of their failures.
      if (!waits) throw error
      values.push(Promise.reject(error))
    }
    return waits ? settleAll(values) : (values as (Uint8Array | undefined)[])
  }

  /**
   * With a WAL: removes all keys of [lower, upper) that were written before, as one step; undefined is unbounded. A few records are deleted by a
   * batch in the log, as `write` does it with `sync`; more of them by `excise`, in a time that does not depend on how many.
   */
  async deleteRange(
    lower: Uint8Array | undefined,
    upper: Uint8Array | undefined,
    options: { readonly sync?: boolean } = {},
  ): Promise<void> {
    const log = this.#log
    assert(log !== undefined, 'deleteRange is for a database with a WAL: without one `excise` takes a mark')
    const engine = this.#engine
    engine.mustWrite()
    const range = copyOfRange({ lower, upper })
    if (isEmptyRange(range)) return
    await log.writeOrRotate(
      async () => (await deletesOf(engine, range))?.encoded(),
      options.sync ?? true,
      (logNumber) => this.#queue.push({ excised: [range], logNumber }).done,
    )
  }

  /** The records of [lower, upper) as they are now, or were at the snapshot. */
  iterate(options: IterateOptions = {}): DatabaseIterator {
    this.#mustBeOpen()
    mustBeRange(options)
    if (options.prefix !== undefined) mustBeBytes('prefix', options.prefix)
    const engine = this.#engine
    const { view, sequence } = options.snapshot?.mustBeHeld() ?? engine
    return new DatabaseIterator(view.retain(), sequence, engine.pause, options)
  }

  /** Must be released: until then it holds memory and files. */
  snapshot(): Snapshot {
    this.#mustBeOpen()
    return new Snapshot(this.#engine.view.retain(), this.#engine.sequence)
  }

  /** Without a WAL: the memtable is over its budget. */
  get wantsSeal(): boolean {
    return this.#engine.options.memtableBudget.isSpentBy(this.#engine)
  }

  /**
   * Without a WAL: the memtable becomes immutable and enters the flush queue, before this returns. Resolves when all up to here is durable
   * and the manifest carries `mark`. With an empty memtable only the mark is written, in order.
   */
  seal(mark: Uint8Array): Promise<void> {
    assert(this.#log === undefined, 'seal is for a database without a WAL')
    return this.#push({ mark: copyBytes(mark) })
  }

  /** The newest mark that is durable; found again at open. */
  get durableMark(): Uint8Array | undefined {
    return this.#engine.manifest.state.mark
  }

  /** What a writer should wait before its next write, so that flush and compaction keep up. With a WAL `write` does so itself. */
  get writeDelayMs(): number {
    return writeDelayMs(this.#engine)
  }

  /** Verifies and links files, so that `ingest` can no longer fail over them. Once aborted nothing is linked any more. */
  async prepareIngest(files: readonly IngestFile[], { signal }: Abortable = {}): Promise<PreparedIngest> {
    this.#engine.mustWrite()
    return await this.#track(prepareIngest(this.#engine, files, { signal }))
  }

  /** Gives up what `prepareIngest` has made. */
  discardIngest(prepared: PreparedIngest): Promise<void> {
    return this.#track(discardIngest(this.#engine, prepared))
  }

  /**
   * Puts tables in, above all that was written before and below all that is written after. `excise`: ranges emptied in the same edit, below
   * the tables. Resolves when durable. Without a WAL it takes its place in the order, and is seen by readers, before this returns (reads wait
   * until the files are open), and a file that does not fit is a failure of the database; with one, the files are verified first, and a misfit
   * only rejects. An abort counts as long as the ingest has not taken its place; nothing has changed then, and what was prepared is used up.
   */
  async ingest(
    files: readonly IngestFile[] | PreparedIngest,
    mark?: Uint8Array,
    options: Abortable & { readonly excise?: readonly KeyRange[] } = {},
  ): Promise<void> {
    const engine = this.#engine
    engine.mustWrite()
    const { signal } = options
    const excised = (options.excise ?? []).map(copyOfRange).filter((range) => !isEmptyRange(range))
    const content = { excised, mark: mark && copyBytes(mark) }
    if (files instanceof PreparedIngest) return this.#track(this.#ingestPrepared(files, content, signal))
    signal?.throwIfAborted()
    if (this.#log !== undefined) {
      const verified = prepareIngest(engine, files, { signal })
      return this.#track(verified.then((prepared) => this.#ingestPrepared(prepared, content, signal)))
    }
    const tables = this.#track(prepareIngest(engine, files, { isQueued: true }))
    return this.#push({ ...content, tables })
  }

  /** Its files are this call's from here on: where it does not take its place they are gone again. */
  async #ingestPrepared(prepared: PreparedIngest, content: QueueContent, signal: AbortSignal | undefined): Promise<void> {
    const tables = prepared.take()
    let tookPlace = false
    const takePlace = () => {
      tookPlace = true
      return { ...content, tables }
    }
    try {
      signal?.throwIfAborted()
      await this.#push(takePlace, signal)
    } catch (error) {
      if (!tookPlace) await removeIngest(this.#engine, tables)
      throw error
    }
  }

  #track<T>(work: Promise<T>): Promise<T> {
    this.#underWay.add(work)
    const ended = () => this.#underWay.delete(work)
    work.then(ended, ended)
    return work
  }

  /** Removes all keys of [lower, upper) that were written before; undefined is unbounded. Readers see it at once; resolves when durable. */
  excise(lower: Uint8Array | undefined, upper: Uint8Array | undefined, mark?: Uint8Array): Promise<void> {
    return this.exciseAll([{ lower, upper }], mark)
  }

  /** `excise` of several ranges, in one edit. */
  exciseAll(ranges: readonly KeyRange[], mark?: Uint8Array): Promise<void> {
    const excised = ranges.map(copyOfRange).filter((range) => !isEmptyRange(range))
    return this.#push({ excised, mark: mark && copyBytes(mark) })
  }

  /**
   * About what the durable records of [lower, upper) take in files: tables that lie within it by their size, others by their index blocks.
   * What only memtables hold is not counted.
   */
  async approximateBytes(lower: Uint8Array, upper: Uint8Array): Promise<number> {
    this.#mustBeOpen()
    mustBeRange({ lower, upper })
    return await approximateBytes(this.#engine, { lower, upper })
  }

  /** A database of its own in `folder` (empty or absent, same file system), by hard links: with a WAL of all that was written before, without one of what is durable. Where it rejects, or is aborted, no table stays in the folder. */
  checkpoint(folder: string, { signal }: Abortable = {}): Promise<CheckpointFiles> {
    return this.#track(this.#checkpoint(folder, signal))
  }

  async #checkpoint(folder: string, signal: AbortSignal | undefined): Promise<CheckpointFiles> {
    this.#engine.mustWrite()
    signal?.throwIfAborted()
    if (this.#log !== undefined) await this.flush({ signal })
    return await makeCheckpoint(this.#engine, folder, signal)
  }

  /**
   * Without a WAL: as `exciseAll` (as `seal`, without ranges), and resolves to a snapshot of just that state when it is durable: of tables alone,
   * without what was written later. For `exportRanges`.
   */
  async sealSnapshot(mark: Uint8Array, options: { readonly excise?: readonly KeyRange[] } = {}): Promise<Snapshot> {
    assert(this.#log === undefined, 'sealSnapshot is for a database without a WAL')
    const excised = (options.excise ?? []).map(copyOfRange).filter((range) => !isEmptyRange(range))
    let snapshot: Snapshot | undefined
    const onDurable = (version: Version) => {
      snapshot = new Snapshot(View.ofTables(this.#engine.store, version), 0)
    }
    try {
      await this.#push({ excised, mark: copyBytes(mark), onDurable })
      return must(snapshot, 'what is durable was shown')
    } catch (error) {
      snapshot?.release()
      throw error
    }
  }

  /**
   * The records of `ranges` (disjoint, ascending) as a snapshot of `sealSnapshot` has them, in tables in `folder`, on the same file system: hard links
   * where a table lies in one of them, else written by compaction jobs. Runs, oldest first; the tables of one do not overlap and ascend: in this order
   * `ingest` takes them, without levels. Tombstones, and values older than others, may be among them. Files are synced, the folder is not; where it
   * rejects, what lies in it is the caller's to remove. The snapshot must be held until then.
   */
  async exportRanges(
    snapshot: Snapshot,
    ranges: readonly ExportRange[],
    folder: string,
    options: Abortable = {},
  ): Promise<ExportedTable[][]> {
    this.#engine.mustWrite()
    const { view } = snapshot.mustBeHeld()
    assert(view.memtable.entries === 0 && view.queue.length === 0, 'the snapshot is one of tables')
    return await this.#track(exportRanges(this.#engine, view.version, ranges, folder, options))
  }

  /** Brings what is durable of a range (default: all) together as deep as its data lies; drops tombstones and what was overwritten. Once aborted it begins no further step; the one that runs comes to its end. */
  async compactRange(lower?: Uint8Array, upper?: Uint8Array, { signal }: Abortable = {}): Promise<void> {
    this.#engine.mustWrite()
    signal?.throwIfAborted()
    await unlessAborted(this.#compactor.compactRange(copyOfRange({ lower, upper }), signal), signal)
  }

  /** With a WAL: seals and resolves when all that was written before is in tables. Without one: resolves when the queue is durable. An abort ends the waiting, not the flush. */
  async flush({ signal }: Abortable = {}): Promise<void> {
    this.#engine.mustWrite()
    signal?.throwIfAborted()
    await unlessAborted(this.#log !== undefined ? this.#push({}) : Promise.resolve(this.#engine.view.queue.at(-1)?.done), signal)
  }

  /** Resolves when no flush and no compaction is due or under way, and files used no more are removed: for tests and measurements. An abort ends the waiting. */
  settle({ signal }: Abortable = {}): Promise<void> {
    return unlessAborted(this.#settle(), signal)
  }

  async #settle(): Promise<void> {
    await this.#queue.settle()
    await this.#compactor.settle()
    await this.#engine.store.settle()
  }

  /** About what all of it takes, on disk and in memory. */
  get bytes(): number {
    // A file of which two parts are left takes its bytes once.
    const files = new Map(this.#engine.view.version.tables().map(({ file, size }) => [file, size]))
    let bytes = this.#engine.memtableBytes
    for (const size of files.values()) bytes += size
    return bytes
  }

  stats(): DatabaseStats {
    const { view, counters, options } = this.#engine
    return {
      memtableBytes: view.memtable.bytes,
      memtableEntries: view.memtable.entries,
      memtableMemoryBytes: options.memtableBudget.pool.heldBytes,
      queueLength: view.queue.length,
      immutableMemtables: view.queue.filter((element) => element.memtable !== undefined).length,
      levels: view.version.levels.map((tables, level) => ({ tables: tables.length, bytes: view.version.bytes(level) })),
      blockCacheBytes: options.blockCache.bytes,
      openTables: options.tableFiles.count,
      flushes: counters.flushes,
      flushedBytes: counters.flushedBytes,
      compactions: counters.compactions,
      compactedBytes: counters.compactedBytes,
      trivialMoves: counters.moves,
    }
  }

  /** What is in the flush queue becomes durable; a running compaction, a checkpoint and the running step of an export end. Open iterators and snapshots must not be used any more. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** `await using` closes it. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    try {
      await this.#closeEngine()
    } finally {
      await this.#engine.options.afterClose?.()
    }
  }

  async #closeEngine(): Promise<void> {
    const engine = this.#engine
    engine.closed = true
    // Each step is taken, whatever became of the one before: nothing may go on in a folder that was given back.
    const steps = [
      () => Promise.allSettled(this.#underWay),
      () => this.#log?.close(),
      () => this.#queue.settle(),
      () => this.#compactor.stop(),
      () => this.#log?.noteEnd(),
      () => engine.manifest.close(),
      () => engine.options.memtableBudget.leave(engine),
      () => engine.store.close(),
      // Its memtable's memory, for others that share the budget. The store is closed: no table is removed for it.
      () => engine.view.release(),
    ]
    const failures: unknown[] = []
    for (const step of steps) {
      try {
        await step()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }

  async #writeLogged(batch: WriteBatch, sync: boolean): Promise<void> {
    this.#engine.mustWrite()
    await (this.#log as LogPipeline).write(batch.encoded().slice(), sync)
  }

  /**
   * Without a WAL before it returns; with one after the writes before it, where `content`, if a function, is called. Resolves when durable; rejects with
   * the signal's reason where that was aborted before it took its place.
   */
  async #push(content: QueueContent | (() => QueueContent), signal?: AbortSignal): Promise<void> {
    this.#engine.mustWrite()
    const take = () => (typeof content === 'function' ? content() : content)
    const log = this.#log
    if (log === undefined) return this.#queue.push(take()).done
    let done: Promise<void> | undefined
    await log.afterRotation((logNumber) => {
      if (signal?.aborted) return undefined
      const taken = take()
      done = this.#queue.push({ ...taken, logNumber }).done
      // An ingest or excise is in no log: a later write must not become durable before it.
      const isInLog = taken.tables === undefined && (taken.excised ?? []).length === 0
      return isInLog ? undefined : done
    })
    if (done === undefined) signal?.throwIfAborted()
    await done
  }

  #mustBeOpen(): void {
    if (this.#engine.closed) throw new ClosedError('the database is closed')
  }
}

function isEmptyRange({ lower, upper }: KeyRange): boolean {
  return lower !== undefined && upper !== undefined && compareBytes(lower, upper) >= 0
}
