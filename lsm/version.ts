import { assert } from '../base/assert.ts'
import { compareBytes } from '../base/bytes.ts'
import { firstFrom } from './binary-search.ts'
import type { KeyRange } from './kind.ts'
import { levelCount, rangeOverlaps, type TableMetadata } from './table-metadata.ts'

/** The tables that make up the durable state. Immutable. Level 0: newest first; the others: by key, without overlap. */
export class Version {
  readonly levels: readonly (readonly TableMetadata[])[]
  // What is asked again and again, by whoever plans: found out once.
  #ids: ReadonlySet<number> | undefined
  #bytes: readonly number[] | undefined
  #clipped: readonly TableMetadata[] | undefined

  constructor(levels: readonly (readonly TableMetadata[])[]) {
    assert(levels.length === levelCount, 'a version has all levels')
    this.levels = levels
  }

  static readonly empty = new Version(Array.from({ length: levelCount }, () => []))

  /** Sorts `tables` into their levels. Asserts that no level below 0 overlaps itself. */
  static of(tables: readonly TableMetadata[]): Version {
    return Version.empty.edited(new Set(), tables)
  }

  /** Without the tables `dropped` (ids), and with `added`. A level that has none of either stays as it is: most edits are small. */
  edited(dropped: ReadonlySet<number>, added: readonly TableMetadata[]): Version {
    const additions: TableMetadata[][] = Array.from({ length: levelCount }, () => [])
    for (const table of added) {
      const level = additions[table.level]
      assert(level !== undefined, 'a table lies in a level')
      level.push(table)
    }
    return new Version(
      this.levels.map((tables, level) => {
        const kept = dropped.size > 0 && tables.some(({ id }) => dropped.has(id)) ? tables.filter(({ id }) => !dropped.has(id)) : tables
        const more = additions[level] as TableMetadata[]
        return more.length === 0 ? kept : joinLevel(level, kept, more)
      }),
    )
  }

  /** All tables of all levels. */
  tables(): TableMetadata[] {
    return this.levels.flat()
  }

  holds(id: number): boolean {
    this.#ids ??= new Set(this.tables().map((table) => table.id))
    return this.#ids.has(id)
  }

  /** The tables of which not all that is in their file counts. */
  clipped(): readonly TableMetadata[] {
    this.#clipped ??= this.tables().filter((table) => table.clipped)
    return this.#clipped
  }

  /** The tables of `level` that may hold keys of `range`, in the level's order. */
  overlapping(level: number, range: KeyRange): TableMetadata[] {
    const tables = this.levels[level] ?? []
    if (level === 0) return tables.filter((table) => rangeOverlaps(range, table.lower, table.upper))
    const { lower, upper } = range
    const from = lower === undefined ? 0 : firstFrom(tables, (table) => compareBytes(table.upper, lower) > 0)
    const to = upper === undefined ? tables.length : firstFrom(tables, (table) => compareBytes(table.lower, upper) >= 0)
    return tables.slice(from, to)
  }

  /** The table of `level` >= 1 that may hold `key`. */
  tableFor(level: number, key: Uint8Array): TableMetadata | undefined {
    const tables = this.levels[level] as readonly TableMetadata[]
    // As `firstFrom`, without a closure: each lookup comes by here.
    let from = 0
    let to = tables.length
    while (from < to) {
      const middle = (from + to) >>> 1
      if (compareBytes((tables[middle] as TableMetadata).upper, key) > 0) to = middle
      else from = middle + 1
    }
    const table = tables[from]
    return table !== undefined && compareBytes(table.lower, key) <= 0 ? table : undefined
  }

  bytes(level: number): number {
    this.#bytes ??= this.levels.map((tables) => tables.reduce((sum, table) => sum + table.size, 0))
    return this.#bytes[level] ?? 0
  }
}

/** Both in the level's order. Asserts that none of `added` overlaps what it comes to lie beside. */
function joinLevel(level: number, tables: readonly TableMetadata[], added: readonly TableMetadata[]): readonly TableMetadata[] {
  if (level === 0) return [...tables, ...added].sort((a, b) => b.order - a.order)
  const joined: TableMetadata[] = []
  const mustEndBefore = (table: TableMetadata | undefined, next: TableMetadata | undefined) => {
    const isApart = table === undefined || next === undefined || compareBytes(table.upper, next.lower) <= 0
    assert(isApart, `level ${level} does not overlap`)
  }
  let at = 0
  for (const table of [...added].sort((a, b) => compareBytes(a.lower, b.lower))) {
    const to = firstFrom(tables, (other) => compareBytes(other.lower, table.lower) > 0, at)
    while (at < to) joined.push(tables[at++] as TableMetadata)
    mustEndBefore(joined.at(-1), table)
    mustEndBefore(table, tables[at])
    joined.push(table)
  }
  while (at < tables.length) joined.push(tables[at++] as TableMetadata)
  return joined
}
