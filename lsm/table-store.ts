import { assert } from '../base/assert.ts'
import { ClosedError } from '../base/errors.ts'
import type { FileSystem } from '../base/file-system.ts'
import type { Logger } from '../base/logger.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import type { BlockCache } from './block-cache.ts'
import { removeUnused } from './remove-unused.ts'
import type { TableFiles } from './table-files.ts'
import type { TableMetadata } from './table-metadata.ts'
import { TableReader } from './table-reader.ts'
import { tablePath } from './table-writer.ts'
import type { Version } from './version.ts'

/** The tables' files of one database: open readers, and how many views use each. A file that none uses any more is unlinked. */
export class TableStore {
  readonly #fileSystem: FileSystem
  readonly #folder: string
  readonly #cache: BlockCache
  readonly #files: TableFiles
  readonly #logger: Logger
  readonly #readers = new Map<number, TableReader>()
  readonly #opening = new Map<number, Promise<TableReader>>()
  readonly #uses = new Map<number, number>()
  /** How many views use each version: one comes with each change of memtable or queue, and few of them with another version. */
  readonly #versions = new Map<Version, number>()
  /** Ends with the last removal. One after the other: on ext4 several at once make appends to other files wait for as long as all of them take. */
  #removals: Promise<void> = Promise.resolve()
  /** After a failure no table is given up any more: what the manifest says is not known. */
  frozen = false
  #closed = false
  /** Lookups that wait for a turn, a file or a block. */
  #lookups = 0
  #whenNoLookup: (() => void) | undefined

  constructor(options: { fileSystem: FileSystem; folder: string; cache: BlockCache; files: TableFiles; logger: Logger }) {
    this.#fileSystem = options.fileSystem
    this.#folder = options.folder
    this.#cache = options.cache
    this.#files = options.files
    this.#logger = options.logger
  }

  reader(table: TableMetadata): MaybePromise<TableReader> {
    return this.#readers.get(table.file) ?? this.#opening.get(table.file) ?? this.#open(table)
  }

  /** `reader` at once, however long the disk takes. */
  readerSync(table: TableMetadata): TableReader {
    const { file } = table
    const open = this.#readers.get(file)
    if (open !== undefined) return open
    const reader = TableReader.openSync(this.#fileSystem, tablePath(this.#folder, file), this.#cache, table, this.#files)
    this.#readers.set(file, reader)
    return reader
  }

  /** For sources: bound once. */
  readonly open = (table: TableMetadata): MaybePromise<TableReader> => this.reader(table)

  /** Opens tables of which there is no version yet: who meets them first in the one that brings them does not wait for each. Rejects where one cannot be. */
  async warm(tables: readonly TableMetadata[]): Promise<void> {
    for (const table of tables) await this.reader(table)
  }

  /** A table that no version has ever had: closed, if it was warmed, and its file unlinked. */
  discard({ file }: Pick<TableMetadata, 'file'>): Promise<void> {
    return this.#remove(file)
  }

  use(tables: readonly TableMetadata[]): void {
    for (const { file } of tables) this.#uses.set(file, (this.#uses.get(file) ?? 0) + 1)
  }

  release(tables: readonly TableMetadata[]): void {
    for (const { file } of tables) {
      const uses = this.#uses.get(file) ?? 0
      assert(uses > 0, 'a table is released as often as it was taken')
      if (uses > 1) this.#uses.set(file, uses - 1)
      else {
        this.#uses.delete(file)
        if (!this.frozen) this.#removals = this.#removals.then(() => this.#remove(file)).catch(() => undefined)
      }
    }
  }

  /** `use` of all its tables. */
  useVersion(version: Version): void {
    const uses = this.#versions.get(version) ?? 0
    this.#versions.set(version, uses + 1)
    if (uses === 0) this.use(version.tables())
  }

  releaseVersion(version: Version): void {
    const uses = this.#versions.get(version) ?? 0
    assert(uses > 0, 'a version is released as often as it was taken')
    if (uses > 1) this.#versions.set(version, uses - 1)
    else {
      this.#versions.delete(version)
      this.release(version.tables())
    }
  }

  /** A lookup waits from now on, until `endLookup`: the readers stay open for it. */
  beginLookup(): void {
    this.#lookups++
  }

  endLookup(): void {
    assert(this.#lookups > 0, 'a lookup ends once')
    if (--this.#lookups === 0) this.#whenNoLookup?.()
  }

  /** Waits for lookups and removals under way and closes all readers, also where one rejects: with the first failure then. */
  async close(): Promise<void> {
    if (this.#lookups > 0) {
      await new Promise<void>((resolve) => {
        this.#whenNoLookup = resolve
      })
    }
    this.frozen = true
    this.#closed = true
    await this.#removals
    await Promise.allSettled(this.#opening.values())
    const failures: unknown[] = []
    for (const reader of this.#readers.values()) await reader.close().catch((error: unknown) => failures.push(error))
    this.#readers.clear()
    if (failures.length > 0) throw failures[0]
  }

  /** Waits until what is not used any more is unlinked. */
  async settle(): Promise<void> {
    let last: Promise<void>
    do {
      last = this.#removals
      await last
    } while (last !== this.#removals)
  }

  #open(table: TableMetadata): Promise<TableReader> {
    const { file } = table
    const opening = this.#openUnlessOpen(table).finally(() => this.#opening.delete(file))
    this.#opening.set(file, opening)
    return opening
  }

  async #openUnlessOpen(table: TableMetadata): Promise<TableReader> {
    if (this.#closed) throw new ClosedError('the database is closed')
    const { file } = table
    const reader = await TableReader.open(this.#fileSystem, tablePath(this.#folder, file), this.#cache, table, this.#files)
    const open = this.#readers.get(file)
    if (open === undefined) {
      this.#readers.set(file, reader)
      return reader
    }
    // `readerSync` was faster.
    await reader.close()
    return open
  }

  async #remove(file: number): Promise<void> {
    await this.#opening.get(file)?.catch(() => undefined)
    const reader = this.#readers.get(file)
    this.#readers.delete(file)
    try {
      await reader?.close()
    } catch (error) {
      this.#logger.warn({ error }, 'a table that is used no more could not be closed')
    }
    await removeUnused(this.#fileSystem, tablePath(this.#folder, file), this.#logger)
  }
}
