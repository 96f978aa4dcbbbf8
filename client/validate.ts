/** What a caller may ask for. A wrong argument is refused here, before anything is sent. */
import { limits } from '../proto/limits.ts'
import { pb } from '../proto/messages.ts'
import { lengthOf } from './command-encoder.ts'
import { makeError } from './make-error.ts'
import type { Bytes, ReadMode } from './types.ts'

export function invalid(message: string): Error {
  return makeError('INVALID_ARGUMENT', message, true)
}

/** A key as bytes of our own. Throws INVALID_ARGUMENT. */
export function checkedKey(key: Bytes, what = 'key'): Buffer {
  if (typeof key !== 'string' && !(key instanceof Uint8Array)) throw invalid(`a ${what} must be a string or a Uint8Array`)
  const bytes = typeof key === 'string' ? Buffer.from(key) : Buffer.from(key)
  if (bytes.length === 0) throw invalid(`a ${what} must have at least 1 byte`)
  if (bytes.length > limits.keyBytesMax) throw invalid(`a ${what} of ${bytes.length} bytes; at most ${limits.keyBytesMax} are allowed`)
  return bytes
}

export function checkValue(value: Bytes): void {
  if (typeof value !== 'string' && !(value instanceof Uint8Array)) throw invalid('a value must be a string or a Uint8Array')
  const length = lengthOf(value)
  if (length > limits.valueBytesMax) throw invalid(`a value of ${length} bytes; at most ${limits.valueBytesMax} are allowed`)
}

/** 0: no end. */
export function checkedTtl(ttlMs: number | undefined): number {
  if (ttlMs === undefined) return 0
  if (Number.isSafeInteger(ttlMs) && ttlMs >= 1 && ttlMs <= limits.ttlMsMax) return ttlMs
  throw invalid(`ttlMs must be a whole number from 1 to ${limits.ttlMsMax}, not ${ttlMs}`)
}

export function checkedDeadline(deadlineMs: number): number {
  if (typeof deadlineMs === 'number' && deadlineMs > 0 && deadlineMs <= limits.writeAgeMsMax) return deadlineMs
  throw invalid(`deadlineMs must lie between 1 and ${limits.writeAgeMsMax}, not ${deadlineMs}`)
}

export function checkedRevision(revision: number): number {
  if (Number.isSafeInteger(revision) && revision >= 0) return revision
  throw invalid(`a revision must be a whole number, not ${revision}`)
}

const INT64_MIN = -(2n ** 63n)
const INT64_MAX = 2n ** 63n - 1n

/** Decimal text of an int64. */
export function checkedInteger(by: bigint | number): string {
  if (typeof by === 'number' ? Number.isSafeInteger(by) : typeof by === 'bigint' && by >= INT64_MIN && by <= INT64_MAX) return by.toString()
  throw invalid(`an increment must be an integer of 64 bits, not ${by}`)
}

export function checkedLimit(limit: number | undefined): number {
  if (limit === undefined) return Number.POSITIVE_INFINITY
  if (Number.isSafeInteger(limit) && limit >= 0) return limit
  throw invalid(`limit must be a whole number, not ${limit}`)
}

export function checkedStaleness(maxStalenessMs: number): number {
  if (Number.isSafeInteger(maxStalenessMs) && maxStalenessMs >= 1 && maxStalenessMs <= limits.maxStalenessMsMax) return maxStalenessMs
  throw invalid(`maxStalenessMs must be a whole number from 1 to ${limits.maxStalenessMsMax}, not ${maxStalenessMs}`)
}

export function checkedRead(read: ReadMode): pb.v1.Consistency {
  switch (read) {
    case 'linearizable':
      return pb.v1.Consistency.LINEARIZABLE
    case 'lease':
      return pb.v1.Consistency.LEASE
    case 'follower':
      return pb.v1.Consistency.FOLLOWER
    case 'stale':
      return pb.v1.Consistency.STALE
    default:
      throw invalid(`read must be linearizable, lease, follower or stale, not ${String(read)}`)
  }
}
