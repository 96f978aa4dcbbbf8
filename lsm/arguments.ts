import { copyBytes } from '../base/bytes.ts'
import type { KeyRange } from './kind.ts'

/** For callers without types: what is no Uint8Array has a length and elements all the same, and would be taken for other bytes than were meant. Throws TypeError. */
export function mustBeBytes(what: string, value: unknown): asserts value is Uint8Array {
  if (value instanceof Uint8Array || isOfAnotherRealm(value)) return
  throw new TypeError(`a ${what} is a Uint8Array, not ${nameOf(value)}`)
}

/** Undefined is unbounded. Throws TypeError. */
export function mustBeRange({ lower, upper }: Partial<KeyRange>): void {
  if (lower !== undefined) mustBeBytes('lower bound', lower)
  if (upper !== undefined) mustBeBytes('upper bound', upper)
}

/** The caller may use its arrays again. Throws TypeError. */
export function copyOfRange(range: KeyRange): KeyRange {
  mustBeRange(range)
  return { lower: range.lower && copyBytes(range.lower), upper: range.upper && copyBytes(range.upper) }
}

/** Of a `vm` context, which has a Uint8Array of its own. */
function isOfAnotherRealm(value: unknown): boolean {
  return Object.prototype.toString.call(value) === '[object Uint8Array]'
}

function nameOf(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (typeof value !== 'object') return `a ${typeof value}`
  return `a ${(value as { readonly constructor?: { readonly name?: string } }).constructor?.name ?? 'plain object'}`
}
