import { equalBytes } from '../base/bytes.ts'
import { CorruptionError } from '../base/errors.ts'
import { joinPath, makeFolderDurably, replaceFile } from '../base/file-system.ts'
import type { PreparedIngest } from '../lsm/index.ts'
import { OstrakaError } from '../proto/errors.ts'
import type { FileEntry } from '../raft/file-set.ts'
import { decodeExportList, type ExportList, encodeExportList } from './export-list.ts'
import { digestExport } from './export-writer.ts'
import type { GroupStore } from './group-store.ts'
import type { MigrationStep } from './migration-entry.ts'
import { attemptName, type FoundAttempt, findAttempts, listAttempts, removeAttempt } from './migration-folder.ts'
import type { MigrationFilesOptions } from './shard-exports.ts'
import type { BroughtFiles, HeldImport } from './shard-migrations.ts'

/** Written last, when the files are known to be those of the list: with it they are held. */
export const heldName = 'HELD'

interface Held {
  readonly list: ExportList
  prepared: PreparedIngest | undefined
}

type IngestStep = Extract<MigrationStep, { kind: 'ingest' }>

/** Files of shards on their way in: pulled by somebody else into `folderOf`, verified and held here until an ingest has made them its own. */
export class ShardImports {
  readonly #options: MigrationFilesOptions
  readonly #store: GroupStore
  readonly #folder: string
  readonly #held = new Map<string, Held>()
  /** Attempts whose files are being verified for the first time (`true`), or came damaged before. */
  readonly #verifying = new Map<string, boolean>()
  readonly #work = new Set<Promise<void>>()
  readonly #closing = new AbortController()

  constructor(options: MigrationFilesOptions, store: GroupStore) {
    this.#options = options
    this.#store = store
    this.#folder = joinPath(options.folder, 'imports')
  }

  folderOf(id: number, attempt: number): string {
    return joinPath(this.#folder, attemptName(id, attempt))
  }

  /** See `ShardMigrations.bringImport`. */
  whileOpen(bring: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { signal } = this.#closing
    if (signal.aborted) return Promise.reject(new OstrakaError('UNAVAILABLE', 'the replica is closed', true))
    const bringing = bring(signal)
    this.#track(bringing.then(ignore, ignore))
    return bringing
  }

  /** What an earlier life has left: `isOver` says what is removed, of the rest what was held is held again. */
  async reopen(isOver: (found: FoundAttempt) => boolean): Promise<void> {
    const { fileSystem, logger } = this.#options
    for (const found of await findAttempts(fileSystem, this.#folder, heldName)) {
      if (isOver(found)) await removeAttempt(fileSystem, found.folder, logger)
      else if (found.list !== undefined) {
        // To hold files is a promise, and the process before may have ended before the list's name was durable.
        await fileSystem.syncFolder(found.folder)
        this.#held.set(attemptName(found.id, found.attempt), { list: found.list, prepared: undefined })
      }
    }
  }

  holds(id: number, attempt: number): HeldImport | undefined {
    const list = this.#held.get(attemptName(id, attempt))?.list
    return list && { digest: list.digest, cut: list.cut, bytes: list.files.reduce((sum, { size }) => sum + size, 0) }
  }

  /** For the first time: what comes damaged again and again is verified as often. */
  isVerifying(id: number, attempt: number): boolean {
    return this.#verifying.get(attemptName(id, attempt)) === true
  }

  /** `isWanted` is asked before and after the files are read. See `ShardMigrations.stageImport`. */
  stage(id: number, attempt: number, brought: BroughtFiles, isWanted: (list: ExportList) => boolean): Promise<HeldImport> {
    const staging = this.#stage(id, attempt, brought, isWanted)
    this.#track(staging.then(ignore, ignore))
    return staging
  }

  async #stage(id: number, attempt: number, brought: BroughtFiles, isWanted: (list: ExportList) => boolean): Promise<HeldImport> {
    const folder = this.folderOf(id, attempt)
    const list = decodeExportList(brought.description, folder)
    const mustBeWanted = () => {
      if (this.#closing.signal.aborted || !isWanted(list))
        throw new OstrakaError('FAILED_PRECONDITION', `attempt ${attempt} of migration ${id} is not wanted`, true)
    }
    mustBeWanted()
    const name = attemptName(id, attempt)
    if (!this.#held.has(name)) {
      checkSet(list, brought.files, folder)
      if (brought.isVerified !== true) await this.#verify(list, folder)
      const prepared = await this.#prepare(list)
      try {
        mustBeWanted()
        // Whoever brought the files may have synced no folder above this one.
        await makeFolderDurably(this.#options.fileSystem, folder)
        await this.#options.fileSystem.syncFolder(folder)
        await replaceFile(this.#options.fileSystem, joinPath(folder, heldName), encodeExportList(list))
        mustBeWanted()
        if (this.#held.has(name)) throw new OstrakaError('FAILED_PRECONDITION', 'it was staged twice at once', true)
      } catch (error) {
        await this.#store.discardIngest(prepared)
        throw error
      }
      this.#held.set(name, { list, prepared })
    }
    return this.holds(id, attempt) as HeldImport
  }

  /** Makes what `step` takes ready. False: its files are not here. */
  async prepare(step: IngestStep): Promise<boolean> {
    const { logger, fileSystem } = this.#options
    const name = attemptName(step.id, step.attempt)
    const held = this.#held.get(name)
    if (held === undefined || !fits(held.list, step)) return false
    if (held.prepared !== undefined) return true
    try {
      held.prepared = await this.#prepare(held.list)
      return true
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      logger.error({ error, migration: step.id }, 'files that were held are damaged')
      this.#held.delete(name)
      await removeAttempt(fileSystem, this.folderOf(step.id, step.attempt), logger)
      return false
    }
  }

  /** What `prepare` made ready; once. */
  take(step: IngestStep): PreparedIngest {
    const held = this.#held.get(attemptName(step.id, step.attempt))
    const prepared = held?.prepared
    if (held === undefined || prepared === undefined) throw new Error(`the files of migration ${step.id} are not ready`)
    held.prepared = undefined
    return prepared
  }

  /** The files of all attempts below `attempt` go, once `after` has resolved: until then a crash may bring back the need for them. */
  end(id: number, attempt = Number.POSITIVE_INFINITY, after: Promise<void> = Promise.resolve()): void {
    if (this.#closing.signal.aborted) return
    for (const name of this.#verifying.keys()) {
      const [of, at = 0] = name.split('.').map(Number)
      if (of === id && at < attempt) this.#verifying.delete(name)
    }
    for (const [name, { list, prepared }] of this.#held) {
      if (list.id !== id || list.attempt >= attempt) continue
      this.#held.delete(name)
      if (prepared !== undefined) this.#track(this.#store.discardIngest(prepared).catch(() => undefined))
    }
    this.#track(after.then(() => this.#removeAll(id, attempt), ignore))
  }

  /** Forgets and removes all that `isOver`. */
  async prune(isOver: (found: FoundAttempt) => boolean): Promise<void> {
    for (const [name, { list, prepared }] of this.#held) {
      if (!isOver({ id: list.id, attempt: list.attempt, folder: this.folderOf(list.id, list.attempt), list })) continue
      this.#held.delete(name)
      if (prepared !== undefined) await this.#store.discardIngest(prepared)
    }
    const { fileSystem, logger } = this.#options
    for (const found of await findAttempts(fileSystem, this.#folder, heldName)) {
      if (isOver(found)) await removeAttempt(fileSystem, found.folder, logger)
    }
  }

  async close(): Promise<void> {
    this.#closing.abort()
    while (this.#work.size > 0) await Promise.all(this.#work)
  }

  async #removeAll(id: number, below: number): Promise<void> {
    const { fileSystem, logger } = this.#options
    try {
      // By their names alone: files of others may be going meanwhile.
      for (const found of await listAttempts(fileSystem, this.#folder)) {
        if (found.id === id && found.attempt < below) await removeAttempt(fileSystem, found.folder, logger)
      }
    } catch (error) {
      logger.warn({ error, migration: id }, 'files of a migration that is over could not be looked for')
    }
  }

  /** CorruptionError where the files do not fit together. */
  async #prepare({ id, attempt, files }: ExportList): Promise<PreparedIngest> {
    const folder = this.folderOf(id, attempt)
    try {
      return await this.#store.prepareIngest(files.map(({ name, checksum }) => ({ path: joinPath(folder, name), checksum })))
    } catch (error) {
      throw error instanceof RangeError ? new CorruptionError(folder, undefined, error.message) : error
    }
  }

  /** A job reads the files whole: they hold what the list says, and nothing of other shards. */
  async #verify(list: ExportList, folder: string): Promise<void> {
    const name = attemptName(list.id, list.attempt)
    this.#verifying.set(name, !this.#verifying.has(name))
    try {
      const { digest, records } = await digestExport(this.#options.executor, folder, list)
      const isWhole = records === list.records && equalBytes(digest, list.digest)
      if (!isWhole) throw new CorruptionError(folder, undefined, 'the records are not those of the export')
      this.#verifying.delete(name)
    } catch (error) {
      this.#verifying.set(name, false)
      throw error
    }
  }

  #track(work: Promise<void>): void {
    this.#work.add(work)
    void work.finally(() => this.#work.delete(work))
  }
}

function ignore(): void {}

function fits(list: ExportList, step: IngestStep): boolean {
  const sameShards = list.shards.length === step.shards.length && list.shards.every((shard, i) => shard === step.shards[i])
  return sameShards && list.cut === step.cut && equalBytes(list.digest, step.digest)
}

/** The files are those of the list. */
function checkSet(list: ExportList, files: readonly FileEntry[], folder: string): void {
  const given = new Map(files.map((file) => [file.name, file]))
  const isSame = list.files.every(({ name, size, checksum }) => given.get(name)?.size === size && given.get(name)?.checksum === checksum)
  if (!isSame || given.size !== list.files.length) throw new CorruptionError(folder, undefined, 'the files are not those of the list')
}
