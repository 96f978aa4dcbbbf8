import { entryBytes } from '../../../raft/core/message.ts'
import type { Entry, HardState, LogView, SnapshotMeta } from '../../../raft/core/types.ts'

/** One batch on its way to the disk: all of it becomes durable at once, or a crash loses all of it and all behind it. */
export interface Write {
  readonly hardState: HardState | undefined
  readonly entries: readonly Entry[]
  readonly reset: SnapshotMeta | undefined
}

/** A log whose entries are seen at once and become durable when the test says so. */
export class MemoryLog implements LogView {
  /** The index and term of the entry before the first. */
  #base = { index: 0, term: 0 }
  #entries: Entry[] = []
  #durable: { base: { index: number; term: number }; entries: Entry[]; hardState: HardState }
  readonly #writes: Write[] = []
  /** Asked for entries below this the log answers undefined until `load`. */
  coldBelow = 0
  wanted = false

  constructor(entries: readonly Entry[] = [], hardState: HardState = { term: 0, vote: 0, commit: 0 }, base = { index: 0, term: 0 }) {
    this.#base = base
    this.#entries = [...entries]
    this.#durable = { base, entries: [...entries], hardState }
  }

  get firstIndex(): number {
    return this.#base.index + 1
  }

  get lastIndex(): number {
    return this.#base.index + this.#entries.length
  }

  get durableIndex(): number {
    return this.#durable.base.index + this.#durable.entries.length
  }

  /** Of the entry at `index` as a crash would leave it. */
  durableTerm(index: number): number | undefined {
    const { base, entries } = this.#durable
    return index === base.index ? base.term : entries[index - base.index - 1]?.term
  }

  get durableFirstIndex(): number {
    return this.#durable.base.index + 1
  }

  get durableEntries(): readonly Entry[] {
    return this.#durable.entries
  }

  get hardState(): HardState {
    return this.#durable.hardState
  }

  get writeCount(): number {
    return this.#writes.length
  }

  term(index: number): number | undefined {
    return index === this.#base.index ? this.#base.term : this.#entries[index - this.#base.index - 1]?.term
  }

  entry(index: number): Entry | undefined {
    return this.#entries[index - this.#base.index - 1]
  }

  entries(from: number, to: number, maxBytes: number): readonly Entry[] | undefined {
    if (from < this.firstIndex || to > this.lastIndex + 1 || from >= to)
      throw new Error(`entries ${from} to ${to} of ${this.firstIndex} to ${this.lastIndex}`)
    if (from < this.coldBelow) {
      this.wanted = true
      return undefined
    }
    const result: Entry[] = []
    let bytes = 0
    for (let index = from; index < to; index++) {
      const entry = this.entry(index) as Entry
      bytes += entryBytes(entry)
      if (result.length > 0 && bytes > maxBytes) break
      result.push(entry)
    }
    return result
  }

  all(): readonly Entry[] {
    return this.#entries
  }

  load(): void {
    this.coldBelow = 0
    this.wanted = false
  }

  submit(write: Write): void {
    this.#writes.push(write)
    if (write.reset !== undefined) {
      this.#base = { index: write.reset.index, term: write.reset.term }
      this.#entries = []
    }
    this.#entries = overwrite(this.#base.index, this.#entries, write.entries)
  }

  /** The oldest write on its way becomes durable. */
  persist(): void {
    const write = this.#writes.shift()
    if (write === undefined) throw new Error('nothing to persist')
    if (write.reset !== undefined) {
      this.#durable.base = { index: write.reset.index, term: write.reset.term }
      this.#durable.entries = []
    }
    if (write.hardState !== undefined) this.#durable.hardState = write.hardState
    this.#durable.entries = overwrite(this.#durable.base.index, this.#durable.entries, write.entries)
  }

  /** Drops entries up to `index`, which must be durable. */
  truncateFront(index: number): void {
    if (index > this.durableIndex) throw new Error(`truncated to ${index}, durable to ${this.durableIndex}`)
    const term = this.term(index)
    if (term === undefined || index <= this.#base.index) return
    this.#entries = this.#entries.slice(index - this.#base.index)
    this.#base = { index, term }
    if (index <= this.#durable.base.index) return
    const durableTerm = this.#durable.entries[index - this.#durable.base.index - 1]?.term ?? term
    this.#durable.entries = this.#durable.entries.slice(index - this.#durable.base.index)
    this.#durable.base = { index, term: durableTerm }
  }

  /** What a crash leaves. A store that stands at an entry which the log does not hold wins: the log begins behind it. */
  afterCrash(store: { index: number; term: number }): MemoryLog {
    const log = new MemoryLog(this.#durable.entries, this.#durable.hardState, this.#durable.base)
    return log.term(store.index) === store.term ? log : new MemoryLog([], this.#durable.hardState, { index: store.index, term: store.term })
  }
}

function overwrite(base: number, held: Entry[], entries: readonly Entry[]): Entry[] {
  const first = entries[0]
  if (first === undefined) return held
  if (first.index > base + held.length + 1 || first.index <= base)
    throw new Error(`entries from ${first.index} leave a gap: ${base} + ${held.length}`)
  return [...held.slice(0, first.index - base - 1), ...entries]
}
