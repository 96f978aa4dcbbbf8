import { compareRanges, copyBytes } from '../base/bytes.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import { type KeyRange, kindTombstone } from './kind.ts'
import { compareToKey, Merge } from './source.ts'
import type { View } from './view.ts'

export interface IterateOptions {
  /** Inclusive. */
  readonly lower?: Uint8Array
  /** Exclusive. */
  readonly upper?: Uint8Array
  readonly reverse?: boolean
  readonly snapshot?: Snapshot
}

/** What the database held at one moment, until `release`. */
export class Snapshot {
  readonly view: View
  readonly sequence: number
  #released = false

  /** Takes over one use of `view`. */
  constructor(view: View, sequence: number) {
    this.view = view
    this.sequence = sequence
  }

  /** Throws where the snapshot was released. */
  mustBeHeld(): this {
    if (this.#released) throw new Error('the snapshot was released')
    return this
  }

  /** Lets go of files and memory; idempotent. */
  release(): void {
    if (this.#released) return
    this.#released = true
    this.view.release()
  }
}

/**
 * The records of [lower, upper) in order, as they were when the iterator was made. It holds files and memory until it has come to its end or
 * was closed.
 */
export class DatabaseIterator implements AsyncIterable<{ key: Uint8Array; value: Uint8Array }> {
  readonly #view: View
  readonly #limit: number
  readonly #range: KeyRange
  readonly #reverse: boolean
  #merge: Merge | undefined
  #standing = false
  #closed = false

  /** Takes over one use of `view`. */
  constructor(view: View, limit: number, options: IterateOptions) {
    this.#view = view
    this.#limit = limit
    this.#range = { lower: options.lower && copyBytes(options.lower), upper: options.upper && copyBytes(options.upper) }
    this.#reverse = options.reverse ?? false
  }

  /** To the next record; false at the end. The next call may come only when this one has resolved. */
  next(): MaybePromise<boolean> {
    if (this.#closed) return false
    const merge = this.#merge
    if (merge === undefined) return this.#start()
    const moved = merge.advance()
    return moved instanceof Promise ? moved.then(() => this.#settle(merge)) : this.#settle(merge)
  }

  /** A view, valid until the next call of `next`. */
  get key(): Uint8Array {
    const top = this.#mustStand()
    return top.keyBuffer.subarray(top.keyStart, top.keyEnd)
  }

  /** A view, valid until the next call of `next`. */
  get value(): Uint8Array {
    const top = this.#mustStand()
    return top.valueBuffer.subarray(top.valueStart, top.valueEnd)
  }

  /** Idempotent. Not while a `next` is under way. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#standing = false
    this.#view.release()
  }

  /** Records as copies; closes at the end of the loop. */
  async *[Symbol.asyncIterator](): AsyncGenerator<{ key: Uint8Array; value: Uint8Array }> {
    try {
      for (;;) {
        const more = this.next()
        if (!(more instanceof Promise ? await more : more)) return
        yield { key: copyBytes(this.key), value: copyBytes(this.value) }
      }
    } finally {
      this.close()
    }
  }

  #start(): MaybePromise<boolean> {
    const { lower, upper } = this.#range
    if (lower !== undefined && upper !== undefined && compareRanges(lower, 0, lower.length, upper, 0, upper.length) >= 0) return this.#end()
    if (this.#view.queue.some((element) => element.isPending)) return this.#view.opened().then(() => this.#seek())
    return this.#seek()
  }

  #seek(): MaybePromise<boolean> {
    const merge = new Merge(this.#view.sources(this.#range, this.#limit, this.#reverse), this.#reverse)
    this.#merge = merge
    const moved = merge.seek(this.#reverse ? this.#range.upper : this.#range.lower)
    return moved instanceof Promise ? moved.then(() => this.#settle(merge)) : this.#settle(merge)
  }

  /** Passes tombstones over; ends at the far bound. */
  #settle(merge: Merge): MaybePromise<boolean> {
    for (;;) {
      const top = merge.top
      if (top === undefined) return this.#end()
      const bound = this.#reverse ? this.#range.lower : this.#range.upper
      if (bound !== undefined && (this.#reverse ? compareToKey(top, bound) < 0 : compareToKey(top, bound) >= 0)) return this.#end()
      if (top.kind !== kindTombstone) {
        this.#standing = true
        return true
      }
      const moved = merge.advance()
      if (moved instanceof Promise) return moved.then(() => this.#settle(merge))
    }
  }

  #end(): boolean {
    this.close()
    return false
  }

  #mustStand() {
    const top = this.#standing ? this.#merge?.top : undefined
    if (top === undefined) throw new Error('the iterator stands at no record')
    return top
  }
}
