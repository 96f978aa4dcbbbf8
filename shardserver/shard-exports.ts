import type { Clock } from '../base/clock.ts'
import { CorruptionError, DiskError } from '../base/errors.ts'
import type { CountingExecutor } from '../base/executor.ts'
import { type FileSystem, joinPath } from '../base/file-system.ts'
import type { Logger } from '../base/logger.ts'
import { OstrakaError } from '../proto/errors.ts'
import type { pb } from '../proto/messages.ts'
import type { FileSet } from '../raft/file-set.ts'
import { type ExportList, encodeExportList } from './export-list.ts'
import { exportListName, type ShardCut, writeExport } from './export-writer.ts'
import type { GroupStore } from './group-store.ts'
import { attemptName, type FoundAttempt, findAttempts, removeAttempt } from './migration-folder.ts'
import type { ExportSet, ExportSource } from './shard-migrations.ts'

/** Where a replica keeps the files of migrations, and what that needs. */
export interface MigrationFilesOptions {
  readonly fileSystem: FileSystem
  /** Its registry must hold `shardJobs`. */
  readonly executor: CountingExecutor
  /** The replica's; `exports/` and `imports/` are made in it. */
  readonly folder: string
  readonly clock: Clock
  readonly logger: Logger
  /** A sync failed: final for the process. */
  readonly onFailure?: ((error: Error) => void) | undefined
}

interface Export {
  readonly id: number
  readonly attempt: number
  readonly folder: string
  /** Undefined: being made. */
  list: ExportList | undefined
  /** The same object for all who ask, so that they share it. */
  set: ExportSet | undefined
  /** This process made its list. */
  readonly readHere: boolean
  /** Ends the making. */
  readonly ending: AbortController
}

/** The cuts that this replica made, as sets of files, each until its migration ends or a newer attempt cuts. */
export class ShardExports implements ExportSource {
  readonly #options: MigrationFilesOptions
  readonly #store: GroupStore
  readonly #folder: string
  readonly #exports = new Map<string, Export>()
  readonly #work = new Set<Promise<void>>()
  /** They wait for what is made. */
  readonly #waiting = new Set<() => void>()
  #closed = false

  constructor(options: MigrationFilesOptions, store: GroupStore) {
    this.#options = options
    this.#store = store
    this.#folder = joinPath(options.folder, 'exports')
  }

  /** What an earlier life has left: whole exports that `isWanted` go on, all else is removed. */
  async reopen(isWanted: (found: FoundAttempt) => boolean): Promise<void> {
    const { fileSystem, logger } = this.#options
    for (const found of await findAttempts(fileSystem, this.#folder, exportListName)) {
      if (found.list === undefined || !isWanted(found)) await removeAttempt(fileSystem, found.folder, logger)
      else
        this.#exports.set(attemptName(found.id, found.attempt), {
          ...found,
          list: found.list,
          set: undefined,
          readHere: false,
          ending: new AbortController(),
        })
    }
  }

  /** Makes the files of a cut, in the background; takes over its snapshot. Ends those of older attempts. */
  begin(cut: ShardCut): void {
    this.end(cut.id)
    const name = attemptName(cut.id, cut.attempt)
    const folder = joinPath(this.#folder, name)
    const { id, attempt } = cut
    const made: Export = { id, attempt, folder, list: undefined, set: undefined, readHere: true, ending: new AbortController() }
    this.#exports.set(name, made)
    this.#track(this.#make(made, cut))
  }

  /** The migration is over here: its files go. */
  end(id: number): void {
    for (const [name, each] of this.#exports) if (each.id === id) this.#drop(name, each)
  }

  /** Ends all but those that `isWanted`. */
  keepOnly(isWanted: (id: number, attempt: number) => boolean): void {
    for (const [name, each] of this.#exports) if (!isWanted(each.id, each.attempt)) this.#drop(name, each)
  }

  isMaking(id: number, attempt: number): boolean {
    const made = this.#exports.get(attemptName(id, attempt))
    return made !== undefined && made.list === undefined
  }

  /** An export was made, ended or lost, or the log has asked for one: who waits looks again. */
  tell(): void {
    for (const look of [...this.#waiting]) look()
  }

  /** Resolves once `isSo`, which is asked whenever something changes here, or after `timeoutMs`. */
  until(isSo: () => boolean, timeoutMs: number): Promise<void> {
    if (isSo()) return Promise.resolve()
    return new Promise((resolve) => {
      const end = () => {
        timer.cancel()
        this.#waiting.delete(look)
        resolve()
      }
      const look = () => {
        if (this.#closed || isSo()) end()
      }
      const timer = this.#options.clock.setTimer(timeoutMs, end)
      this.#waiting.add(look)
    })
  }

  open({ export: wanted }: pb.v1.OpenFilesRequest): Promise<ExportSet> {
    const made = this.#exports.get(attemptName(wanted?.migration ?? 0, wanted?.attempt ?? 0))
    if (made === undefined) {
      return Promise.reject(new OstrakaError('NOT_FOUND', 'this replica does not have that export', true))
    }
    const { list, folder } = made
    if (list === undefined) return Promise.reject(new OstrakaError('UNAVAILABLE', 'the export is being made', true, { waitMs: 50 }))
    made.set ??= { folder, description: encodeExportList(list), files: list.files, readHere: made.readHere }
    return Promise.resolve(made.set)
  }

  /** Exports stay until their migration ends, whoever reads them. */
  release(): void {}

  isOver(set: FileSet): boolean {
    return this.#closed || ![...this.#exports.values()].some((each) => each.set === set)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.tell()
    for (const each of this.#exports.values()) if (each.list === undefined) each.ending.abort()
    while (this.#work.size > 0) await Promise.all(this.#work)
  }

  async #make(made: Export, cut: ShardCut): Promise<void> {
    const { fileSystem, logger, executor } = this.#options
    const { id, attempt } = cut
    const { signal } = made.ending
    try {
      const list = await writeExport({ fileSystem, executor, store: this.#store }, made.folder, cut, signal)
      signal.throwIfAborted()
      made.list = list
      this.tell()
      const bytes = list.files.reduce((sum, { size }) => sum + size, 0)
      logger.info({ migration: id, attempt, shards: list.shards, records: list.records, bytes }, 'shards are cut for a migration')
    } catch (error) {
      const name = attemptName(id, attempt)
      if (this.#exports.get(name) === made) this.#exports.delete(name)
      this.tell()
      if (!signal.aborted) logger.error({ error, migration: id, attempt }, 'an export could not be made: it is lost')
      if (error instanceof DiskError || error instanceof CorruptionError) this.#options.onFailure?.(error)
      await removeAttempt(fileSystem, made.folder, logger)
    } finally {
      // It may be there only later, or never: then it is the store's failure.
      void cut.snapshot.then(
        (snapshot) => snapshot.release(),
        () => undefined,
      )
    }
  }

  #drop(name: string, each: Export): void {
    this.#exports.delete(name)
    each.ending.abort()
    this.tell()
    // One that is being made removes itself.
    if (each.list !== undefined) this.#track(removeAttempt(this.#options.fileSystem, each.folder, this.#options.logger))
  }

  #track(work: Promise<void>): void {
    this.#work.add(work)
    void work.finally(() => this.#work.delete(work))
  }
}
