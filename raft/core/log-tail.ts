import { assert, must } from '../../base/assert.ts'
import { ENTRY_OVERHEAD_BYTES, entryBytes, NO_ENTRIES } from './message.ts'
import type { Entry } from './types.ts'

/** One Ready's entries that were handed out and are not yet acknowledged as durable. */
interface PendingAppend {
  readonly term: number
  readonly index: number
  /** Up to here what was handed out is still what the log holds; a later truncation lowers it. */
  validTo: number
}

/**
 * The end of the log that is not known to be durable: entries not yet handed out and entries on their way to the disk. What lies below is
 * the LogView's. Appends are acknowledged in the order in which they were handed out, so each acknowledgement is matched with its own
 * record: an entry that was replaced, and even one that was replaced and came back, is not taken for durable by the first one's word.
 */
export class LogTail {
  /** Entries #first, #first + 1, … */
  #entries: Entry[] = []
  /** All entries below are durable. */
  #first: number
  /** The term of entry #first - 1. */
  #termBefore: number
  /** Entries up to here were handed out. #first - 1 <= #handedOut <= last. */
  #handedOut: number
  #pending: PendingAppend[] = []

  constructor(lastIndex: number, lastTerm: number) {
    this.#first = lastIndex + 1
    this.#termBefore = lastTerm
    this.#handedOut = lastIndex
  }

  get first(): number {
    return this.#first
  }

  get last(): number {
    return this.#first + this.#entries.length - 1
  }

  get lastTerm(): number {
    return this.#entries.at(-1)?.term ?? this.#termBefore
  }

  get hasUnhanded(): boolean {
    return this.#handedOut < this.last
  }

  /** The term of an entry from first - 1 on. */
  term(index: number): number | undefined {
    return index === this.#first - 1 ? this.#termBefore : this.#entries[index - this.#first]?.term
  }

  /** Entries from `from` (>= first) on: at least one if there is one, up to `maxBytes`. */
  slice(from: number, maxBytes: number): readonly Entry[] {
    const start = from - this.#first
    let end = start
    let bytes = 0
    for (; end < this.#entries.length; end++) {
      bytes += entryBytes(this.#entries[end] as Entry)
      if (bytes > maxBytes && end > start) break
    }
    return end > start ? this.#entries.slice(start, end) : NO_ENTRIES
  }

  append(entry: Entry): void {
    assert(entry.index === this.last + 1, `entry ${entry.index} appended behind ${this.last}`)
    this.#entries.push(entry)
  }

  /** Drops the entries from `index` on, durable ones too. `termBefore` is the term of entry index - 1. */
  truncateFrom(index: number, termBefore: number): void {
    if (index < this.#first) {
      this.#first = index
      this.#termBefore = termBefore
      this.#entries = []
    } else {
      this.#entries.length = index - this.#first
    }
    this.#handedOut = Math.min(this.#handedOut, index - 1)
    for (const pending of this.#pending) pending.validTo = Math.min(pending.validTo, index - 1)
  }

  /** The entries not yet handed out; from now on they count as on their way. */
  handOut(): readonly Entry[] {
    if (!this.hasUnhanded) return NO_ENTRIES
    const entries = this.#entries.slice(this.#handedOut + 1 - this.#first)
    const last = must(entries.at(-1), 'entries to hand out')
    this.#handedOut = last.index
    this.#pending.push({ term: last.term, index: last.index, validTo: last.index })
    return entries
  }

  /** The append that ended with this entry is durable, and all handed out before it. Returns whether more of the log is durable now. */
  appended(term: number, index: number): boolean {
    const at = this.#pending.findIndex((pending) => pending.term === term && pending.index === index)
    if (at < 0) return false
    const durable = (this.#pending[at] as PendingAppend).validTo
    this.#pending.splice(0, at + 1)
    if (durable < this.#first) return false
    this.#termBefore = must(this.term(durable), 'term of a durable entry')
    this.#entries.splice(0, durable + 1 - this.#first)
    this.#first = durable + 1
    return true
  }

  /** The log now begins behind a snapshot and is empty. */
  reset(index: number, term: number): void {
    this.#entries = []
    this.#first = index + 1
    this.#termBefore = term
    this.#handedOut = index
    this.#pending = []
  }

  /** About the memory held, for tests of bounds. */
  get bytes(): number {
    let bytes = this.#pending.length * ENTRY_OVERHEAD_BYTES
    for (const entry of this.#entries) bytes += entryBytes(entry)
    return bytes
  }
}
