import { must } from '../base/assert.ts'

export interface AtDistance {
  readonly shard: number
  /** From the group, on the ring. */
  readonly distance: number
}

function isFarther(a: AtDistance, b: AtDistance): boolean {
  return a.distance > b.distance || (a.distance === b.distance && a.shard > b.shard)
}

/** The nearest of the shards that were offered, up to its capacity, above 0: a binary heap with the farthest on top. */
export class NearestShards<T extends AtDistance> {
  readonly all: T[] = []
  readonly #capacity: number

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  /** Whom it turns away, if it must. */
  offer(offered: T): T | undefined {
    const top = this.all[0]
    if (this.all.length < this.#capacity) {
      this.#push(offered)
      return undefined
    }
    if (top === undefined || !isFarther(top, offered)) return offered
    this.all[0] = offered
    this.#sink()
    return top
  }

  #push(offered: T): void {
    const heap = this.all
    let at = heap.length
    heap.push(offered)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isFarther(offered, must(heap[parent], 'heap'))) break
      heap[at] = must(heap[parent], 'heap')
      at = parent
    }
    heap[at] = offered
  }

  #sink(): void {
    const heap = this.all
    const moving = must(heap[0], 'heap')
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      const left = heap[child]
      const right = heap[child + 1]
      if (left === undefined) break
      if (right !== undefined && isFarther(right, left)) child++
      const larger = must(heap[child], 'heap')
      if (!isFarther(larger, moving)) break
      heap[at] = larger
      at = child
    }
    heap[at] = moving
  }
}
