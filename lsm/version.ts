import { assert } from '../base/assert.ts'
import { compareBytes } from '../base/bytes.ts'
import type { KeyRange } from './kind.ts'
import { levelCount, rangeOverlaps, type TableMetadata } from './table-metadata.ts'

/** The tables that make up the durable state. Immutable. Level 0: newest first; the others: by key, without overlap. */
export class Version {
  readonly levels: readonly (readonly TableMetadata[])[]

  constructor(levels: readonly (readonly TableMetadata[])[]) {
    assert(levels.length === levelCount, 'a version has all levels')
    this.levels = levels
  }

  static readonly empty = new Version(Array.from({ length: levelCount }, () => []))

  /** Sorts `tables` into their levels. Asserts that no level below 0 overlaps itself. */
  static of(tables: Iterable<TableMetadata>): Version {
    const levels: TableMetadata[][] = Array.from({ length: levelCount }, () => [])
    for (const table of tables) {
      const level = levels[table.level]
      assert(level !== undefined, 'a table lies in a level')
      level.push(table)
    }
    levels.forEach((level, i) => {
      level.sort(i === 0 ? (a, b) => b.order - a.order : (a, b) => compareBytes(a.lower, b.lower))
      for (let j = 1; i > 0 && j < level.length; j++) {
        assert(compareBytes((level[j - 1] as TableMetadata).upper, (level[j] as TableMetadata).lower) <= 0, `level ${i} does not overlap`)
      }
    })
    return new Version(levels)
  }

  /** All tables of all levels. */
  tables(): TableMetadata[] {
    return this.levels.flat()
  }

  holds(id: number): boolean {
    return this.levels.some((level) => level.some((table) => table.id === id))
  }

  /** The tables of `level` that may hold keys of `range`, in the level's order. */
  overlapping(level: number, range: KeyRange): TableMetadata[] {
    return (this.levels[level] ?? []).filter((table) => rangeOverlaps(range, table.lower, table.upper))
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
    return (this.levels[level] ?? []).reduce((sum, table) => sum + table.size, 0)
  }
}
