/** What an entry of a memtable, log or table is. The numbers are part of the formats. */
export const kindTombstone = 0
export const kindValue = 1
/** Reserved: the value is a pointer to a value stored elsewhere. No reader of this version takes one. */
export const kindValuePointer = 2

export const maxKeyBytes = 2 ** 16
export const maxValueBytes = 2 ** 28
/** Of one batch: it is one record of the log. */
export const maxBatchBytes = 2 ** 30

/** [lower, upper) of keys; undefined is unbounded. */
export interface KeyRange {
  readonly lower: Uint8Array | undefined
  readonly upper: Uint8Array | undefined
}

/** Waiting for it, and where it can be left off the work too, ends when `signal` is aborted: with its reason. */
export interface Abortable {
  readonly signal?: AbortSignal | undefined
}

/** What a lookup returns for "deleted here, look no further"; compared by identity. */
export const tombstone: Uint8Array = new Uint8Array(0)
