import { assert } from '../base/assert.ts'
import { copyBytes } from '../base/bytes.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import { bloomHash } from './bloom.ts'
import { type KeyRange, tombstone } from './kind.ts'
import { Memtable } from './memtable.ts'
import { MemtableSource } from './memtable-source.ts'
import { MaskedSource, type Source } from './source.ts'
import { rangeHolds, type TableMetadata } from './table-metadata.ts'
import { RunSource } from './table-source.ts'
import type { TableStore } from './table-store.ts'
import { Version } from './version.ts'

/** Tables that came from outside, with the ids of those that brought no level. */
export interface IngestedTables {
  readonly tables: readonly TableMetadata[]
  readonly foreign: ReadonlySet<number>
}

/**
 * An element of the flush queue. What it holds, oldest first: the memtable, then the excised ranges, then the ingested tables. Counted: the
 * queue and every view that holds it.
 */
export class QueueElement {
  readonly memtable: Memtable | undefined
  readonly excised: readonly KeyRange[]
  readonly mark: Uint8Array | undefined
  /** Logs below this number are not needed once the element is durable. */
  readonly logNumber: number | undefined
  /** Called in the turn in which the element has become the newest of the durable state. */
  readonly onDurable: ((version: Version) => void) | undefined
  readonly hasTables: boolean
  /** The ingested tables; undefined until they are open, and where there are none. */
  tables: Version | undefined
  foreign: ReadonlySet<number> = new Set()
  /** Resolves when `tables` is there. Rejects where a file is unfit. */
  readonly opened: Promise<void>
  readonly done: Promise<void>
  resolve: () => void = () => undefined
  reject: (error: Error) => void = () => undefined
  readonly #store: TableStore
  #uses = 1

  constructor(
    store: TableStore,
    content: {
      memtable?: Memtable | undefined
      excised?: readonly KeyRange[]
      tables?: Promise<IngestedTables> | IngestedTables | undefined
      mark?: Uint8Array | undefined
      logNumber?: number | undefined
      onDurable?: ((version: Version) => void) | undefined
    },
  ) {
    this.#store = store
    this.memtable = content.memtable
    this.memtable?.retain()
    this.excised = content.excised ?? []
    this.mark = content.mark
    this.logNumber = content.logNumber
    this.onDurable = content.onDurable
    this.hasTables = content.tables !== undefined
    this.done = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    this.done.catch(() => undefined)
    if (content.tables instanceof Promise) this.opened = content.tables.then((tables) => this.#take(tables))
    else {
      if (content.tables !== undefined) this.#take(content.tables)
      this.opened = Promise.resolve()
    }
    this.opened.catch(() => undefined)
  }

  get isPending(): boolean {
    return this.hasTables && this.tables === undefined
  }

  retain(): void {
    this.#uses++
  }

  release(): void {
    assert(this.#uses > 0, 'a queue element is released as often as it was taken')
    if (--this.#uses > 0) return
    this.memtable?.release()
    if (this.tables !== undefined) this.#store.release(this.tables.tables())
  }

  #take(ingested: IngestedTables): void {
    this.tables = Version.of(ingested.tables)
    this.foreign = ingested.foreign
    this.#store.use(this.tables.tables())
    if (this.#uses === 0) this.#store.release(this.tables.tables())
  }
}

// `get` gathers without a pause, so one list serves all.
const candidates: TableMetadata[] = []

/**
 * All that a reader sees: memtable, queue, durable version. Immutable but for the memtable, which readers limit by sequence number. Snapshots
 * and iterators hold views, not sequence numbers: excise and ingest do not touch what they see, and compaction need not keep old versions of
 * keys for them.
 */
export class View {
  readonly memtable: Memtable
  /** Oldest first. */
  readonly queue: readonly QueueElement[]
  readonly version: Version
  readonly #store: TableStore
  #uses = 1

  constructor(store: TableStore, memtable: Memtable, queue: readonly QueueElement[], version: Version) {
    this.#store = store
    this.memtable = memtable
    this.queue = queue
    this.version = version
    memtable.retain()
    for (const element of queue) element.retain()
    store.useVersion(version)
  }

  /** What is durable, alone. */
  static ofTables(store: TableStore, version: Version): View {
    return new View(store, new Memtable(0, 1024), [], version)
  }

  retain(): this {
    assert(this.#uses > 0, 'a view is taken while it is held')
    this.#uses++
    return this
  }

  release(): void {
    assert(this.#uses > 0, 'a view is released as often as it was taken')
    if (--this.#uses > 0) return
    this.memtable.release()
    for (const element of this.queue) element.release()
    this.#store.releaseVersion(this.version)
  }

  /** A copy of the value of `key`, undefined where there is none. No promise where all that is needed is in memory. */
  get(key: Uint8Array, limit: number): MaybePromise<Uint8Array | undefined> {
    if (this.queue.length > 0 && this.#isPending()) return this.#getOnceOpened(copyBytes(key), limit)
    candidates.length = 0
    const last = this.#gather(key, limit)
    if (candidates.length === 0) return last === tombstone ? undefined : last
    const hash = bloomHash(key, 0, key.length)
    for (let i = 0; i < candidates.length; i++) {
      const table = candidates[i] as TableMetadata
      const reader = this.#store.reader(table)
      if (reader instanceof Promise) {
        // The caller's bytes are the caller's again when this returns.
        const kept = copyBytes(key)
        const first = reader.then((opened) => opened.get(kept, hash))
        return this.#getSlowly(kept, hash, first, candidates.slice(i + 1), last)
      }
      const found = reader.get(key, hash)
      if (found instanceof Promise) return this.#getSlowly(copyBytes(key), hash, found, candidates.slice(i + 1), last)
      if (found !== undefined) return found === tombstone ? undefined : found
    }
    return last === tombstone ? undefined : last
  }

  /** `get` at once, however long the disk takes. Throws while an element is pending that may decide. */
  getSync(key: Uint8Array, limit: number): Uint8Array | undefined {
    if (this.#isPending()) throw new Error('getSync while files to ingest are being opened: prepareIngest first')
    candidates.length = 0
    const last = this.#gather(key, limit)
    const hash = candidates.length > 0 ? bloomHash(key, 0, key.length) : 0
    for (const table of candidates) {
      const found = this.#store.readerSync(table).getSync(key, hash)
      if (found !== undefined) return found === tombstone ? undefined : found
    }
    return last === tombstone ? undefined : last
  }

  /** The sources of an iteration, newest first. Only when no element is pending. */
  sources(range: KeyRange, limit: number, reverse: boolean): Source[] {
    const sources: Source[] = []
    const masks: KeyRange[] = []
    const add = (source: Source) => {
      sources.push(masks.length > 0 ? new MaskedSource(source, [...masks], reverse) : source)
    }
    add(new MemtableSource(this.memtable, limit, reverse))
    for (let i = this.queue.length - 1; i >= 0; i--) {
      const element = this.queue[i] as QueueElement
      if (element.tables !== undefined) this.#addVersion(element.tables, range, reverse, add)
      masks.push(...element.excised)
      if (element.memtable !== undefined) add(new MemtableSource(element.memtable, limit, reverse))
    }
    this.#addVersion(this.version, range, reverse, add)
    return sources
  }

  /** Resolves when no element of the queue is pending. */
  async opened(): Promise<void> {
    for (const element of this.queue) await element.opened
  }

  #isPending(): boolean {
    return this.queue.some((element) => element.isPending)
  }

  #addVersion(version: Version, range: KeyRange, reverse: boolean, add: (source: Source) => void): void {
    version.levels.forEach((_, i) => {
      const tables = version.overlapping(i, range)
      if (i === 0) for (const table of tables) add(new RunSource([table], this.#store.open, reverse))
      else if (tables.length > 0) add(new RunSource(tables, this.#store.open, reverse))
    })
  }

  /** Puts the tables that may hold `key` into `candidates`, newest first, up to where memory decides; returns what it decides. */
  #gather(key: Uint8Array, limit: number): Uint8Array | undefined {
    const found = this.memtable.get(key, limit)
    if (found !== undefined) return found
    for (let i = this.queue.length - 1; i >= 0; i--) {
      const element = this.queue[i] as QueueElement
      if (element.tables !== undefined) gatherTables(element.tables, key)
      for (const range of element.excised) if (rangeHolds(range, key)) return tombstone
      const value = element.memtable?.get(key, limit)
      if (value !== undefined) return value
    }
    gatherTables(this.version, key)
    return undefined
  }

  async #getOnceOpened(key: Uint8Array, limit: number): Promise<Uint8Array | undefined> {
    this.#begin()
    try {
      await this.opened()
      return await this.get(key, limit)
    } finally {
      this.#end()
    }
  }

  /** `first`: of the table before `tables`. */
  async #getSlowly(
    key: Uint8Array,
    hash: number,
    first: Promise<Uint8Array | undefined>,
    tables: readonly TableMetadata[],
    last: Uint8Array | undefined,
  ): Promise<Uint8Array | undefined> {
    this.#begin()
    try {
      let found = await first
      for (let i = 0; found === undefined && i < tables.length; i++) {
        const reader = await this.#store.reader(tables[i] as TableMetadata)
        found = await reader.get(key, hash)
      }
      found ??= last
      return found === tombstone ? undefined : found
    } finally {
      this.#end()
    }
  }

  /** A lookup begins to wait. */
  #begin(): void {
    this.retain()
    this.#store.beginLookup()
  }

  #end(): void {
    this.release()
    this.#store.endLookup()
  }
}

function gatherTables(version: Version, key: Uint8Array): void {
  for (const table of version.levels[0] as readonly TableMetadata[]) if (rangeHolds(table, key)) candidates.push(table)
  for (let level = 1; level < version.levels.length; level++) {
    if ((version.levels[level] as readonly TableMetadata[]).length === 0) continue
    const table = version.tableFor(level, key)
    if (table !== undefined) candidates.push(table)
  }
}
