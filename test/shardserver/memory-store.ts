import { ByteReader, compareBytes, readU64 } from '../../base/bytes.ts'
import type { MaybePromise } from '../../base/maybe-promise.ts'
import { MemoryFileSystem } from '../../base/memory-file-system.ts'
import type { Expiry } from '../../lsm/expiry.ts'
import { type IngestFile, PreparedIngest } from '../../lsm/ingest.ts'
import type { KeyRange } from '../../lsm/kind.ts'
import type { ExportedTable, ExportRange } from '../../lsm/range-export.ts'
import { readTables } from '../../lsm/read-tables.ts'
import { type TableEntry, writeTable } from '../../lsm/table-writer.ts'
import type { WriteBatch } from '../../lsm/write-batch.ts'
import type { GroupStore, StoreIterator, StoreSnapshot } from '../../shardserver/group-store.ts'
import { memoryCheckpoints } from '../raft/memory-checkpoints.ts'

type Image = ReadonlyMap<string, Uint8Array>

interface Range {
  lower?: Uint8Array
  upper?: Uint8Array
  reverse?: boolean
  snapshot?: StoreSnapshot
}

class MemorySnapshot implements StoreSnapshot {
  readonly image: Image
  released = false

  constructor(image: Image) {
    this.image = image
  }

  release(): void {
    this.released = true
  }
}

/** A plain map behind the state machine. Only what was sealed outlives `crash`. */
export class MemoryStore implements GroupStore {
  /** Outlives crashes. */
  readonly fileSystem: MemoryFileSystem
  /** Undefined: a tombstone. */
  readonly #prepared = new WeakMap<PreparedIngest, readonly (readonly [string, Uint8Array | undefined])[]>()
  readonly #entries: Map<string, Uint8Array>
  #durable: Image
  durableMark: Uint8Array | undefined
  wantsSeal = false
  /** Begun so far, those for an excise or an ingest included. */
  seals = 0
  writeDelayMs = 0
  /** Reads answer with promises: nothing is in memory. */
  cold = false
  /** Seals never become durable. */
  stuck = false
  failSeal: Error | undefined
  reads = 0
  /** Most keys that one `getMany` asked for. */
  readAtOnceMax = 0
  snapshots: MemorySnapshot[] = []
  openIterators = 0
  /** About the size of a table of an export. */
  exportTableBytes = 600

  constructor(durable: Image = new Map(), mark?: Uint8Array, fileSystem = new MemoryFileSystem()) {
    this.fileSystem = fileSystem
    this.#durable = durable
    this.#entries = new Map(durable)
    this.durableMark = mark
  }

  get bytes(): number {
    let bytes = 0
    for (const [key, value] of this.#entries) bytes += key.length + value.length
    return bytes
  }

  /** The store as it is after its process died. */
  crash(): MemoryStore {
    const after = new MemoryStore(this.#durable, this.durableMark, this.fileSystem)
    after.exportTableBytes = this.exportTableBytes
    return after
  }

  get size(): number {
    return this.#entries.size
  }

  /** A map holds nothing twice. */
  async compactRange(): Promise<void> {}

  /** As a compaction that meets all that is durable. Returns how many records it dropped. */
  dropExpired(expiry: Expiry): number {
    const durable = new Map(this.#durable)
    for (const { lower, upper, moment } of expiry.horizons({ lower: new Uint8Array(0), upper: new Uint8Array(3).fill(255) })) {
      for (const [key, value] of this.#durable) {
        const canExpire = key.charCodeAt(expiry.keyOffset) === expiry.keyByte && isWithin(bytes(key), { lower, upper })
        const end = canExpire ? readU64(value, expiry.valueOffset) : 0
        if (end === 0 || end > moment) continue
        durable.delete(key)
        // Not one that was written since.
        if (this.#entries.get(key) === value) this.#entries.delete(key)
      }
    }
    const dropped = this.#durable.size - durable.size
    this.#durable = durable
    return dropped
  }

  write(batch: WriteBatch): void {
    const reader = new ByteReader(batch.encoded())
    while (!reader.done) {
      const kind = reader.u8()
      const keyLength = reader.varint()
      const valueLength = reader.varint()
      const key = text(reader.raw(keyLength))
      const value = reader.raw(valueLength).slice()
      if (kind === 1) this.#entries.set(key, value)
      else this.#entries.delete(key)
    }
  }

  get(key: Uint8Array): MaybePromise<Uint8Array | undefined> {
    this.reads++
    const value = this.#entries.get(text(key))
    return this.cold ? Promise.resolve(value) : value
  }

  getMany(keys: readonly Uint8Array[]): MaybePromise<readonly (Uint8Array | undefined)[]> {
    this.reads++
    this.readAtOnceMax = Math.max(this.readAtOnceMax, keys.length)
    const values = keys.map((key) => this.#entries.get(text(key)))
    return this.cold ? Promise.resolve(values) : values
  }

  snapshot(): StoreSnapshot {
    const snapshot = new MemorySnapshot(new Map(this.#entries))
    this.snapshots.push(snapshot)
    return snapshot
  }

  iterate(options: Range = {}): StoreIterator {
    const image = options.snapshot instanceof MemorySnapshot ? options.snapshot.image : this.#entries
    const rows = [...image].map(([key, value]) => ({ key: bytes(key), value })).filter(({ key }) => isWithin(key, options))
    rows.sort((a, b) => (options.reverse ? -1 : 1) * compareBytes(a.key, b.key))
    let at = -1
    this.openIterators++
    return {
      next: () => (this.cold ? Promise.resolve(++at < rows.length) : ++at < rows.length),
      get key() {
        return rows[at]?.key ?? new Uint8Array(0)
      },
      get value() {
        return rows[at]?.value ?? new Uint8Array(0)
      },
      close: () => {
        this.openIterators--
      },
    }
  }

  async seal(mark: Uint8Array): Promise<void> {
    this.seals++
    const image = new Map(this.#entries)
    this.wantsSeal = false
    await Promise.resolve()
    if (this.failSeal !== undefined) throw this.failSeal
    if (this.stuck) return new Promise(() => undefined)
    this.#durable = image
    this.durableMark = mark
  }

  async checkpoint(folder: string) {
    return memoryCheckpoints.take(folder, this.#durable, this.durableMark)
  }

  exciseAll(ranges: readonly KeyRange[], mark: Uint8Array): Promise<void> {
    this.#excise(ranges)
    return this.seal(mark)
  }

  async sealSnapshot(mark: Uint8Array, { excise = [] }: { readonly excise?: readonly KeyRange[] } = {}): Promise<StoreSnapshot> {
    this.#excise(excise)
    const snapshot = this.snapshot()
    await this.seal(mark)
    return snapshot
  }

  /** One run; below it, where it has records, another with something else under their keys and with keys that the first one deletes. */
  async exportRanges(snapshot: StoreSnapshot, ranges: readonly ExportRange[], folder: string): Promise<ExportedTable[][]> {
    const { image } = snapshot as MemorySnapshot
    const live = [...image].map(([key, value]) => ({ key: bytes(key), value }))
    const wanted = live.filter(({ key }) => ranges.some((range) => isWithin(key, range)))
    wanted.sort((a, b) => compareBytes(a.key, b.key))
    if (wanted.length === 0) return []
    const dead = wanted.map(({ key, value }) => ({ key: Uint8Array.from([...key, 0]), value })).filter(({ key }) => key.length > 4)
    const rows = [...wanted, ...dead.filter(({ key }) => !image.has(text(key))).map(({ key }) => ({ key, value: undefined }))]
    rows.sort((a, b) => compareBytes(a.key, b.key))
    const older = [...wanted.map(({ key }) => ({ key, value: bytes('overwritten') })), ...dead].sort((a, b) => compareBytes(a.key, b.key))
    return [await this.#writeRun(folder, 'old', older), await this.#writeRun(folder, 'new', rows)]
  }

  async #writeRun(folder: string, name: string, rows: readonly TableEntry[]): Promise<ExportedTable[]> {
    const run: ExportedTable[] = []
    for (let from = 0; from < rows.length; ) {
      let to = from
      for (let size = 0; to < rows.length && size < this.exportTableBytes; to++) {
        const { key, value } = rows[to] as TableEntry
        size += key.length + (value?.length ?? 0)
      }
      const file = `${name}-${run.length}.sst`
      const { size, checksum } = await writeTable(this.fileSystem, `${folder}/${file}`, rows.slice(from, to))
      run.push({ name: file, size, checksum })
      from = to
    }
    return run
  }

  async prepareIngest(files: readonly IngestFile[]): Promise<PreparedIngest> {
    const records: (readonly [string, Uint8Array | undefined])[] = []
    for (const { path } of files) {
      const checkpoint = memoryCheckpoints.find(path)
      if (checkpoint !== undefined) records.push(...checkpoint)
      else await readTables(this.fileSystem, [[path]], (key, value) => records.push([text(key), value && Uint8Array.from(value)]))
    }
    const prepared = new PreparedIngest([], new Set())
    this.#prepared.set(prepared, records)
    return prepared
  }

  async discardIngest(prepared: PreparedIngest): Promise<void> {
    prepared.take()
  }

  ingest(prepared: PreparedIngest, mark: Uint8Array, options: { readonly excise: readonly KeyRange[] }): Promise<void> {
    this.#excise(options.excise)
    for (const [key, value] of this.#prepared.get(prepared.take()) ?? []) {
      if (value === undefined) this.#entries.delete(key)
      else this.#entries.set(key, value)
    }
    return this.seal(mark)
  }

  async approximateBytes(lower: Uint8Array, upper: Uint8Array): Promise<number> {
    let size = 0
    for (const [key, value] of this.#entries) if (isWithin(bytes(key), { lower, upper })) size += key.length + value.length
    return size
  }

  #excise(ranges: readonly KeyRange[]): void {
    for (const key of [...this.#entries.keys()]) {
      if (ranges.some(({ lower, upper }) => isWithin(bytes(key), { ...(lower && { lower }), ...(upper && { upper }) })))
        this.#entries.delete(key)
    }
  }

  async close(): Promise<void> {}
}

function text(key: Uint8Array): string {
  return Buffer.from(key).toString('latin1')
}

function bytes(key: string): Uint8Array {
  return new Uint8Array(Buffer.from(key, 'latin1'))
}

function isWithin(key: Uint8Array, { lower, upper }: Range): boolean {
  return (lower === undefined || compareBytes(key, lower) >= 0) && (upper === undefined || compareBytes(key, upper) < 0)
}
