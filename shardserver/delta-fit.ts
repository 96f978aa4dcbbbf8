/** How many records of several shards' deltas fit into one answer. Pure. */

/** A record, with what all up to it, itself included, count in its shard's delta as it was read. */
export interface SummedRecord {
  /** Of the source's log. */
  readonly index: number
  readonly bytesUpTo: number
  readonly costUpTo: number
}

export interface DeltaRoom {
  readonly bytes: number
  readonly cost: number
}

/**
 * The last index, `upTo` at the most, up to which the records of all `tails` together fit; those of the oldest index always do. Each tail by rising index. It takes
 * steps with the number of tails, hardly more for long ones: it is asked again with each tail that is read.
 */
export function lastThatFits(tails: readonly (readonly SummedRecord[])[], upTo: number, room: DeltaRoom): number {
  if (fits(tails, upTo, room)) return upTo
  let fitting = tails.reduce((index, [first]) => Math.min(index, first?.index ?? index), upTo)
  let over = upTo
  while (over - fitting > 1) {
    const middle = fitting + Math.floor((over - fitting) / 2)
    if (fits(tails, middle, room)) fitting = middle
    else over = middle
  }
  return fitting
}

/** How many records of a tail have an index up to `index`. */
export function countUpTo(tail: readonly Pick<SummedRecord, 'index'>[], index: number): number {
  let low = 0
  let high = tail.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((tail[middle] as { index: number }).index <= index) low = middle + 1
    else high = middle
  }
  return low
}

function fits(tails: readonly (readonly SummedRecord[])[], index: number, room: DeltaRoom): boolean {
  let bytes = 0
  let cost = 0
  for (const tail of tails) {
    const last = tail[countUpTo(tail, index) - 1]
    bytes += last?.bytesUpTo ?? 0
    cost += last?.costUpTo ?? 0
  }
  return bytes <= room.bytes && cost <= room.cost
}
