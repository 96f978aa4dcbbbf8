import {
  type AbstractBatchOperation,
  type AbstractBatchOptions,
  type AbstractChainedBatch,
  type AbstractClearOptions,
  type AbstractDatabaseOptions,
  type AbstractDelOptions,
  AbstractLevel,
  type AbstractOpenOptions,
  type AbstractPutOptions,
} from 'abstract-level'
import { type Database, type OpenOptions, openDatabase, WriteBatch } from '../lsm/index.ts'
import { NotOpenError } from './errors.ts'
import { LevelBatch, type WriteOptions } from './level-batch.ts'
import { LevelIterator, type LevelIteratorOptions } from './level-iterator.ts'
import { keyRange, type LevelRange } from './level-range.ts'
import { LevelSnapshot } from './level-snapshot.ts'

type EngineOptions = Pick<
  OpenOptions,
  | 'memtableBytes'
  | 'cacheBytes'
  | 'maxOpenTables'
  | 'blockBytes'
  | 'bloomBitsPerKey'
  | 'compression'
  | 'maxCompactions'
  | 'compactionBytesPerSecond'
  | 'logger'
  | 'onFailure'
>

/** abstract-level's, and those of `openDatabase`. Others are passed over, as everywhere in this family. */
export interface OstrakaLevelOptions<K, V> extends AbstractDatabaseOptions<K, V>, EngineOptions {}

interface ReadOptions {
  readonly snapshot?: LevelSnapshot
}

interface ClearOptions extends LevelRange, ReadOptions {
  readonly reverse: boolean
  /** -1: none. */
  readonly limit: number
}

type Operation =
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: Uint8Array }

const manifest = {
  // Buffers are views, and text is encoded as it comes in: the engine knows bytes only.
  encodings: { view: true },
  has: true,
  getSync: true,
  createIfMissing: true,
  errorIfExists: true,
  explicitSnapshots: true,
  additionalMethods: { approximateSize: true, compactRange: true },
  signals: { iterators: true },
}

/** A `clear` with a limit or a snapshot deletes so many records at once. */
const clearRecords = 1000

/** The options that the methods take beside abstract-level's. */
export interface OstrakaLevel<KDefault, VDefault> {
  put(key: KDefault, value: VDefault): Promise<void>
  put<K = KDefault, V = VDefault>(key: K, value: V, options: AbstractPutOptions<K, V> & WriteOptions): Promise<void>
  del(key: KDefault): Promise<void>
  del<K = KDefault>(key: K, options: AbstractDelOptions<K> & WriteOptions): Promise<void>
  batch(operations: AbstractBatchOperation<this, KDefault, VDefault>[]): Promise<void>
  batch<K = KDefault, V = VDefault>(
    operations: AbstractBatchOperation<this, K, V>[],
    options: AbstractBatchOptions<K, V> & WriteOptions,
  ): Promise<void>
  batch(): AbstractChainedBatch<this, KDefault, VDefault>
  clear(): Promise<void>
  clear<K = KDefault>(options: AbstractClearOptions<K> & WriteOptions): Promise<void>
}

/** The storage engine behind the interface of abstract-level 3: in the place of classic-level, memory-level and others of that family. */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: abstract-level implements these methods, and its types leave no room for options
export class OstrakaLevel<KDefault = string, VDefault = string> extends AbstractLevel<Uint8Array, KDefault, VDefault> {
  readonly location: string
  #engine: Database | undefined

  /** `location`: the folder. Throws TypeError where it is no string, or empty; what is wrong with the options rejects `open`. */
  constructor(location: string, options?: OstrakaLevelOptions<KDefault, VDefault>) {
    if (typeof location !== 'string' || location === '') throw new TypeError("The first argument 'location' must be a non-empty string")
    super(manifest, options)
    this.location = location
  }

  /** The storage engine, for what this interface has no words for. Closed by `close` of this database. Throws while that is not open. */
  get engine(): Database {
    if (this.status !== 'open') throw new NotOpenError()
    return this.#open
  }

  /** About the bytes that the records of [start, end) take in files. */
  async approximateSize(start: KDefault, end: KDefault): Promise<number> {
    if (this.status === 'opening') return this.deferAsync(() => this.approximateSize(start, end))
    return this.engine.approximateBytes(this.keyEncoding().encode(start), this.keyEncoding().encode(end))
  }

  /** Brings the records of [start, end) together, and drops what was deleted and overwritten. */
  async compactRange(start: KDefault, end: KDefault): Promise<void> {
    if (this.status === 'opening') return this.deferAsync(() => this.compactRange(start, end))
    const { engine } = this
    await engine.flush()
    await engine.compactRange(this.keyEncoding().encode(start), this.keyEncoding().encode(end))
  }

  async _open(options: AbstractOpenOptions & EngineOptions): Promise<void> {
    const { createIfMissing, errorIfExists, memtableBytes, cacheBytes, blockBytes, bloomBitsPerKey, compression } = options
    const { maxOpenTables, maxCompactions, compactionBytesPerSecond, logger, onFailure } = options
    this.#engine = await openDatabase(this.location, {
      createIfMissing,
      errorIfExists,
      memtableBytes,
      cacheBytes,
      maxOpenTables,
      blockBytes,
      bloomBitsPerKey,
      // A boolean is classic-level's option of that name: passed over.
      compression: typeof compression === 'boolean' ? undefined : compression,
      maxCompactions,
      compactionBytesPerSecond,
      logger,
      onFailure,
    })
  }

  async _close(): Promise<void> {
    const engine = this.#open
    this.#engine = undefined
    await engine.close()
  }

  async _get(key: Uint8Array, { snapshot }: ReadOptions): Promise<Uint8Array | undefined> {
    return await this.#open.get(key, snapshot?.snapshot)
  }

  _getSync(key: Uint8Array, { snapshot }: ReadOptions): Uint8Array | undefined {
    return this.#open.getSync(key, snapshot?.snapshot)
  }

  async _getMany(keys: readonly Uint8Array[], { snapshot }: ReadOptions): Promise<(Uint8Array | undefined)[]> {
    return await this.#open.getMany(keys, snapshot?.snapshot)
  }

  async _has(key: Uint8Array, options: ReadOptions): Promise<boolean> {
    return (await this._get(key, options)) !== undefined
  }

  async _hasMany(keys: readonly Uint8Array[], options: ReadOptions): Promise<boolean[]> {
    return (await this._getMany(keys, options)).map((value) => value !== undefined)
  }

  _put(key: Uint8Array, value: Uint8Array, options: WriteOptions): Promise<void> {
    return this.#write(new WriteBatch().put(key, value), options)
  }

  _del(key: Uint8Array, options: WriteOptions): Promise<void> {
    return this.#write(new WriteBatch().delete(key), options)
  }

  _batch(operations: readonly Operation[], options: AbstractBatchOptions<KDefault, VDefault> & WriteOptions): Promise<void> {
    const batch = new WriteBatch()
    for (const operation of operations) {
      if (operation.type === 'put') batch.put(operation.key, operation.value)
      else batch.delete(operation.key)
    }
    return this.#write(batch, options)
  }

  _chainedBatch(): LevelBatch<this, KDefault, VDefault> {
    return new LevelBatch(this, (batch, options) => this.#write(batch, options))
  }

  _iterator(options: LevelIteratorOptions): LevelIterator<this, KDefault, VDefault> {
    return new LevelIterator(this, this.#open, options)
  }

  _snapshot(options: object): LevelSnapshot {
    return new LevelSnapshot(this.#open.snapshot(), options)
  }

  /** One step, but for a limit or a snapshot, whose records must be looked up. */
  async _clear(options: ClearOptions & WriteOptions): Promise<void> {
    const { lower, upper } = keyRange(options)
    const { reverse, limit, snapshot, sync = false } = options
    if (limit < 0 && snapshot === undefined) return await this.#open.deleteRange(lower, upper, { sync })
    const iterator = this.#open.iterate({
      ...(lower === undefined ? {} : { lower }),
      ...(upper === undefined ? {} : { upper }),
      reverse,
      ...(snapshot === undefined ? {} : { snapshot: snapshot.snapshot }),
    })
    const batch = new WriteBatch()
    const write = async () => {
      await this.#write(batch, { sync })
      batch.clear()
    }
    try {
      for (let count = 0; (limit < 0 || count < limit) && (await iterator.next()); count++) {
        batch.delete(iterator.key)
        if (batch.count === clearRecords) await write()
      }
      if (batch.count > 0) await write()
    } finally {
      iterator.close()
    }
  }

  async #write(batch: WriteBatch, { sync = false }: WriteOptions): Promise<void> {
    await this.#open.write(batch, { sync })
  }

  /** For what abstract-level calls only while the database is open. */
  get #open(): Database {
    if (this.#engine === undefined) throw new NotOpenError()
    return this.#engine
  }
}
