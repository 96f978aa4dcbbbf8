import { assert } from '../../base/assert.ts'
import { copyBytes } from '../../base/bytes.ts'
import { CorruptionError } from '../../base/errors.ts'
import { entryBytes } from '../core/message.ts'
import type { Entry, HardState, LogView } from '../core/types.ts'
import type { Batch, PlacementOwner } from './batch.ts'
import type { EntryCache } from './entry-cache.ts'
import { EntryIndex } from './entry-index.ts'
import { damagedFlag, entryRowBytes, type GroupKey, hardStateBody, nameBody, RecordKind, stateBody, termBody } from './format.ts'
import type { LogWriter } from './log-writer.ts'
import { RecordReader } from './record-reader.ts'
import type { Segments } from './segments.ts'

/** A record of entries ends where it would grow beyond this, unless it holds but one entry: a load reads and checks whole records. */
const recordBodyBytes = 256 * 1024
/** What is written again at a time: a quarter of a segment in one piece held up all that was proposed on its node for 20 to 170 ms. */
const rewriteBytes = 256 * 1024
/** A miss in `entries` loads up to this much ahead. */
const readAheadBytes = 1024 * 1024

/** What the logs of all groups of a node share. */
export interface LogParts {
  readonly segments: Segments
  readonly cache: EntryCache
  readonly writer: LogWriter
  /** Notes that `log` has a hard state to write; the writer asks for it when it closes a batch. */
  hardStateChanged(log: GroupLog): void
  /** `log` has its first record. */
  named(log: GroupLog): void
  /** An entry of `log` is not what was written. May be told several times. */
  damageRead(log: GroupLog, error: CorruptionError): void
  /** `log` is removed; `durably` once its tombstone is durable. */
  removed(log: GroupLog, durably: boolean): void
}

/** What a group's log is made from: what recovery found, or nothing yet. */
export interface GroupStart {
  readonly number: number
  readonly key: GroupKey
  readonly index: EntryIndex
  readonly hardState: HardState
  /** Its name record is in the log. */
  readonly named: boolean
  readonly damaged: boolean
}

/**
 * One group's log within the node's shared log. The caller's duties:
 * 1. `append`, `truncateTo`, `reset` and `remove` take effect in memory at once; they are durable when a later `onDurable` was called.
 * 2. The `data` of appended entries is kept as given, in memory and on the way to the disk: do not change or reuse it.
 * 3. Acknowledge (vote, append response, own match) only what an `onDurable` covered.
 * 4. `truncateTo(index)` only when the state machine holds everything up to `index` durably: table, folder and manifest synced.
 * 5. A log that is `damaged` takes nothing but `remove`: its replica's number is to be retired.
 */
export class GroupLog implements LogView, PlacementOwner {
  readonly key: GroupKey
  /** The group's number in the records of this log. */
  readonly number: number
  /** Part of it was lost before the durable end: see `SharedLog.damage`. */
  readonly damaged: boolean
  /** Called after entries that `entries` missed were loaded. */
  onLoaded: (() => void) | undefined = undefined
  readonly #parts: LogParts
  readonly #index: EntryIndex
  #hardState: HardState
  #named: boolean
  #removed = false
  #pendingId = 0
  #loading = false

  constructor(start: GroupStart, parts: LogParts) {
    this.key = start.key
    this.number = start.number
    this.damaged = start.damaged
    this.#parts = parts
    this.#index = start.index
    this.#hardState = start.hardState
    this.#named = start.named
  }

  /** Its records are in the log, or queued. */
  get named(): boolean {
    return this.#named
  }

  get hardState(): HardState {
    return this.#hardState
  }

  get firstIndex(): number {
    return this.#index.truncatedIndex + 1
  }

  get lastIndex(): number {
    return this.#index.lastIndex
  }

  /** Bytes of this group that are still needed in the shared log. */
  get bytes(): number {
    return this.#index.bytes
  }

  term(index: number): number | undefined {
    return this.#index.term(index)
  }

  entries(from: number, to: number, maxBytes: number): readonly Entry[] | undefined {
    assert(
      from < to && this.#index.has(from) && to <= this.lastIndex + 1,
      `no entries ${from} to ${to} in ${this.firstIndex}..${this.lastIndex}`,
    )
    const result: Entry[] = []
    let bytes = 0
    for (let i = from; i < to; i++) {
      const entry = this.#index.cached(i)
      if (entry === undefined) break
      bytes += entryBytes(entry)
      if (result.length > 0 && bytes > maxBytes) break
      result.push(entry)
    }
    if (result.length > 0) return result
    this.#loadMissed(from, to, maxBytes)
    return undefined
  }

  /**
   * Appends entries that follow each other, the first at most lastIndex + 1; what the log had from there on is dropped. A hard state alone,
   * without `onDurable`, waits for the next batch and forces none: right where only the commit index moved.
   */
  append(entries: readonly Entry[], hardState: HardState | undefined, onDurable: (() => void) | undefined): void {
    this.#prepare()
    const first = entries[0]
    if (first !== undefined) {
      assert(first.index >= this.firstIndex, `entry ${first.index} lies before ${this.firstIndex}`)
      assert(first.index <= this.lastIndex + 1, `entry ${first.index} leaves a gap behind ${this.lastIndex}`)
      this.#index.dropFrom(first.index)
      this.#parts.cache.makeRoom(EntryIndex.memoryBytes(entries))
      this.#write(RecordKind.entries, entries, (entry, id, ordinal) => this.#index.append(entry, id, ordinal))
    }
    if (hardState !== undefined) {
      assert(hardState.term >= this.#hardState.term, `term ${hardState.term} lies before ${this.#hardState.term}`)
      this.#hardState = hardState
      this.#parts.hardStateChanged(this)
    }
    if (first !== undefined || onDurable !== undefined) this.#parts.writer.force(onDurable)
    else if (hardState !== undefined) this.#parts.writer.lazily()
  }

  /** Everything at or below `index`, whose term is `term`, is in the state machine's durable state. Forces no batch. No-op below firstIndex. */
  truncateTo(index: number, term: number): void {
    if (index < this.firstIndex) return
    this.#prepare()
    assert(this.#index.term(index) === term, `entry ${index} is not of term ${term}`)
    this.#index.truncateTo(index, term)
    this.#parts.writer.batch.add(RecordKind.truncation, this.number, index, termBody(term))
    this.#parts.writer.lazily()
  }

  /** Discards everything and starts behind (index, term): a snapshot was installed, or on open the state machine stands elsewhere. */
  reset(index: number, term: number, onDurable?: () => void): void {
    this.#prepare()
    this.#index.reset(index, term)
    this.#parts.writer.batch.add(RecordKind.reset, this.number, index, termBody(term))
    this.#parts.writer.force(onDurable)
  }

  /** The group's data was dropped: nothing of it is needed any more. This object is dead; the same key is a new group. Forces no batch. */
  remove(onDurable?: () => void): void {
    if (this.#removed) return
    this.#removed = true
    this.#index.reset(0, 0)
    this.#parts.removed(this, false)
    if (this.#named) {
      this.#parts.writer.batch.add(RecordKind.tombstone, this.number, 0, new Uint8Array(0))
      this.#parts.writer.batch.onDurable(() => this.#parts.removed(this, true))
    }
    if (onDurable === undefined) this.#parts.writer.lazily()
    else this.#parts.writer.force(onDurable)
  }

  /**
   * Entries `from` to before `to`, about `maxBytes` of data, at least one; from memory or disk, checked. Fewer (or none) where the log was
   * truncated or overwritten meanwhile. Rejects with CorruptionError or DiskError.
   */
  async load(from: number, to: number, maxBytes: number): Promise<readonly Entry[]> {
    const result: Entry[] = []
    const reader = new RecordReader()
    let bytes = 0
    for (let i = from; i < to && this.#index.has(i); i++) {
      // Before it is fetched: one too many would push out of memory what was just loaded.
      bytes += this.#index.length(i)
      if (result.length > 0 && bytes > maxBytes) break
      const entry = this.#index.cached(i) ?? (await this.#fetch(i, to, reader))
      if (entry === undefined) break
      result.push(entry)
    }
    // What changed while we waited must not stand beside what was read before.
    const valid = result.findIndex((entry) => this.#index.term(entry.index) !== entry.term || !this.#index.has(entry.index))
    return valid < 0 ? result : result.slice(0, valid)
  }

  /** Bytes of this group's live entries in segment `number`. */
  pinnedIn(number: number): number {
    return this.#index.pinnedIn(number)
  }

  placed(pendingId: number, first: number, count: number, segment: number, offset: number): void {
    this.#index.place(pendingId, first, count, segment, offset)
  }

  /** Adds the record that stands for all that the log knows of this group but its entries. */
  addState(batch: Batch): void {
    const state = {
      key: this.key,
      hardState: this.#hardState,
      truncatedIndex: this.#index.truncatedIndex,
      truncatedTerm: this.#index.truncatedTerm,
      lastIndex: this.#index.lastIndex,
    }
    batch.add(RecordKind.state, this.number, 0, stateBody(state), this.damaged ? damagedFlag : 0)
  }

  addHardState(batch: Batch): void {
    if (!this.#removed) batch.add(RecordKind.hardState, this.number, 0, hardStateBody(this.#hardState))
  }

  /**
   * Writes what lies in segment `number` again, as rewritten records, a few at a time: what is proposed meanwhile waits behind no more. Returns when the last are queued; rejects
   * where the log fails.
   */
  async rewrite(number: number): Promise<void> {
    const indexes = [...this.#index.indexesIn(number)]
    const reader = new RecordReader()
    for (let at = 0; at < indexes.length; ) {
      if (this.#parts.writer.queuedBytes >= rewriteBytes) await this.#parts.writer.flush()
      const from = indexes[at] as number
      const entry = this.#index.has(from) ? (this.#index.cached(from) ?? (await this.#fetch(from, this.lastIndex + 1, reader))) : undefined
      const run: Entry[] = []
      if (entry !== undefined) {
        // In one turn: what lies in the segment now is what the new record replaces.
        let bytes = 0
        for (let i = from; bytes < rewriteBytes && this.#index.has(i) && this.#index.cached(i) !== undefined; i++) {
          if (!this.#index.isPlacedIn(i, number)) break
          const again = this.#index.cached(i) as Entry
          run.push(again)
          bytes += entryRowBytes + again.data.length
        }
        if (run.length > 0) this.#write(RecordKind.rewritten, run, (moved, id, ordinal) => this.#index.move(moved, id, ordinal))
      }
      at += Math.max(1, run.length)
    }
  }

  #prepare(): void {
    assert(!this.#removed, `the log of ${this.key.uid}/${this.key.replica} was removed`)
    assert(!this.damaged, `the log of ${this.key.uid}/${this.key.replica} is damaged`)
    if (this.#named) return
    this.#named = true
    this.#parts.named(this)
    this.#parts.writer.batch.add(RecordKind.name, this.number, 0, nameBody(this.key))
  }

  /** Adds `entries` as records of bounded size and notes each as on its way. */
  #write(
    kind: typeof RecordKind.entries | typeof RecordKind.rewritten,
    entries: readonly Entry[],
    note: (entry: Entry, pendingId: number, ordinal: number) => void,
  ): void {
    let from = 0
    while (from < entries.length) {
      this.#pendingId = this.#pendingId === 0xffffffff ? 1 : this.#pendingId + 1
      let bytes = 0
      let to = from
      for (; to < entries.length; to++) {
        const entry = entries[to] as Entry
        bytes += entryRowBytes + entry.data.length
        if (to > from && bytes > recordBodyBytes) break
        note(entry, this.#pendingId, to - from)
      }
      this.#parts.writer.batch.addEntries(kind, this.number, entries, from, to, this, this.#pendingId)
      from = to
    }
  }

  /** Entry `index` from disk. Others of its record, up to before `to`, are kept in memory with it. Undefined: it is not in the log any more. */
  async #fetch(index: number, to: number, reader: RecordReader): Promise<Entry | undefined> {
    while (this.#index.has(index)) {
      const cached = this.#index.cached(index)
      if (cached !== undefined) return cached
      const { segment: number, offset, ordinal } = this.#index.location(index)
      const segment = this.#parts.segments.get(number)
      assert(segment !== undefined, `segment ${number} of entry ${index} is not there`)
      segment.readers++
      let record: Entry[]
      try {
        record = await reader.read(segment, offset, this.number)
      } catch (error) {
        this.#readFailed(error)
        throw error
      } finally {
        await this.#parts.segments.release(segment)
      }
      if (!this.#index.liesAt(index, number, offset, ordinal)) continue
      this.#keepLoaded(record, ordinal, to, number, offset)
      return record[ordinal]
    }
    return undefined
  }

  /** Keeps the entries of a record from row `ordinal` to before index `to` in memory, at least one and no more than half the budget. */
  #keepLoaded(record: readonly Entry[], ordinal: number, to: number, segment: number, offset: number): void {
    const wanted: Entry[] = []
    const room = this.#parts.cache.budget / 2
    let bytes = 0
    for (let row = ordinal; row < record.length; row++) {
      const entry = record[row] as Entry
      if (entry.index >= to || !this.#index.liesAt(entry.index, segment, offset, row)) break
      bytes += EntryIndex.entryBytes(entry)
      if (wanted.length > 0 && bytes > room) break
      wanted.push(entry)
    }
    this.#parts.cache.makeRoom(EntryIndex.memoryBytes(wanted))
    // Where most of the record is not wanted, a view would hold all of it in memory.
    const few = 2 * wanted.length < record.length
    for (const entry of wanted) this.#index.keep(few ? { ...entry, data: copyBytes(entry.data) } : entry)
  }

  /** Damage is this group's loss alone, whoever reads it; a disk that does not read is everyone's. */
  #readFailed(error: unknown): void {
    if (error instanceof CorruptionError) this.#parts.damageRead(this, error)
    else this.#parts.writer.fail(error instanceof Error ? error : new Error(String(error)))
  }

  #loadMissed(from: number, to: number, maxBytes: number): void {
    if (this.#loading) return
    this.#loading = true
    this.load(from, to, Math.min(maxBytes, readAheadBytes, this.#parts.cache.budget / 2)).then(
      (loaded) => {
        this.#loading = false
        // Others may have pushed it out again: what is asked for next must be found.
        const first = loaded[0]
        if (first !== undefined && this.#index.term(from) === first.term && this.#index.has(from)) this.#index.keep(first)
        if (!this.#removed) this.onLoaded?.()
      },
      (error: unknown) => {
        this.#loading = false
        this.#readFailed(error)
      },
    )
  }
}
