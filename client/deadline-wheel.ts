/** The deadlines of all calls under way: a hashed timing wheel (Varghese and Lauck 1987) over intrusive lists; adding and removing cost no allocation. */
import type { Operation } from './operation.ts'

const SLOTS = 512

export class DeadlineWheel {
  readonly tickMs: number
  readonly #heads: (Operation | undefined)[] = new Array(SLOTS).fill(undefined)
  /** The tick up to which all is expired. */
  #tick: number
  #size = 0

  constructor(nowMs: number, tickMs: number) {
    this.tickMs = tickMs
    this.#tick = Math.floor(nowMs / tickMs)
  }

  get size(): number {
    return this.#size
  }

  add(operation: Operation): void {
    const tick = Math.max(Math.ceil(operation.deadlineMs / this.tickMs), this.#tick + 1)
    const slot = tick % SLOTS
    const head = this.#heads[slot]
    operation.wheelSlot = slot
    operation.wheelNext = head
    operation.wheelPrevious = undefined
    if (head !== undefined) head.wheelPrevious = operation
    this.#heads[slot] = operation
    this.#size++
  }

  remove(operation: Operation): void {
    if (operation.wheelSlot < 0) return
    const { wheelPrevious, wheelNext } = operation
    if (wheelPrevious !== undefined) wheelPrevious.wheelNext = wheelNext
    else this.#heads[operation.wheelSlot] = wheelNext
    if (wheelNext !== undefined) wheelNext.wheelPrevious = wheelPrevious
    operation.wheelPrevious = undefined
    operation.wheelNext = undefined
    operation.wheelSlot = -1
    this.#size--
  }

  /** The operations whose deadline lies at or before `nowMs`; they stay in the wheel until removed. */
  due(nowMs: number): Operation[] {
    const due: Operation[] = []
    const now = Math.floor(nowMs / this.tickMs)
    const first = Math.max(this.#tick + 1, now - SLOTS + 1)
    for (let tick = first; tick <= now; tick++) {
      for (let operation = this.#heads[tick % SLOTS]; operation !== undefined; operation = operation.wheelNext) {
        if (operation.deadlineMs <= nowMs) due.push(operation)
      }
    }
    this.#tick = Math.max(this.#tick, now)
    return due
  }

  /** Every operation, in no order. */
  all(): Operation[] {
    const all: Operation[] = []
    for (const head of this.#heads) for (let operation = head; operation !== undefined; operation = operation.wheelNext) all.push(operation)
    return all
  }
}
