import { sleep } from '../base/clock.ts'
import { isOutOfSpace } from '../base/disk-space.ts'
import { DiskError } from '../base/errors.ts'
import { joinPath } from '../base/file-system.ts'
import { maxImmutables, writeDelayMs } from './back-pressure.ts'
import type { Engine } from './engine.ts'
import type { FlushQueue } from './flush-queue.ts'
import { removeUnused } from './remove-unused.ts'
import { logName } from './table-metadata.ts'
import { WriteAheadLog } from './write-ahead-log.ts'

interface WriteItem {
  readonly operations: Uint8Array
  readonly sync: boolean
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

interface BarrierItem {
  readonly run: () => Promise<void>
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

const groupBytes = 4 * 1024 * 1024
/** So many operations, or bytes of them, go into the memtable in one turn: about two milliseconds. */
const insertsAtOnce = 1024
const copiedAtOnce = 1024 * 1024

/**
 * Writes through the database's own log: what queued while one group was written and synced is the next group. A group becomes visible, in
 * one turn, when it is in the log and in the memtable. Memtables are changed only between groups, so each log holds exactly what its memtable holds.
 */
export class LogPipeline {
  readonly #engine: Engine
  readonly #queue: FlushQueue
  #log: WriteAheadLog
  #items: (WriteItem | BarrierItem)[] = []
  #running: Promise<void> | undefined
  /** The next log, made ahead: to sync the folder takes long while much is being written. Undefined where it could not be made. */
  #spare: Promise<WriteAheadLog | undefined> | undefined
  /** Number of a log that nobody needs any more, whose file the next one gets. Undefined: none is kept. */
  #unneeded: number | undefined
  /** Writers wait for syncs: only these are faster in a file that was written before, and only for them one more file is kept. */
  #isSynced = false
  /** Resolves when all logs before the current one are durable, or the database has failed. */
  #olderDurable: Promise<void> = Promise.resolve()

  constructor(engine: Engine, queue: FlushQueue, log: WriteAheadLog) {
    this.#engine = engine
    this.#queue = queue
    this.#log = log
    engine.logs = [log.number]
    queue.keepLog = (number) => this.#keep(number)
  }

  write(operations: Uint8Array, sync: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#add({ operations, sync, resolve, reject })
    })
  }

  /**
   * Runs `work` after what was written before, while no write is under way, with a fresh log: `work` gets the number of the new one. What is
   * written after it waits until `work` has resolved.
   */
  afterRotation(work: (logNumber: number) => Promise<void> | undefined): Promise<void> {
    return this.#alone(() => this.#rotateAnd(work))
  }

  /**
   * Calls `choose` after what was written before, while no write is under way, and writes the operations that it resolves to. Where these are
   * undefined: as `afterRotation`.
   */
  writeOrRotate(
    choose: () => Promise<Uint8Array | undefined>,
    sync: boolean,
    work: (logNumber: number) => Promise<void> | undefined,
  ): Promise<void> {
    return this.#alone(async () => {
      const operations = await choose()
      if (operations === undefined) return this.#rotateAnd(work)
      // With `sync` also where nothing is left to delete: what emptied the range may not be durable yet.
      if (operations.length === 0 && !sync) return
      await this.#writeGroup([{ operations, sync }])
      if (sync && this.#items.length === 0) await this.#mark()
    })
  }

  /** Writes what waits, and ends the log's file so that all of it is guarded. */
  async close(): Promise<void> {
    while (this.#running !== undefined) await this.#running
    await this.#olderDurable
    if (this.#engine.failed === undefined) {
      try {
        await this.#log.sync()
        await this.#mark()
      } catch (error) {
        this.#engine.fail(error)
      }
    }
    try {
      await this.#log.close()
    } finally {
      await this.#removeSpare()
    }
  }

  /** After `close`, and all flushes: leaves word in the manifest of how far the log goes, so that a missing or shorter one is no log that a crash left. */
  async noteEnd(): Promise<void> {
    const { number, durableEnd: end } = this.#log
    if (end === undefined || this.#engine.failed !== undefined) return
    try {
      await this.#engine.manifest.commit(
        () => ({ closedLog: { number, end }, dropped: [], added: [] }),
        () => undefined,
      )
    } catch (error) {
      // Without room the log is all the same what it is.
      if (!isOutOfSpace(error)) this.#engine.fail(error)
    }
  }

  #add(item: WriteItem | BarrierItem): void {
    this.#items.push(item)
    this.#running ??= this.#run()
  }

  #alone(run: () => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#add({ run, resolve, reject })
    })
  }

  async #rotateAnd(work: (logNumber: number) => Promise<void> | undefined): Promise<void> {
    await this.#rotate()
    await work(this.#log.number)
  }

  async #run(): Promise<void> {
    // What this turn issues leaves as one group.
    await Promise.resolve()
    while (this.#items.length > 0) {
      const first = this.#items[0] as WriteItem | BarrierItem
      const group = 'run' in first ? undefined : this.#takeGroup()
      if (group === undefined) this.#items.shift()
      const taken = group ?? [first]
      try {
        if (this.#engine.failed !== undefined) throw this.#engine.failed
        if (group !== undefined) await this.#writeGroup(group)
        else await (first as BarrierItem).run()
        for (const item of taken) item.resolve()
        if (this.#items.length === 0 && group?.some((item) => item.sync)) await this.#mark()
      } catch (error) {
        const failure = this.#engine.fail(error)
        for (const item of taken) item.reject(failure)
      }
    }
    this.#running = undefined
  }

  #takeGroup(): WriteItem[] {
    const group: WriteItem[] = []
    let bytes = 0
    for (let item = this.#items[0]; item !== undefined && !('run' in item); item = this.#items[0]) {
      if (group.length > 0 && bytes + item.operations.length > groupBytes) break
      bytes += item.operations.length
      group.push(item)
      this.#items.shift()
    }
    return group
  }

  async #writeGroup(group: readonly Pick<WriteItem, 'operations' | 'sync'>[]): Promise<void> {
    const engine = this.#engine
    const delayMs = writeDelayMs(engine)
    if (delayMs > 0) await sleep(engine.options.clock, delayMs)
    if (engine.options.memtableBudget.isSpentBy(engine)) await this.#seal()
    let sequence = engine.sequence
    const batches = group.map(({ operations }) => ({ operations, sequence: ++sequence }))
    await this.#log.append(batches)
    if (group.some((item) => item.sync)) await this.#sync()
    await this.#insert(batches)
    engine.sequence = sequence
    if (2 * engine.activeBytes >= engine.options.memtableBudget.bytes) this.#spare ??= this.#createAhead()
  }

  /** In turns of a few milliseconds: nobody sees any of it yet, since readers look no higher than the engine's sequence number. */
  async #insert(batches: readonly { readonly operations: Uint8Array; readonly sequence: number }[]): Promise<void> {
    const { view, pause } = this.#engine
    let left = insertsAtOnce
    let copied = 0
    for (const { operations, sequence } of batches) {
      copied += operations.length
      if (copied > copiedAtOnce) {
        await pause()
        copied = operations.length
        left = insertsAtOnce
      }
      view.memtable.begin(operations, sequence)
      left = view.memtable.insertSome(left)
      while (left === 0) {
        await pause()
        left = view.memtable.insertSome(insertsAtOnce)
      }
    }
  }

  async #seal(): Promise<void> {
    const engine = this.#engine
    while (engine.view.queue.length >= maxImmutables && engine.failed === undefined) await engine.changed()
    await this.#rotate()
    this.#queue.push({ logNumber: this.#log.number })
  }

  /** All that was written becomes durable, the older logs first. */
  async #sync(): Promise<void> {
    await this.#olderDurable
    if (this.#engine.failed !== undefined) throw this.#engine.failed
    this.#isSynced = true
    await this.#log.sync()
  }

  async #rotate(): Promise<void> {
    const engine = this.#engine
    await this.#olderDurable
    if (engine.failed !== undefined) throw engine.failed
    const next = (await this.#spare) ?? (await this.#create())
    if (engine.failed !== undefined) {
      this.#spare = Promise.resolve(next)
      throw engine.failed
    }
    this.#spare = Promise.resolve(next)
    const old = this.#log
    await old.end()
    this.#spare = undefined
    // Beside the writes to come: many megabytes may be written that nobody wanted synced.
    this.#olderDurable = old.finish().catch((error: unknown) => {
      engine.fail(error)
    })
    this.#log = next
    await next.begin(old.number)
    engine.logs = [...engine.logs, this.#log.number]
  }

  #create(): Promise<WriteAheadLog> {
    const { options, manifest } = this.#engine
    const { fileSystem, folder, memtableBudget } = options
    const old = this.#unneeded
    this.#unneeded = undefined
    if (old === undefined) return WriteAheadLog.create(fileSystem, folder, manifest.newNumber())
    return WriteAheadLog.reuse(fileSystem, folder, manifest.newNumber(), old, 2 * memtableBudget.bytes)
  }

  /** Whether a log that nobody needs any more is kept, for the next one's file. */
  #keep(number: number): boolean {
    if (!this.#isSynced || this.#unneeded !== undefined || this.#engine.closed) return false
    this.#unneeded = number
    return true
  }

  /** What fails is tried again when the log is needed; a failed sync is final. */
  #createAhead(): Promise<WriteAheadLog | undefined> {
    return this.#create().catch((error: unknown) => {
      if (error instanceof DiskError) this.#engine.fail(error)
      return undefined
    })
  }

  /** A mark is of use and not needed: it never ends what found room. */
  async #mark(): Promise<void> {
    try {
      await this.#log.mark()
    } catch (error) {
      if (!isOutOfSpace(error)) throw error
    }
  }

  async #removeSpare(): Promise<void> {
    const { fileSystem, folder, logger } = this.#engine.options
    const unneeded = this.#unneeded
    this.#unneeded = undefined
    if (unneeded !== undefined) await removeUnused(fileSystem, joinPath(folder, logName(unneeded)), logger)
    const spare = await this.#spare
    if (spare === undefined) return
    await spare.close()
    // The log before may have its end on the disk, though the write of it was refused: this one must follow then.
    if (this.#engine.failed !== undefined) return
    await removeUnused(fileSystem, joinPath(folder, logName(spare.number)), logger)
  }
}
