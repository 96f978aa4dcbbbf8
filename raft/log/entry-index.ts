import { assert } from '../../base/assert.ts'
import type { Entry } from '../core/types.ts'
import type { CacheOwner, EntryCache } from './entry-cache.ts'
import { entryRowBytes } from './format.ts'
import type { Segments } from './segments.ts'

const minimumCapacity = 16
/** What an entry costs in memory beside its data. */
const entryOverheadBytes = 96

/** Where an entry lies: row `ordinal` of the record at `offset` of `segment`. */
export interface EntryLocation {
  readonly segment: number
  readonly offset: number
  readonly ordinal: number
}

/**
 * Where each live entry of one group lies, in typed columns used as a ring (slot = index mod capacity), and the entries that are in memory.
 *
 * Invariants: `truncatedIndex` <= `lastIndex`; live are the entries from truncatedIndex + 1 to lastIndex. An entry is
 * - placed: segment > 0;
 * - pending: segment 0, offset is the id of the append that brought it (> 0), and it is cached: it is on its way to the disk;
 * - missing: segment 0, offset 0. Only while a log is being recovered; one that is left then is damage.
 * The bytes of placed entries are pinned in their segments.
 */
export class EntryIndex implements CacheOwner {
  readonly #segments: Segments
  readonly #cache: EntryCache
  #capacity = minimumCapacity
  #terms = new Float64Array(minimumCapacity)
  #segmentOf = new Uint32Array(minimumCapacity)
  #offsets = new Uint32Array(minimumCapacity)
  #ordinals = new Uint32Array(minimumCapacity)
  #lengths = new Uint32Array(minimumCapacity)
  #stamps = new Uint32Array(minimumCapacity)
  #entries: (Entry | undefined)[] = new Array(minimumCapacity).fill(undefined)
  readonly #pinned = new Map<number, number>()
  #truncatedIndex = 0
  #truncatedTerm = 0
  #lastIndex = 0
  #bytes = 0

  constructor(segments: Segments, cache: EntryCache) {
    this.#segments = segments
    this.#cache = cache
  }

  /** Entries at and below it are not in the log. */
  get truncatedIndex(): number {
    return this.#truncatedIndex
  }

  get truncatedTerm(): number {
    return this.#truncatedTerm
  }

  get lastIndex(): number {
    return this.#lastIndex
  }

  /** Bytes of the live entries as they lie in the log. */
  get bytes(): number {
    return this.#bytes
  }

  /** Bytes of live entries in segment `number`. */
  pinnedIn(number: number): number {
    return this.#pinned.get(number) ?? 0
  }

  has(index: number): boolean {
    return index > this.#truncatedIndex && index <= this.#lastIndex
  }

  /** Term of entries truncatedIndex to lastIndex; undefined elsewhere. */
  term(index: number): number | undefined {
    if (index === this.#truncatedIndex) return this.#truncatedTerm
    return this.has(index) ? this.#terms[this.#slot(index)] : undefined
  }

  /** The entry, if it is in memory. `index` must be live. */
  cached(index: number): Entry | undefined {
    return this.#entries[this.#slot(index)]
  }

  length(index: number): number {
    return this.#lengths[this.#slot(index)] as number
  }

  /** `index` must be live and placed. */
  location(index: number): EntryLocation {
    const slot = this.#slot(index)
    const segment = this.#segmentOf[slot] as number
    assert(segment > 0, `entry ${index} lies nowhere`)
    return { segment, offset: this.#offsets[slot] as number, ordinal: this.#ordinals[slot] as number }
  }

  liesAt(index: number, segment: number, offset: number, ordinal: number): boolean {
    const slot = this.#slot(index)
    return this.has(index) && this.#segmentOf[slot] === segment && this.#offsets[slot] === offset && this.#ordinals[slot] === ordinal
  }

  isPlacedIn(index: number, segment: number): boolean {
    return this.has(index) && this.#segmentOf[this.#slot(index)] === segment
  }

  /** Live entries that lie in segment `number`, ascending. */
  *indexesIn(number: number): Generator<number> {
    for (let i = this.#truncatedIndex + 1; i <= this.#lastIndex; i++) if (this.#segmentOf[this.#slot(i)] === number) yield i
  }

  /** The first missing entry. */
  firstMissing(): number | undefined {
    for (let i = this.#truncatedIndex + 1; i <= this.#lastIndex; i++) {
      const slot = this.#slot(i)
      if (this.#segmentOf[slot] === 0 && this.#offsets[slot] === 0) return i
    }
    return undefined
  }

  /** Appends behind lastIndex: an entry on its way to the disk with append `pendingId`. */
  append(entry: Entry, pendingId: number, ordinal: number): void {
    assert(entry.index === this.#lastIndex + 1, `entry ${entry.index} does not follow ${this.#lastIndex}`)
    this.#grow(1)
    this.#lastIndex++
    this.#bytes += entryRowBytes + entry.data.length
    this.#set(entry.index, entry.term, entry.data.length, 0, pendingId, ordinal)
    this.keep(entry)
  }

  /** Sets entry `index`, which must be live or the next, to lie on disk; its place before, if any, is let go. */
  setPlaced(index: number, term: number, length: number, location: EntryLocation): void {
    if (index === this.#lastIndex + 1) this.extendTo(index)
    this.#letGo(index, index)
    this.#bytes += entryRowBytes + length
    this.#set(index, term, length, location.segment, location.offset, location.ordinal)
    this.#pin(location.segment, entryRowBytes + length)
  }

  /** Entry `index`, in memory as `entry`, is on its way to another place. */
  move(entry: Entry, pendingId: number, ordinal: number): void {
    const index = entry.index
    this.#letGo(index, index)
    this.#bytes += entryRowBytes + entry.data.length
    this.#set(index, entry.term, entry.data.length, 0, pendingId, ordinal)
    this.keep(entry)
  }

  /** Entries up to `lastIndex` exist; those that are new here are missing. */
  extendTo(lastIndex: number): void {
    if (lastIndex <= this.#lastIndex) return
    this.#grow(lastIndex - this.#lastIndex)
    for (let i = this.#lastIndex + 1; i <= lastIndex; i++) this.#set(i, 0, 0, 0, 0, 0)
    this.#lastIndex = lastIndex
  }

  /** What is pending of append `pendingId` among `first` to `first + count - 1` is now placed. */
  place(pendingId: number, first: number, count: number, segment: number, offset: number): void {
    const from = Math.max(first, this.#truncatedIndex + 1)
    const to = Math.min(first + count - 1, this.#lastIndex)
    let bytes = 0
    for (let i = from; i <= to; i++) {
      const slot = this.#slot(i)
      if (this.#segmentOf[slot] !== 0 || this.#offsets[slot] !== pendingId) continue
      this.#segmentOf[slot] = segment
      this.#offsets[slot] = offset
      bytes += entryRowBytes + (this.#lengths[slot] as number)
    }
    if (bytes > 0) this.#pin(segment, bytes)
  }

  /** Keeps a live entry in memory. */
  keep(entry: Entry): void {
    const slot = this.#slot(entry.index)
    if (this.#entries[slot] !== undefined) return
    this.#entries[slot] = entry
    this.#stamps[slot] = this.#cache.add(this, entry.index, entryOverheadBytes + entry.data.length)
  }

  /** What keeping an entry in memory takes. */
  static entryBytes(entry: Entry): number {
    return entryOverheadBytes + entry.data.length
  }

  static memoryBytes(entries: readonly Entry[]): number {
    let bytes = 0
    for (const entry of entries) bytes += entryOverheadBytes + entry.data.length
    return bytes
  }

  evict(index: number, stamp: number): 'evicted' | 'gone' | 'busy' {
    if (!this.holds(index, stamp)) return 'gone'
    const slot = this.#slot(index)
    if (this.#segmentOf[slot] === 0) return 'busy'
    this.#entries[slot] = undefined
    return 'evicted'
  }

  holds(index: number, stamp: number): boolean {
    const slot = this.#slot(index)
    return this.has(index) && this.#entries[slot] !== undefined && this.#stamps[slot] === stamp
  }

  /** Drops the entries from `index` on. */
  dropFrom(index: number): void {
    const from = Math.max(index, this.#truncatedIndex + 1)
    if (from > this.#lastIndex) return
    this.#letGo(from, this.#lastIndex)
    this.#lastIndex = from - 1
  }

  /** Drops the entries up to `index`, whose term is `term`. */
  truncateTo(index: number, term: number): void {
    if (index <= this.#truncatedIndex) return
    this.#letGo(this.#truncatedIndex + 1, Math.min(index, this.#lastIndex))
    this.#truncatedIndex = index
    this.#truncatedTerm = term
    this.#lastIndex = Math.max(this.#lastIndex, index)
    if (this.#capacity > minimumCapacity && 4 * (this.#lastIndex - index) < this.#capacity) this.#resize()
  }

  /** Drops all; the log starts behind (`index`, `term`). */
  reset(index: number, term: number): void {
    this.#letGo(this.#truncatedIndex + 1, this.#lastIndex)
    this.#truncatedIndex = index
    this.#truncatedTerm = term
    this.#lastIndex = index
    if (this.#capacity > minimumCapacity) this.#resize()
  }

  #slot(index: number): number {
    return index & (this.#capacity - 1)
  }

  #set(index: number, term: number, length: number, segment: number, offset: number, ordinal: number): void {
    const slot = this.#slot(index)
    this.#terms[slot] = term
    this.#lengths[slot] = length
    this.#segmentOf[slot] = segment
    this.#offsets[slot] = offset
    this.#ordinals[slot] = ordinal
  }

  #pin(segment: number, bytes: number): void {
    this.#pinned.set(segment, (this.#pinned.get(segment) ?? 0) + bytes)
    this.#segments.pin(segment, bytes)
  }

  #unpin(segment: number, bytes: number): void {
    if (bytes === 0) return
    const rest = (this.#pinned.get(segment) ?? 0) - bytes
    if (rest > 0) this.#pinned.set(segment, rest)
    else this.#pinned.delete(segment)
    this.#segments.unpin(segment, bytes)
  }

  /** Lets go of the places and the memory of entries `from` to `to`, which stay in the range as missing ones. */
  #letGo(from: number, to: number): void {
    let segment = 0
    let bytes = 0
    for (let i = from; i <= to; i++) {
      const slot = this.#slot(i)
      const entry = this.#entries[slot]
      if (entry !== undefined) {
        this.#entries[slot] = undefined
        this.#cache.release(entryOverheadBytes + entry.data.length)
      }
      if (this.#segmentOf[slot] === 0 && this.#offsets[slot] === 0) continue
      const size = entryRowBytes + (this.#lengths[slot] as number)
      this.#bytes -= size
      if (this.#segmentOf[slot] !== segment) {
        if (segment !== 0) this.#unpin(segment, bytes)
        segment = this.#segmentOf[slot] as number
        bytes = 0
      }
      if (segment !== 0) bytes += size
      this.#segmentOf[slot] = 0
      this.#offsets[slot] = 0
    }
    if (segment !== 0) this.#unpin(segment, bytes)
  }

  #grow(count: number): void {
    if (this.#lastIndex - this.#truncatedIndex + count > this.#capacity) this.#resize(count)
  }

  /** Moves the live entries into columns of a capacity that fits them and `extra` more. */
  #resize(extra = 0): void {
    const needed = this.#lastIndex - this.#truncatedIndex + extra
    let capacity = minimumCapacity
    while (capacity < needed) capacity *= 2
    if (capacity === this.#capacity) return
    const [terms, segments, offsets] = [new Float64Array(capacity), new Uint32Array(capacity), new Uint32Array(capacity)]
    const [ordinals, lengths, stamps] = [new Uint32Array(capacity), new Uint32Array(capacity), new Uint32Array(capacity)]
    const entries: (Entry | undefined)[] = new Array(capacity).fill(undefined)
    for (let i = this.#truncatedIndex + 1; i <= this.#lastIndex; i++) {
      const from = this.#slot(i)
      const to = i & (capacity - 1)
      terms[to] = this.#terms[from] as number
      segments[to] = this.#segmentOf[from] as number
      offsets[to] = this.#offsets[from] as number
      ordinals[to] = this.#ordinals[from] as number
      lengths[to] = this.#lengths[from] as number
      stamps[to] = this.#stamps[from] as number
      entries[to] = this.#entries[from]
    }
    this.#capacity = capacity
    this.#terms = terms
    this.#segmentOf = segments
    this.#offsets = offsets
    this.#ordinals = ordinals
    this.#lengths = lengths
    this.#stamps = stamps
    this.#entries = entries
  }
}
