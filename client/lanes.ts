/**
 * The order of calls on one key. Every call stands in the lane of each of its keys, in the order in which the calls were made, until it is
 * done. A call may travel only at the head of its lanes, or in the same request right behind the call before it: so no call overtakes an
 * earlier one on its key, whatever is refused, lost or retried. Calls on different keys do not wait for each other.
 */
import { LaneEntry, type Operation, operationKinds, operationStates } from './operation.ts'
import type { Request } from './request.ts'

export class Lanes {
  readonly #tails = new Map<string, LaneEntry>()

  /** Keys with calls under way. */
  get size(): number {
    return this.#tails.size
  }

  /** Puts `operation` at the end of the lane of `key`: its bytes as latin1 text. */
  add(operation: Operation, key: string): void {
    const tail = this.#tails.get(key)
    const entry = new LaneEntry(key, operation, tail)
    if (tail !== undefined) tail.next = entry
    this.#tails.set(key, entry)
    operation.entries.push(entry)
  }

  /** Takes a call that is done out of its lanes. Calls that may be queued now are pushed onto `released`, in order. */
  remove(operation: Operation, released: Operation[]): void {
    for (const entry of operation.entries) {
      const { previous, next } = entry
      if (next !== undefined) next.previous = previous
      else if (previous !== undefined) this.#tails.set(entry.key, previous)
      else this.#tails.delete(entry.key)
      if (previous !== undefined) previous.next = next
    }
    for (const entry of operation.entries) {
      const next = entry.next
      if (next !== undefined && next.previous === undefined) releaseFrom(next, released)
    }
    operation.entries = []
  }
}

/** The parked call at the head of a lane, and those behind it that may share its request. */
function releaseFrom(head: LaneEntry, released: Operation[]): void {
  for (let entry: LaneEntry | undefined = head; entry !== undefined; entry = entry.next) {
    const operation = entry.owner
    if (operation.state !== operationStates.parked || !mayQueue(operation)) return
    operation.state = operationStates.queued
    released.push(operation)
  }
}

/** Whether a call may stand in its group's queue: nothing before it on its keys but queued calls that it can share a request with. */
export function mayQueue(operation: Operation): boolean {
  for (const { previous } of operation.entries) {
    if (previous !== undefined && (previous.owner.state !== operationStates.queued || !mayShare(previous.owner, operation))) return false
  }
  return true
}

/** Whether a call may travel in `request`, which is being filled: every call before it on its keys is done or in the same request. */
export function mayTravel(operation: Operation, request: Request): boolean {
  for (const { previous } of operation.entries) {
    if (previous !== undefined && (previous.owner.carrier !== request.number || !mayShare(previous.owner, operation))) return false
  }
  return true
}

/** Whether every call before it on its keys is done. */
export function atHead(operation: Operation): boolean {
  for (const { previous } of operation.entries) if (previous !== undefined) return false
  return true
}

/** Reads of a request are independent of its writes; and a compare-and-set may need a second step before anything else on its key. */
function mayShare(earlier: Operation, later: Operation): boolean {
  return earlier.reading === later.reading && earlier.kind !== operationKinds.compareAndSet
}
