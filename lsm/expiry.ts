import { assert } from '../base/assert.ts'
import { compareBytes, compareRanges, readU64 } from '../base/bytes.ts'
import { kindValue, maxKeyBytes, maxValueBytes } from './kind.ts'
import type { Source } from './source.ts'

/** Up to which moment values have expired for good, in [lower, upper) of keys. */
export interface ExpiryHorizon {
  readonly lower: Uint8Array
  readonly upper: Uint8Array
  /** A value whose moment is this one or earlier has expired; a safe integer of the owner's unit. */
  readonly moment: number
}

/** Where a value's moment lies. Plain data: it goes to the job as it is. */
export interface ExpiryLayout {
  /** Only values of keys whose byte at `keyOffset` is `keyByte` can expire; a shorter key's cannot. */
  readonly keyOffset: number
  readonly keyByte: number
  /** Place in the value: u64, little-endian. 0, or more than a safe integer: it never expires; nor does a value that is too short for it. */
  readonly valueOffset: number
}

/**
 * Values that end at a moment which they carry. A compaction treats one that has expired as a tombstone: it is dropped where no deeper table
 * spans its key, and otherwise leaves a tombstone, so that what is older stays hidden. Nothing else of the engine knows of it: readers see such
 * a value for as long as no compaction met it.
 *
 *  - So the owner counts as absent what a horizon passed, wherever it reads it, also at an older snapshot.
 *  - A horizon is for good: it holds for every state from which the owner may go on, also after a crash, and for every key that is in tables when
 *    it is asked for. What it has passed must not be wanted again by a replay, nor by whoever takes a checkpoint.
 */
export interface Expiry extends ExpiryLayout {
  /**
   * Asked when a compaction begins, for the range of its keys (more may be answered than it spans). Disjoint and ascending; nothing expires
   * outside of them. Must not throw.
   */
  horizons(range: { readonly lower: Uint8Array; readonly upper: Uint8Array }): readonly ExpiryHorizon[]
}

/** What a compaction's job gets of it. */
export interface ExpiryInput extends ExpiryLayout {
  readonly horizons: readonly ExpiryHorizon[]
}

/** The most that a place may be. */
export const maxExpiryPlaces = { keyOffset: maxKeyBytes - 1, keyByte: 255, valueOffset: maxValueBytes - 8 } as const

/** As of now; undefined where nothing in `range` can have expired. */
export function expiryInput(
  expiry: Expiry | undefined,
  range: { readonly lower: Uint8Array; readonly upper: Uint8Array } | undefined,
): ExpiryInput | undefined {
  if (expiry === undefined || range === undefined) return undefined
  const horizons = expiry.horizons(range)
  if (horizons.length === 0) return undefined
  // One out of order would be passed over, or worse, stand for keys that are not its own.
  for (let i = 0; i < horizons.length; i++) {
    const { lower, upper } = horizons[i] as ExpiryHorizon
    assert(compareBytes(lower, upper) <= 0, 'a horizon ends behind its beginning')
    assert(i === 0 || compareBytes((horizons[i - 1] as ExpiryHorizon).upper, lower) <= 0, 'horizons are disjoint and ascend')
  }
  const { keyOffset, keyByte, valueOffset } = expiry
  return { keyOffset, keyByte, valueOffset, horizons }
}

/** Asks for rising keys whether their values have expired. */
export class ExpiredValues {
  readonly #input: ExpiryInput
  #at = 0

  constructor(input: ExpiryInput) {
    this.#input = input
  }

  holds(source: Source): boolean {
    if (source.kind !== kindValue) return false
    const { keyOffset, keyByte, valueOffset } = this.#input
    const keyAt = source.keyStart + keyOffset
    if (keyAt >= source.keyEnd || source.keyBuffer[keyAt] !== keyByte) return false
    const valueAt = source.valueStart + valueOffset
    if (valueAt + 8 > source.valueEnd) return false
    const moment = readU64(source.valueBuffer, valueAt)
    // Most never expire: no key is compared for them. NaN is out of range.
    return moment > 0 && moment <= this.#momentAt(source)
  }

  /** -1 where there is no horizon. */
  #momentAt({ keyBuffer, keyStart, keyEnd }: Source): number {
    const { horizons } = this.#input
    for (let horizon = horizons[this.#at]; horizon !== undefined; horizon = horizons[++this.#at]) {
      const { lower, upper, moment } = horizon
      if (compareRanges(keyBuffer, keyStart, keyEnd, lower, 0, lower.length) < 0) return -1
      if (compareRanges(keyBuffer, keyStart, keyEnd, upper, 0, upper.length) < 0) return moment
    }
    return -1
  }
}
