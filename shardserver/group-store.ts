import type { MaybePromise } from '../base/maybe-promise.ts'
import type { Abortable, ExportedTable, ExportRange, IngestFile, KeyRange, PreparedIngest, WriteBatch } from '../lsm/index.ts'
import type { SnapshotDatabase } from '../raft/snapshot-description.ts'

/** What the group state machine needs of `lsm/`'s Database, opened without a log of its own. Tests put a plain map behind it. */
export interface GroupStore extends SnapshotDatabase {
  /** Takes effect at once, in memory. */
  write(batch: WriteBatch): void
  /** A copy. */
  get(key: Uint8Array): MaybePromise<Uint8Array | undefined>
  /** Copies, in the order of the keys, all of one moment. */
  getMany(keys: readonly Uint8Array[]): MaybePromise<readonly (Uint8Array | undefined)[]>
  iterate(options?: { lower?: Uint8Array; upper?: Uint8Array; reverse?: boolean; snapshot?: StoreSnapshot }): StoreIterator
  snapshot(): StoreSnapshot
  /** The memtable is full: seal before the next write, between two entries. */
  readonly wantsSeal: boolean
  /** Puts the memtable into the flush queue; resolves when all of it, and `mark`, are durable. Writes after the call belong to the next. */
  seal(mark: Uint8Array): Promise<void>
  /** As `seal`, and behind it empties the ranges, in one step: readers see it at once. Resolves when durable. */
  exciseAll(ranges: readonly KeyRange[], mark: Uint8Array): Promise<void>
  /** As `exciseAll`, or `seal`; resolves when durable, to a snapshot of just that. */
  sealSnapshot(mark: Uint8Array, options?: { readonly excise?: readonly KeyRange[] }): Promise<StoreSnapshot>
  /**
   * The records of `ranges` (disjoint, ascending) as such a snapshot has them, in tables in `folder`, without syncing it: runs, oldest first. Older values,
   * tombstones, and what had expired by the ranges' moments may be among them.
   */
  exportRanges(
    snapshot: StoreSnapshot,
    ranges: readonly ExportRange[],
    folder: string,
    options: Abortable,
  ): Promise<readonly (readonly ExportedTable[])[]>
  /** Makes tables ready to be ingested, so that it can no longer fail over them. CorruptionError where one is none. */
  prepareIngest(files: readonly IngestFile[]): Promise<PreparedIngest>
  discardIngest(prepared: PreparedIngest): Promise<void>
  /** As `exciseAll`, and behind that puts the tables in. The files may go when it has resolved. */
  ingest(prepared: PreparedIngest, mark: Uint8Array, options: { readonly excise: readonly KeyRange[] }): Promise<void>
  /** Writes what is durable anew, so that what was deleted or overwritten takes no room. */
  compactRange(): Promise<void>
  /** About what all of it takes. */
  readonly bytes: number
  /** About what a range takes. */
  approximateBytes(lower: Uint8Array, upper: Uint8Array): Promise<number>
  /** The mark of the newest durable seal. */
  readonly durableMark: Uint8Array | undefined
  /** How long the next write should wait, so that flushing keeps up. 0: not at all. */
  readonly writeDelayMs: number
  close(): Promise<void>
}

export interface StoreSnapshot {
  release(): void
}

/** `key` and `value` hold until the next call. */
export interface StoreIterator {
  next(): MaybePromise<boolean>
  readonly key: Uint8Array
  readonly value: Uint8Array
  close(): void
}
