import { assert, must } from '../../base/assert.ts'
import { LogTail } from './log-tail.ts'
import { NO_ENTRIES } from './message.ts'
import { type Entry, EntryKind, type LogView } from './types.ts'

/**
 * The whole log as the core sees it: the LogView, its tail in memory, and how far it is committed and applied.
 * Invariants: applied <= commit <= lastIndex; no entry at or below commit is ever truncated.
 */
export class RaftLog {
  readonly #view: LogView
  readonly #tail: LogTail
  /** Only rises. */
  #commit: number
  /** Only rises. */
  #applied: number
  /** Up to here nobody knows of what kind the entries are: they were there before this process was. Only falls. */
  #unreadTo: number
  /** Behind that: the membership changes that are not applied, ascending. */
  #confChanges: number[] = []

  constructor(view: LogView, commit: number, applied: number) {
    const last = view.lastIndex
    this.#view = view
    this.#unreadTo = last
    this.#tail = new LogTail(last, must(view.term(last), `term of the last entry ${last}`))
    // What lies before the log was applied, and what was applied was committed, whatever the last hard state knew.
    this.#applied = Math.max(applied, view.firstIndex - 1)
    this.#commit = Math.max(commit, this.#applied)
    assert(this.#commit <= last, `commit index ${this.#commit} behind the log's end ${last}: this replica lost a part of its log`)
  }

  get firstIndex(): number {
    return this.#view.firstIndex
  }

  get lastIndex(): number {
    return this.#tail.last
  }

  get lastTerm(): number {
    return this.#tail.lastTerm
  }

  /** The log is durable up to here. */
  get stableIndex(): number {
    return this.#tail.first - 1
  }

  get commit(): number {
    return this.#commit
  }

  get applied(): number {
    return this.#applied
  }

  /** An entry that is committed and not yet applied changes the membership, or may: nobody who is not sure of the voters asks for votes. */
  get hasUnappliedConfChange(): boolean {
    if (this.#applied >= this.#commit) return false
    const first = this.#confChanges[0]
    return this.#applied < this.#unreadTo || (first !== undefined && first <= this.#commit)
  }

  get hasUnhanded(): boolean {
    return this.#tail.hasUnhanded
  }

  /** Undefined: compacted away, or behind the end. */
  term(index: number): number | undefined {
    if (index >= this.#tail.first - 1) return this.#tail.term(index)
    return index >= this.#view.firstIndex - 1 ? this.#view.term(index) : undefined
  }

  /** Entries from `from` on, at least one if there is one. Undefined: the view has begun to load them. */
  entries(from: number, maxBytes: number): readonly Entry[] | undefined {
    if (from > this.lastIndex) return NO_ENTRIES
    if (from < this.#tail.first) return this.#view.entries(from, this.#tail.first, maxBytes)
    return this.#tail.slice(from, maxBytes)
  }

  /** Whether a log that ends so holds all that this one holds, as far as votes go (Raft, 5.4.1). */
  isUpToDate(index: number, term: number): boolean {
    return term > this.lastTerm || (term === this.lastTerm && index >= this.lastIndex)
  }

  /** A leader's own entry, or one that it sent and that is news. */
  append(entry: Entry): void {
    this.#tail.append(entry)
    if (entry.kind === EntryKind.ConfChange) this.#confChanges.push(entry.index)
  }

  /** Takes a leader's entries, which follow on one that agrees. Truncates at the first that conflicts (Raft, 5.3). */
  merge(entries: readonly Entry[]): void {
    let i = 0
    while (i < entries.length && this.term((entries[i] as Entry).index) === (entries[i] as Entry).term) i++
    const first = entries[i]
    if (first === undefined) return
    if (first.index <= this.lastIndex) {
      assert(
        first.index > this.#commit,
        `entry ${first.index} of term ${first.term} conflicts with a committed one (commit ${this.#commit})`,
      )
      this.#tail.truncateFrom(first.index, must(this.term(first.index - 1), 'term before a conflict'))
      this.#unreadTo = Math.min(this.#unreadTo, first.index - 1)
      while ((this.#confChanges.at(-1) ?? 0) >= first.index) this.#confChanges.pop()
    }
    for (; i < entries.length; i++) this.append(entries[i] as Entry)
  }

  /** The largest index <= `index` whose term is at most `term`; one below what is known if none is. Terms never fall along a log. */
  lastWithTermAtMost(index: number, term: number): number {
    let low = this.firstIndex - 2
    let high = Math.min(index, this.lastIndex)
    while (low < high) {
      const middle = low + Math.ceil((high - low) / 2)
      if (must(this.term(middle), `term of entry ${middle}`) <= term) low = middle
      else high = middle - 1
    }
    return Math.max(high, 0)
  }

  /** Returns whether commit rose. */
  commitTo(index: number): boolean {
    if (index <= this.#commit) return false
    assert(index <= this.lastIndex, `commit index ${index} behind the log's end ${this.lastIndex}: this replica lost a part of its log`)
    this.#commit = index
    return true
  }

  appliedTo(index: number): void {
    assert(index <= this.#commit, `applied ${index} behind the commit index ${this.#commit}`)
    if (index > this.#applied) this.#applied = index
    while (this.#confChanges.length > 0 && (this.#confChanges[0] as number) <= index) this.#confChanges.shift()
  }

  handOut(): readonly Entry[] {
    return this.#tail.handOut()
  }

  /** See `LogTail.appended`. */
  appended(term: number, index: number): boolean {
    return this.#tail.appended(term, index)
  }

  /** The state machine stands at a snapshot. Returns true if the log does not hold that entry and is discarded: it begins behind it. */
  installSnapshot(index: number, term: number): boolean {
    const discard = this.term(index) !== term
    if (discard) {
      assert(index > this.#commit, `snapshot ${index} of term ${term} conflicts with a committed entry (commit ${this.#commit})`)
      this.#tail.reset(index, term)
      this.#unreadTo = Math.min(this.#unreadTo, index)
      this.#confChanges = []
    }
    this.commitTo(index)
    this.appliedTo(index)
    return discard
  }
}
