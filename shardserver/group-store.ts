import type { MaybePromise } from '../base/maybe-promise.ts'
import type { WriteBatch } from '../lsm/index.ts'

/** What the group state machine needs of `lsm/`'s Database, opened without a log of its own. Tests put a plain map behind it. */
export interface GroupStore {
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
