import { compareBytes, compareRanges, copyBytes, prefixEnd } from '../base/bytes.ts'
import { ClosedError } from '../base/errors.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import { type Abortable, type KeyRange, kindTombstone } from './kind.ts'
import { compareToKey, Merge } from './source.ts'
import type { View } from './view.ts'

export interface IterateOptions extends Abortable {
  /** Only keys that begin with it, of those within the bounds. */
  readonly prefix?: Uint8Array
  /** Inclusive. */
  readonly lower?: Uint8Array
  /** Exclusive. */
  readonly upper?: Uint8Array
  readonly reverse?: boolean
  readonly snapshot?: Snapshot
}

/** So many tombstones are passed over in one turn: about a millisecond. */
const tombstonesAtOnce = 2048

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
    if (this.#released) throw new ClosedError('the snapshot was released')
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
  readonly #signal: AbortSignal | undefined
  readonly #pause: () => Promise<void>
  #merge: Merge | undefined
  #standing = false
  #closed = false
  #failure: { readonly error: unknown } | undefined

  /** Takes over one use of `view`. `pause`: waited for in the midst of many tombstones, lets other work of the thread run. */
  constructor(
    view: View,
    limit: number,
    pause: () => Promise<void>,
    options: Omit<IterateOptions, 'snapshot' | keyof KeyRange> & Partial<KeyRange>,
  ) {
    this.#view = view
    this.#limit = limit
    this.#pause = pause
    this.#range = rangeOf(options)
    this.#reverse = options.reverse ?? false
    this.#signal = options.signal
  }

  /**
   * To the next record; false at the end. A failure closes the iterator, and is that of each later call. The next call may come only when this one has resolved. Throws, or rejects with, the signal's reason
   * once it is aborted: the iterator is closed then.
   */
  next(): MaybePromise<boolean> {
    if (this.#signal?.aborted) this.#abort(this.#signal)
    if (this.#failure !== undefined) throw this.#failure.error
    if (this.#closed) return false
    try {
      const moved = this.#move()
      return moved instanceof Promise ? moved.catch((error: unknown) => this.#fail(error)) : moved
    } catch (error) {
      this.#fail(error)
    }
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

  #move(): MaybePromise<boolean> {
    const merge = this.#merge
    if (merge === undefined) return this.#start()
    const moved = merge.advance()
    return moved instanceof Promise ? moved.then(() => this.#settle(merge)) : this.#settle(merge)
  }

  /** Its sources may stand anywhere: to go on could pass records over. */
  #fail(error: unknown): never {
    this.close()
    this.#failure = { error }
    throw error
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
    if (this.#signal?.aborted) this.#abort(this.#signal)
    for (let passed = 0; ; passed++) {
      const top = merge.top
      if (top === undefined) return this.#end()
      const bound = this.#reverse ? this.#range.lower : this.#range.upper
      if (bound !== undefined && (this.#reverse ? compareToKey(top, bound) < 0 : compareToKey(top, bound) >= 0)) return this.#end()
      if (top.kind !== kindTombstone) {
        this.#standing = true
        return true
      }
      if (passed === tombstonesAtOnce) return this.#pause().then(() => this.#settle(merge))
      const moved = merge.advance()
      if (moved instanceof Promise) return moved.then(() => this.#settle(merge))
    }
  }

  #abort(signal: AbortSignal): never {
    this.close()
    throw signal.reason
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

function rangeOf({ lower, upper, prefix }: Partial<KeyRange> & { readonly prefix?: Uint8Array }): KeyRange {
  const range = { lower: lower && copyBytes(lower), upper: upper && copyBytes(upper) }
  if (prefix === undefined) return range
  const end = prefixEnd(prefix)
  return {
    lower: range.lower !== undefined && compareBytes(range.lower, prefix) > 0 ? range.lower : copyBytes(prefix),
    upper: range.upper !== undefined && (end === undefined || compareBytes(range.upper, end) < 0) ? range.upper : end,
  }
}
