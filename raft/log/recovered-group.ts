import { assert } from '../../base/assert.ts'
import { readU32, readU64 } from '../../base/bytes.ts'
import type { HardState } from '../core/types.ts'
import type { EntryCache } from './entry-cache.ts'
import { EntryIndex } from './entry-index.ts'
import {
  damagedFlag,
  entryRowBytes,
  type GroupKey,
  RecordKind,
  readHardStateBody,
  readNameBody,
  readStateBody,
  type StateBody,
} from './format.ts'
import type { ScannedBatch, ScannedRecord } from './segment-scanner.ts'
import type { Segments } from './segments.ts'

export const initialHardState: HardState = { term: 0, vote: 0, commit: 0 }

/** A group as the records read so far tell it. */
export interface RecoveredGroup {
  readonly number: number
  key: GroupKey | undefined
  readonly index: EntryIndex
  hardState: HardState
  damaged: boolean
}

/** What follows from whole records, in their order. Synchronous. */
export class RecoveredGroups {
  readonly #segments: Segments
  readonly #cache: EntryCache
  readonly #groups = new Map<number, RecoveredGroup>()
  readonly #keys = new Map<number, GroupKey>()
  /** The highest group number in the log. */
  highest = 0

  constructor(segments: Segments, cache: EntryCache) {
    this.#segments = segments
    this.#cache = cache
  }

  all(): Iterable<RecoveredGroup> {
    return this.#groups.values()
  }

  /** The key of a group number, also of a removed one. */
  keyOf(number: number): GroupKey | undefined {
    return this.#keys.get(number)
  }

  /** Group `number` lost something: what is left of it is of no use. */
  markDamaged(number: number): void {
    this.highest = Math.max(this.highest, number)
    const group = this.#group(number)
    group.damaged = true
    group.index.reset(0, 0)
  }

  /** Applies the whole records of a batch in segment `segment`. Returns groups whose `state` record does not fit what stands before it. */
  apply(batch: ScannedBatch, segment: number): { group: number; offset: number; what: string }[] {
    const states: { offset: number; number: number; state: StateBody }[] = []
    for (const record of batch.records) {
      const known = this.#groups.has(record.header.group)
      this.#applyRecord(record, segment)
      if (known && record.header.kind === RecordKind.state) {
        states.push({ offset: record.offset, number: record.header.group, state: readStateBody(record.front) })
      }
    }
    const misfits = []
    for (const { offset, number, state } of states) {
      const group = this.#groups.get(number)
      if (group === undefined || group.damaged) continue
      const misfit = difference(group, state)
      if (misfit !== undefined) misfits.push({ group: number, offset, what: `records before it do not lead to this state: ${misfit}` })
    }
    return misfits
  }

  #group(number: number): RecoveredGroup {
    const known = this.#groups.get(number)
    if (known !== undefined) return known
    const index = new EntryIndex(this.#segments, this.#cache)
    const group = { number, key: this.#keys.get(number), index, hardState: initialHardState, damaged: false }
    this.#groups.set(number, group)
    return group
  }

  #applyRecord(record: ScannedRecord, segment: number): void {
    const { header, front } = record
    this.highest = Math.max(this.highest, header.group)
    if (header.kind === RecordKind.tombstone) {
      this.#groups.get(header.group)?.index.reset(0, 0)
      this.#groups.delete(header.group)
      return
    }
    const known = this.#groups.has(header.group)
    const group = this.#group(header.group)
    if (header.kind === RecordKind.name) this.#name(group, readNameBody(front))
    else if (header.kind === RecordKind.state) this.#applyState(group, known, readStateBody(front), (header.flags & damagedFlag) !== 0)
    else if (group.damaged) return
    else if (header.kind === RecordKind.hardState) group.hardState = readHardStateBody(front)
    else if (header.kind === RecordKind.truncation) group.index.truncateTo(header.first, readU64(front, 0))
    else if (header.kind === RecordKind.reset) group.index.reset(header.first, readU64(front, 0))
    else if (header.kind === RecordKind.entries) applyEntries(group.index, record, segment)
    else {
      assert(header.kind === RecordKind.rewritten, `a record of kind ${header.kind} is not for this release`)
      setEntries(group.index, record, segment)
    }
  }

  #name(group: RecoveredGroup, key: GroupKey): void {
    group.key = key
    this.#keys.set(group.number, key)
  }

  #applyState(group: RecoveredGroup, known: boolean, state: StateBody, damaged: boolean): void {
    this.#name(group, state.key)
    if (damaged) this.markDamaged(group.number)
    if (known || damaged) return
    group.hardState = state.hardState
    group.index.reset(state.truncatedIndex, state.truncatedTerm)
    group.index.extendTo(state.lastIndex)
  }
}

/** An `entries` record: what the group had from its first index on is dropped; what lies at or below the truncation is not wanted. */
function applyEntries(index: EntryIndex, record: ScannedRecord, segment: number): void {
  index.dropFrom(record.header.first)
  index.extendTo(record.header.first - 1)
  const last = record.header.first + record.header.count - 1
  if (last > index.truncatedIndex) index.extendTo(last)
  setEntries(index, record, segment)
}

/** Sets exactly the record's own indexes, as far as they are live. */
function setEntries(index: EntryIndex, record: ScannedRecord, segment: number): void {
  for (let ordinal = 0; ordinal < record.header.count; ordinal++) {
    const at = record.header.first + ordinal
    if (!index.has(at)) continue
    const row = entryRowBytes * ordinal
    index.setPlaced(at, readU64(record.front, row), readU32(record.front, row + 12), { segment, offset: record.offset, ordinal })
  }
}

function difference(group: RecoveredGroup, state: StateBody): string | undefined {
  const pairs: [string, number, number][] = [
    ['truncated index', group.index.truncatedIndex, state.truncatedIndex],
    ['truncated term', group.index.truncatedTerm, state.truncatedTerm],
    ['last index', group.index.lastIndex, state.lastIndex],
    ['term', group.hardState.term, state.hardState.term],
    ['vote', group.hardState.vote, state.hardState.vote],
    ['commit', group.hardState.commit, state.hardState.commit],
  ]
  const wrong = pairs.find(([, found, wanted]) => found !== wanted)
  return wrong && `${wrong[0]} ${wrong[1]}, expected ${wrong[2]}`
}
