/** Events ordered by (virtual time, sequence): a binary heap, and a lane for what is to happen at once, which is half of all and needs no sorting. */

/** Whose event it is. Undefined owners are the world itself: the network's links, the test's faults. */
export interface EventOwner {
  /** What stands for the owner in the trace hash. */
  readonly traceId: number
  /** Asked when the event is due. False: the owner drops it (it is dead) or keeps it for later (it is paused). */
  admits(event: WorldEvent): boolean
}

export class WorldEvent {
  atMs: number
  /** Breaks ties of time: first scheduled, first run. */
  sequence: number
  readonly owner: EventOwner | undefined
  readonly what: string
  /** Undefined once it ran or was cancelled. */
  callback: (() => void) | undefined

  constructor(atMs: number, sequence: number, owner: EventOwner | undefined, what: string, callback: () => void) {
    this.atMs = atMs
    this.sequence = sequence
    this.owner = owner
    this.what = what
    this.callback = callback
  }

  cancel(): void {
    this.callback = undefined
  }
}

function isBefore(a: WorldEvent, b: WorldEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.sequence < b.sequence)
}

export class EventQueue {
  readonly #heap: WorldEvent[] = []
  /** In order; those before `#laneHead` have been taken. */
  #lane: WorldEvent[] = []
  #laneHead = 0

  get size(): number {
    return this.#heap.length + this.#lane.length - this.#laneHead
  }

  peek(): WorldEvent | undefined {
    const first = this.#lane[this.#laneHead]
    const top = this.#heap[0]
    if (first === undefined || top === undefined) return first ?? top
    return isBefore(top, first) ? top : first
  }

  /** An event that comes after all that were given to `pushLast` and not taken since: later in time, or in sequence. */
  pushLast(event: WorldEvent): void {
    this.#lane.push(event)
  }

  push(event: WorldEvent): void {
    const heap = this.#heap
    let index = heap.length
    heap.push(event)
    while (index > 0) {
      const parentIndex = (index - 1) >> 1
      const parent = heap[parentIndex] as WorldEvent
      if (!isBefore(event, parent)) break
      heap[index] = parent
      index = parentIndex
    }
    heap[index] = event
  }

  pop(): WorldEvent | undefined {
    const first = this.#lane[this.#laneHead]
    const top = this.#heap[0]
    if (first === undefined || (top !== undefined && isBefore(top, first))) return this.#popHeap()
    if (++this.#laneHead === this.#lane.length) {
      this.#lane = []
      this.#laneHead = 0
    }
    return first
  }

  #popHeap(): WorldEvent | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    let index = 0
    for (;;) {
      let childIndex = 2 * index + 1
      if (childIndex >= heap.length) break
      if (childIndex + 1 < heap.length && isBefore(heap[childIndex + 1] as WorldEvent, heap[childIndex] as WorldEvent)) childIndex++
      const child = heap[childIndex] as WorldEvent
      if (!isBefore(child, last)) break
      heap[index] = child
      index = childIndex
    }
    heap[index] = last
    return first
  }
}
