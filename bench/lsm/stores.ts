import { setTimeout as delay } from 'node:timers/promises'
import type { ClassicLevel } from 'classic-level'
import { silentLogger } from '../../base/logger.ts'
import { BlockCache, Database, MemtableBudget, NodeClock, NodeFileSystem, openDatabase, WriteBatch } from '../../lsm/index.ts'
import { JobLanes } from '../../lsm/job-lanes.ts'
import { WorkerMemory } from './worker-memory.ts'

/** The sides, as their users would call them. */

export type SideName = 'ostraka' | 'classic-level'
export const sideNames: readonly SideName[] = ['ostraka', 'classic-level']

export interface StoreOptions {
  readonly folder: string
  readonly writeBufferBytes: number
  readonly cacheBytes: number
  /** Its threads tell what memory they hold. */
  readonly watchesMemory?: boolean
}

/** As a batch of LevelDB's wants it. */
export interface Record {
  readonly type: 'put'
  readonly key: Buffer
  readonly value: Buffer
}

export interface Store {
  /** Together; not synced. */
  putAll(records: readonly Record[]): Promise<void>
  put(key: Buffer, value: Buffer): Promise<void>
  get(key: Buffer): Promise<Uint8Array | undefined>
  /** At once, however long it takes. */
  getSync(key: Buffer): Uint8Array | undefined
  /** The bytes of keys and values from `lower` on, of at most `limit` records, and their number. */
  scan(lower: Buffer | undefined, limit: number): Promise<{ records: number; bytes: number }>
  /** Resolves when nothing is flushed or compacted any more, with the moment at which that was so, by `performance.now()`. */
  drained(): Promise<number>
  /** Everything, into as few levels as it takes. */
  compact(): Promise<void>
  /** Memory for memtables; NaN where the side does not tell. */
  memtableMemoryBytes(): number
  /** Memory of worker threads; NaN where the side does not tell, or was not to watch it. */
  workerMemoryBytes(): number
  /** Compactions that have ended; NaN where the side does not tell. */
  compactions(): number
  close(): Promise<void>
}

export function openStore(side: SideName, options: StoreOptions): Promise<Store> {
  return side === 'ostraka' ? OstrakaStore.open(options) : LevelStore.open(options)
}

const noSync = { sync: false }

class OstrakaStore implements Store {
  readonly #db: Database
  readonly #memory: WorkerMemory | undefined

  private constructor(db: Database, memory: WorkerMemory | undefined) {
    this.#db = db
    this.#memory = memory
  }

  static async open({ folder, writeBufferBytes, cacheBytes, watchesMemory }: StoreOptions): Promise<OstrakaStore> {
    if (watchesMemory !== true)
      return new OstrakaStore(await openDatabase(folder, { memtableBytes: writeBufferBytes, cacheBytes }), undefined)
    const memory = new WorkerMemory()
    const lanes = new JobLanes({ entry: new URL('./worker.js', import.meta.url) })
    // As `openDatabase`, but for the threads' module.
    const db = await Database.open({
      fileSystem: new NodeFileSystem(),
      executor: lanes,
      clock: new NodeClock(),
      logger: silentLogger,
      folder,
      memtableBudget: new MemtableBudget(writeBufferBytes),
      blockCache: new BlockCache(cacheBytes),
      afterClose: () => lanes.close(),
    })
    return new OstrakaStore(db, memory)
  }

  async putAll(records: readonly Record[]): Promise<void> {
    const batch = new WriteBatch()
    for (const { key, value } of records) batch.put(key, value)
    await this.#db.write(batch, noSync)
  }

  async put(key: Buffer, value: Buffer): Promise<void> {
    await this.#db.write(new WriteBatch().put(key, value), noSync)
  }

  async get(key: Buffer): Promise<Uint8Array | undefined> {
    return await this.#db.get(key)
  }

  getSync(key: Buffer): Uint8Array | undefined {
    return this.#db.getSync(key)
  }

  async scan(lower: Buffer | undefined, limit: number): Promise<{ records: number; bytes: number }> {
    const iterator = this.#db.iterate(lower === undefined ? {} : { lower })
    let records = 0
    let bytes = 0
    try {
      while (records < limit) {
        const moved = iterator.next()
        if (!(moved instanceof Promise ? await moved : moved)) break
        records++
        bytes += iterator.key.length + iterator.value.length
      }
    } finally {
      iterator.close()
    }
    return { records, bytes }
  }

  async drained(): Promise<number> {
    await this.#db.settle()
    return performance.now()
  }

  async compact(): Promise<void> {
    await this.#db.flush()
    await this.#db.compactRange()
  }

  memtableMemoryBytes(): number {
    return this.#db.stats().memtableMemoryBytes
  }

  workerMemoryBytes(): number {
    return this.#memory?.bytes ?? Number.NaN
  }

  compactions(): number {
    return this.#db.stats().compactions
  }

  async close(): Promise<void> {
    await this.#db.close()
    this.#memory?.close()
  }
}

/** So many records come at once from a LevelDB iterator. */
const pageRecords = 1000
/** LevelDB does not tell that it compacts: its tables stay the same for so long, and level 0 is below its trigger. */
const stillMs = 500
const level0Trigger = 4

class LevelStore implements Store {
  readonly #db: ClassicLevel<Buffer, Buffer>

  private constructor(db: ClassicLevel<Buffer, Buffer>) {
    this.#db = db
  }

  static async open({ folder, writeBufferBytes, cacheBytes }: StoreOptions): Promise<LevelStore> {
    // Its library counts in the memory of its own side only.
    const { ClassicLevel } = await import('classic-level')
    const db = new ClassicLevel<Buffer, Buffer>(folder, {
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
      compression: false,
      writeBufferSize: writeBufferBytes,
      cacheSize: cacheBytes,
    })
    await db.open()
    return new LevelStore(db)
  }

  async putAll(records: readonly Record[]): Promise<void> {
    await this.#db.batch(records as Record[], noSync)
  }

  async put(key: Buffer, value: Buffer): Promise<void> {
    await this.#db.put(key, value, noSync)
  }

  async get(key: Buffer): Promise<Uint8Array | undefined> {
    return await this.#db.get(key)
  }

  getSync(key: Buffer): Uint8Array | undefined {
    return this.#db.getSync(key)
  }

  async scan(lower: Buffer | undefined, limit: number): Promise<{ records: number; bytes: number }> {
    const iterator = this.#db.iterator(lower === undefined ? {} : { gte: lower, limit })
    let records = 0
    let bytes = 0
    try {
      while (records < limit) {
        const page = await iterator.nextv(Math.min(pageRecords, limit - records))
        if (page.length === 0) break
        records += page.length
        for (const [key, value] of page) bytes += key.length + value.length
      }
    } finally {
      await iterator.close()
    }
    return { records, bytes }
  }

  async drained(): Promise<number> {
    let tables = this.#db.getProperty('leveldb.sstables')
    let sinceMs = performance.now()
    while (performance.now() - sinceMs < stillMs) {
      await delay(20)
      const now = this.#db.getProperty('leveldb.sstables')
      const isDue = Number(this.#db.getProperty('leveldb.num-files-at-level0')) >= level0Trigger
      if (now === tables && !isDue) continue
      tables = now
      sinceMs = performance.now()
    }
    return sinceMs
  }

  async compact(): Promise<void> {
    // Above all keys.
    await this.#db.compactRange(Buffer.alloc(0), Buffer.alloc(64, 0xff))
  }

  memtableMemoryBytes(): number {
    return Number.NaN
  }

  workerMemoryBytes(): number {
    return Number.NaN
  }

  compactions(): number {
    return Number.NaN
  }

  async close(): Promise<void> {
    await this.#db.close()
  }
}
