import { compareBytes } from '../base/bytes.ts'
import type { KeyRange } from './kind.ts'

export const levelCount = 7

/** What a writer knows of the file that it has written. */
export interface WrittenTable {
  /** Number of the file: `tableName`. */
  readonly file: number
  readonly size: number
  /** crc32 of the whole file. */
  readonly checksum: number
  /** All keys lie in [lower, upper). */
  readonly lower: Uint8Array
  readonly upper: Uint8Array
  readonly entries: number
  readonly tombstones: number
  readonly maxSequence: number
}

/** A table, or after an excise a clipped part of one, in a version. Immutable: whatever changes it gives it a new `id`. */
export interface TableMetadata extends WrittenTable {
  readonly id: number
  readonly level: number
  /** Rank of age among the tables of level 0: larger is newer. */
  readonly order: number
  /** The file holds keys outside [lower, upper), which do not count. */
  readonly clipped: boolean
}

export function tableName(file: number): string {
  return `${String(file).padStart(6, '0')}.sst`
}

export function logName(file: number): string {
  return `${String(file).padStart(6, '0')}.log`
}

export function manifestName(file: number): string {
  return `MANIFEST-${String(file).padStart(6, '0')}`
}

export const currentName = 'CURRENT'

export type DatabaseFileKind = 'current' | 'manifest' | 'table' | 'log' | 'temporary' | 'folder' | 'foreign'

/** What kind of file of a database has this name: `foreign` is none that is made here. The number is that of a manifest, table or log. */
export function databaseFileKind(name: string): { kind: Exclude<DatabaseFileKind, 'folder'>; number?: number } {
  if (name === currentName) return { kind: 'current' }
  if (name === `${currentName}.tmp`) return { kind: 'temporary' }
  // Filled up to six digits, and not beyond.
  const found = /^(MANIFEST-)?(\d{6}|[1-9]\d{6,14})(\.sst|\.log)?$/.exec(name)
  const number = Number(found?.[2])
  if (found === null || (found[1] === undefined) === (found[3] === undefined)) return { kind: 'foreign' }
  return { kind: found[1] !== undefined ? 'manifest' : found[3] === '.sst' ? 'table' : 'log', number }
}

/** Where one lies, CURRENT must lie too. */
export function isTableOrLog(name: string): boolean {
  const { kind } = databaseFileKind(name)
  return kind === 'table' || kind === 'log'
}

export function rangeOverlaps(range: KeyRange, lower: Uint8Array, upper: Uint8Array): boolean {
  if (range.upper !== undefined && compareBytes(lower, range.upper) >= 0) return false
  return range.lower === undefined || compareBytes(range.lower, upper) < 0
}

export function rangeHolds(range: KeyRange, key: Uint8Array): boolean {
  if (range.lower !== undefined && compareBytes(key, range.lower) < 0) return false
  return range.upper === undefined || compareBytes(key, range.upper) < 0
}

/** The least range that holds all of `tables`, undefined for none. */
export function hullOf(
  tables: readonly { readonly lower: Uint8Array; readonly upper: Uint8Array }[],
): { lower: Uint8Array; upper: Uint8Array } | undefined {
  const first = tables[0]
  if (first === undefined) return undefined
  let { lower, upper } = first
  for (const table of tables) {
    if (compareBytes(table.lower, lower) < 0) lower = table.lower
    if (compareBytes(table.upper, upper) > 0) upper = table.upper
  }
  return { lower, upper }
}
