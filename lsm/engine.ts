import { ClosedError, CorruptionError, codeOf, DiskError, systemErrorCode } from '../base/errors.ts'
import type { Manifest } from './manifest.ts'
import { Memtable } from './memtable.ts'
import type { MemtableHolder } from './memtable-budget.ts'
import { type ResolvedOptions, tableWriterOptions } from './options.ts'
import type { TableStore } from './table-store.ts'
import type { TableWriterOptions } from './table-writer.ts'
import { type QueueElement, View } from './view.ts'

/** What the parts of an open database share. */
export class Engine implements MemtableHolder {
  readonly options: ResolvedOptions
  readonly manifest: Manifest
  readonly store: TableStore
  /** All that readers see now. Changes only by `setView`, whole. */
  view: View
  /** The newest visible sequence number: rises with each write. */
  sequence: number
  /** At least the sequence numbers of all that was ingested: a new memtable begins above it. */
  sequenceFloor = 0
  /** Logs that exist, oldest first; the last is written to. */
  logs: readonly number[] = []
  failed: Error | undefined
  closed = false
  readonly counters = { flushes: 0, flushedBytes: 0, compactions: 0, compactedBytes: 0, moves: 0 }
  /** Lets other work of this thread run. */
  readonly pause = (): Promise<void> => new Promise((resolve) => this.options.clock.soon(resolve))
  #waiters: (() => void)[] = []

  constructor(options: ResolvedOptions, manifest: Manifest, store: TableStore) {
    this.options = options
    this.manifest = manifest
    this.store = store
    this.sequence = manifest.state.lastSequence
    this.view = new View(store, this.newMemtable(), [], manifest.state.version)
    options.memtableBudget.join(this)
  }

  get writerOptions(): TableWriterOptions {
    return tableWriterOptions(this.options)
  }

  get activeBytes(): number {
    return this.view.memtable.bytes
  }

  get memtableBytes(): number {
    let bytes = this.view.memtable.bytes
    for (const { memtable } of this.view.queue) if (memtable !== undefined) bytes += memtable.bytes
    return bytes
  }

  /** Replaces parts of the view, in one turn. */
  setView(change: { memtable?: Memtable; queue?: readonly QueueElement[]; version?: View['version'] }): void {
    const old = this.view
    this.view = new View(this.store, change.memtable ?? old.memtable, change.queue ?? old.queue, change.version ?? old.version)
    old.release()
    this.wake()
  }

  /** An empty memtable for what comes now. */
  newMemtable(): Memtable {
    this.sequence = Math.max(this.sequence, this.sequenceFloor)
    const { bytes, pool } = this.options.memtableBudget
    return new Memtable(this.sequence, bytes, pool)
  }

  /** The first failure is final: it is kept, told, and nothing is written any more. Returns it. */
  fail(error: unknown): Error {
    if (this.failed !== undefined) return this.failed
    const failure = asFailure(error)
    this.failed = failure
    this.store.frozen = true
    this.options.logger.error({ error: failure, folder: this.options.folder }, 'the database failed and takes no more writes')
    this.wake()
    void this.#tell(failure)
    return failure
  }

  /** Before it returns. What is thrown there ends nothing here: those who wait for what failed have not been told yet. */
  async #tell(failure: Error): Promise<void> {
    try {
      await this.options.onFailure?.(failure)
    } catch (error) {
      this.options.logger.error({ error, folder: this.options.folder }, 'onFailure itself failed')
    }
  }

  mustWrite(): void {
    if (this.closed) throw new ClosedError('the database is closed')
    this.mustNotHaveFailed()
  }

  mustNotHaveFailed(): void {
    if (this.failed !== undefined) throw this.failed
  }

  /** Resolves at the next change of the view, or failure. */
  changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.push(resolve)
    })
  }

  wake(): void {
    const waiters = this.#waiters
    this.#waiters = []
    for (const waiter of waiters) waiter()
  }
}

/** What the system refused, a file or a thread for a job, is a failing disk; anything else is what it is: corruption, or a bug of ours. */
function asFailure(error: unknown): Error {
  const isTyped = error instanceof CorruptionError || error instanceof DiskError
  const isOfMachine = systemErrorCode(error) !== undefined || codeOf(error)?.startsWith('ERR_WORKER_') === true
  if (isOfMachine && !isTyped) return new DiskError(error instanceof Error ? error.message : String(error), { cause: error })
  return error instanceof Error ? error : new Error(String(error))
}
