import { equalBytes } from '../../base/bytes.ts'

/** What one voter of the target says of the files of an attempt; undefined: it did not answer. */
export interface Holding {
  readonly holds: boolean
  /** With `holds`. */
  readonly digest: Uint8Array
  readonly cut: number
  readonly bytesCopied: number
  readonly bytesTotal: number
  readonly lost: boolean
  /** Why its disk cannot take them; '': it can. */
  readonly noRoom: string
  readonly sourceAway: boolean
  /** See `ShardMigrations.workOn`. */
  readonly work: number
}

export type HoldingsVerdict =
  /** Files on a majority; `all`: on every voter. */
  | { readonly kind: 'majority'; readonly all: boolean; readonly digest: Uint8Array; readonly cut: number }
  /** What some hold is not what others hold. */
  | { readonly kind: 'differ' }
  /** A voter has no room for them: with the files in it would be behind for good. `why`: one line. */
  | { readonly kind: 'no-room'; readonly why: string }
  /** No voter can get them any more. */
  | { readonly kind: 'lost' }
  | { readonly kind: 'wait' }

/** Whether the files may be ingested: a majority of the `needed` voters has to hold them, so that no leader without them can come to office with the entry. */
export function judgeHoldings(holdings: readonly (Holding | undefined)[], needed: number): HoldingsVerdict {
  const held = holdings.filter((holding) => holding?.holds === true) as Holding[]
  const first = held[0]
  if (first !== undefined && held.some(({ digest, cut }) => cut !== first.cut || !equalBytes(digest, first.digest)))
    return { kind: 'differ' }
  const full = holdings.find((holding) => holding !== undefined && !holding.holds && holding.noRoom !== '')
  if (full !== undefined) return { kind: 'no-room', why: full.noRoom }
  if (first !== undefined && held.length >= needed) {
    return { kind: 'majority', all: held.length === holdings.length, digest: first.digest, cut: first.cut }
  }
  const open = holdings.filter((holding) => holding === undefined || (!holding.holds && !holding.lost)).length
  // Also where a few hold them: with the others without a source the majority never comes.
  return held.length + open < needed ? { kind: 'lost' } : { kind: 'wait' }
}

/** Whether all that answered and have no files yet say that the source is away. */
export function isSourceAway(holdings: readonly (Holding | undefined)[]): boolean {
  const without = holdings.filter((holding) => holding !== undefined && !holding.holds) as Holding[]
  return without.length > 0 && without.every(({ sourceAway }) => sourceAway)
}

/** `copied`: by the slowest voter that answered, for people. `sum`: by all of them, to see that something moves. Bytes. */
export function bytesHeld(holdings: readonly (Holding | undefined)[]): { copied: number; total: number; sum: number } {
  let copied = Number.POSITIVE_INFINITY
  let total = 0
  let sum = 0
  for (const holding of holdings) {
    if (holding === undefined) continue
    copied = Math.min(copied, holding.bytesCopied)
    total = Math.max(total, holding.bytesTotal)
    sum += holding.bytesCopied
  }
  return { copied: Number.isFinite(copied) ? copied : 0, total, sum }
}
