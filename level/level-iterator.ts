import { AbstractIterator, type AbstractIteratorOptions } from 'abstract-level'
import { compareBytes, copyBytes, emptyBytes, keyAfter } from '../base/bytes.ts'
import type { Database, DatabaseIterator, KeyRange, Snapshot } from '../lsm/index.ts'
import { AbortError } from './errors.ts'
import { keyRange, type LevelRange } from './level-range.ts'
import type { LevelSnapshot } from './level-snapshot.ts'

/** As abstract-level gives them: filled in and encoded. */
export interface LevelIteratorOptions extends LevelRange {
  readonly reverse: boolean
  readonly keys?: boolean
  readonly values?: boolean
  readonly signal?: AbortSignal
  readonly snapshot?: LevelSnapshot
}

type Entry = [Uint8Array | undefined, Uint8Array | undefined]

/**
 * Keeps a snapshot until it is closed, its own or the caller's, and an iterator of the engine for where it stands: `seek` begins another one,
 * also behind the end.
 */
export class LevelIterator<TDatabase, KDefault, VDefault> extends AbstractIterator<TDatabase, KDefault, VDefault> {
  readonly #engine: Database
  readonly #range: KeyRange
  readonly #reverse: boolean
  readonly #withKeys: boolean
  readonly #withValues: boolean
  readonly #signal: AbortSignal | undefined
  readonly #snapshot: Snapshot
  readonly #ownsSnapshot: boolean
  /** What is left from where it stands, and the engine's iterator once there is one: a snapshot may be closed when this is made. */
  #rest: KeyRange
  #inner: DatabaseIterator | undefined

  constructor(db: TDatabase, engine: Database, options: LevelIteratorOptions) {
    super(db, options as unknown as AbstractIteratorOptions<KDefault, VDefault>)
    this.#engine = engine
    this.#range = keyRange(options)
    this.#reverse = options.reverse
    this.#withKeys = options.keys !== false
    this.#withValues = options.values !== false
    this.#signal = options.signal
    this.#ownsSnapshot = options.snapshot === undefined
    this.#snapshot = options.snapshot?.snapshot ?? engine.snapshot()
    this.#rest = this.#range
  }

  async _next(): Promise<Entry | undefined> {
    return (await this._nextv(1))[0]
  }

  async _nextv(size: number): Promise<Entry[]> {
    const entries: Entry[] = []
    try {
      this.#inner ??= this.#begin(this.#rest)
      const inner = this.#inner
      while (entries.length < size) {
        const moved = inner.next()
        if (!(moved instanceof Promise ? await moved : moved)) break
        entries.push([this.#withKeys ? copyBytes(inner.key) : undefined, this.#withValues ? copyBytes(inner.value) : undefined])
      }
    } catch (error) {
      if (!this.#signal?.aborted) throw error
    }
    if (this.#signal !== undefined) {
      // Who aborts at once after the call is heard, also where all was in memory.
      await undefined
      if (this.#signal.aborted) throw new AbortError(this.#signal)
    }
    return entries
  }

  /** A target outside of the range: nothing more comes. */
  _seek(target: Uint8Array): void {
    const { lower, upper } = this.#range
    const isBelow = lower !== undefined && compareBytes(target, lower) < 0
    const isAbove = upper !== undefined && compareBytes(target, upper) >= 0
    this.#inner?.close()
    this.#inner = undefined
    if (isBelow || isAbove) this.#rest = { lower: emptyBytes, upper: emptyBytes }
    else this.#rest = this.#reverse ? { lower, upper: keyAfter(target) } : { lower: copyBytes(target), upper }
  }

  async _close(): Promise<void> {
    this.#inner?.close()
    if (this.#ownsSnapshot) this.#snapshot.release()
  }

  #begin({ lower, upper }: KeyRange): DatabaseIterator {
    return this.#engine.iterate({
      ...(lower === undefined ? {} : { lower }),
      ...(upper === undefined ? {} : { upper }),
      reverse: this.#reverse,
      snapshot: this.#snapshot,
      signal: this.#signal,
    })
  }
}
