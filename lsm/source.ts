import { compareRanges, emptyBytes } from '../base/bytes.ts'
import { type MaybePromise, settleAll } from '../base/maybe-promise.ts'
import type { KeyRange } from './kind.ts'

/**
 * An ordered run of entries in one direction, each user key once (its newest visible version). `seek` and `advance` return a promise only
 * where a block must be read. Key and value are places in buffers that hold until the next move: no view is made per entry.
 */
export abstract class Source {
  valid = false
  kind = 0
  sequence = 0
  keyBuffer: Uint8Array = emptyBytes
  keyStart = 0
  keyEnd = 0
  valueBuffer: Uint8Array = emptyBytes
  valueStart = 0
  valueEnd = 0

  /** Forward: to the first key >= target. Reverse: to the last key < target. Undefined: to the end at which the direction begins. */
  abstract seek(target: Uint8Array | undefined): MaybePromise<void>
  abstract advance(): MaybePromise<void>

  protected take(other: Source): void {
    this.valid = other.valid
    if (!other.valid) return
    this.kind = other.kind
    this.sequence = other.sequence
    this.keyBuffer = other.keyBuffer
    this.keyStart = other.keyStart
    this.keyEnd = other.keyEnd
    this.valueBuffer = other.valueBuffer
    this.valueStart = other.valueStart
    this.valueEnd = other.valueEnd
  }
}

export function compareToKey(source: Source, key: Uint8Array): number {
  return compareRanges(source.keyBuffer, source.keyStart, source.keyEnd, key, 0, key.length)
}

/** A source without the keys of ranges that were excised after it. */
export class MaskedSource extends Source {
  readonly #inner: Source
  readonly #masks: readonly KeyRange[]
  readonly #reverse: boolean

  constructor(inner: Source, masks: readonly KeyRange[], reverse: boolean) {
    super()
    this.#inner = inner
    this.#masks = masks
    this.#reverse = reverse
  }

  seek(target: Uint8Array | undefined): MaybePromise<void> {
    const moved = this.#inner.seek(target)
    return moved instanceof Promise ? moved.then(() => this.#settle()) : this.#settle()
  }

  advance(): MaybePromise<void> {
    const moved = this.#inner.advance()
    return moved instanceof Promise ? moved.then(() => this.#settle()) : this.#settle()
  }

  #settle(): MaybePromise<void> {
    for (;;) {
      const mask = this.#inner.valid ? this.#masks.find((range) => covers(range, this.#inner)) : undefined
      if (mask === undefined) return this.take(this.#inner)
      const edge = this.#reverse ? mask.lower : mask.upper
      if (edge === undefined) {
        this.valid = false
        return
      }
      const moved = this.#inner.seek(edge)
      if (moved instanceof Promise) return moved.then(() => this.#settle())
    }
  }
}

function covers(range: KeyRange, source: Source): boolean {
  if (range.lower !== undefined && compareToKey(source, range.lower) < 0) return false
  return range.upper === undefined || compareToKey(source, range.upper) < 0
}

/** Merges sources, newest first: of equal keys the one of the earliest source is seen, the others are passed over. A binary heap. */
export class Merge {
  readonly #sources: readonly Source[]
  readonly #direction: number
  #heap: Source[] = []
  readonly #rank = new Map<Source, number>()

  constructor(newestFirst: readonly Source[], reverse: boolean) {
    this.#sources = newestFirst
    this.#direction = reverse ? -1 : 1
    newestFirst.forEach((source, rank) => {
      this.#rank.set(source, rank)
    })
  }

  /** The entry at which the merge stands, undefined at the end. */
  get top(): Source | undefined {
    return this.#heap[0]
  }

  seek(target: Uint8Array | undefined): MaybePromise<void> {
    const waits: Promise<void>[] = []
    try {
      for (const source of this.#sources) {
        const moved = source.seek(target)
        if (moved instanceof Promise) waits.push(moved)
      }
    } catch (error) {
      // Of those under way only this call hears, also of their failures.
      if (waits.length === 0) throw error
      waits.push(Promise.reject(error))
    }
    return waits.length > 0 ? settleAll(waits).then(() => this.#build()) : this.#build()
  }

  /** To the next key; may only be called while there is a top. */
  advance(): MaybePromise<void> {
    const heap = this.#heap
    const top = heap[0] as Source
    for (;;) {
      const at = this.#runnerUp()
      const other = heap[at]
      if (other === undefined || compareKeys(other, top) !== 0) break
      const moved = other.advance()
      if (moved instanceof Promise) {
        return moved.then(() => {
          this.#settle(at)
          return this.advance()
        })
      }
      this.#settle(at)
    }
    const moved = top.advance()
    if (moved instanceof Promise) return moved.then(() => this.#settle(0))
    this.#settle(0)
  }

  #build(): void {
    this.#heap = this.#sources.filter((source) => source.valid)
    for (let i = (this.#heap.length >> 1) - 1; i >= 0; i--) this.#siftDown(i)
  }

  /** Index of the second smallest, or one out of range. */
  #runnerUp(): number {
    const right = this.#heap[2]
    return right !== undefined && this.#isBefore(right, this.#heap[1] as Source) ? 2 : 1
  }

  /** Puts the moved source at `at` in its place again. */
  #settle(at: number): void {
    const heap = this.#heap
    if (!(heap[at] as Source).valid) {
      const last = heap.pop() as Source
      if (at === heap.length) return
      heap[at] = last
    }
    this.#siftDown(at)
  }

  #siftDown(from: number): void {
    const heap = this.#heap
    const source = heap[from] as Source
    let at = from
    for (;;) {
      let child = 2 * at + 1
      let smallest = heap[child]
      if (smallest === undefined) break
      const right = heap[child + 1]
      if (right !== undefined && this.#isBefore(right, smallest)) {
        child++
        smallest = right
      }
      if (!this.#isBefore(smallest, source)) break
      heap[at] = smallest
      at = child
    }
    heap[at] = source
  }

  #isBefore(a: Source, b: Source): boolean {
    const order = compareKeys(a, b) * this.#direction
    return order !== 0 ? order < 0 : (this.#rank.get(a) as number) < (this.#rank.get(b) as number)
  }
}

function compareKeys(a: Source, b: Source): number {
  return compareRanges(a.keyBuffer, a.keyStart, a.keyEnd, b.keyBuffer, b.keyStart, b.keyEnd)
}
