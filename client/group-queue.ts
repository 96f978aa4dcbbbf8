/** What waits for one group, and how much of it is under way. */
import { type Operation, operationStates } from './operation.ts'

/** Requests of one group under way at once; what queues meanwhile makes the next ones bigger. */
const REQUESTS_MAX = 8
const BYTES_MAX = 16 * 1024 * 1024

export class GroupQueue {
  readonly uid: string
  /** Holds reads for any replica of the group: each request goes to another one. */
  readonly isSpread: boolean
  #operations: Operation[] = []
  #head = 0
  requests = 0
  bytes = 0
  /** Failures in a row. While there are any, one request at a time asks whether the group serves again. */
  failures = 0
  /** Some node has answered as the leader since the last failure. */
  settled: boolean
  /** Until then its nodes need not be dialled ahead again. */
  warmAfterMs = 0
  /** Waits for a back-off to pass. */
  blocked = false
  /** In the list of queues that are looked at in this turn. */
  scheduled = false

  constructor(uid: string, isSpread: boolean) {
    this.uid = uid
    this.isSpread = isSpread
    this.settled = isSpread
  }

  get size(): number {
    return this.#operations.length - this.#head
  }

  get mayAsk(): boolean {
    return !this.blocked && this.requests < (this.settled ? REQUESTS_MAX : 1) && this.bytes < BYTES_MAX
  }

  push(operation: Operation): void {
    operation.state = operationStates.queued
    this.#operations.push(operation)
  }

  /** Puts operations back, before all others and in their order. */
  unshift(operations: readonly Operation[]): void {
    for (const operation of operations) operation.state = operationStates.queued
    this.#operations = [...operations, ...this.#operations.slice(this.#head)]
    this.#head = 0
  }

  /** The oldest, undefined if there is none. */
  peek(): Operation | undefined {
    return this.#operations[this.#head]
  }

  shift(): void {
    this.#head++
    if (this.#head === this.#operations.length) {
      this.#operations.length = 0
      this.#head = 0
    } else if (this.#head >= 4096 && 2 * this.#head >= this.#operations.length) {
      this.#operations = this.#operations.slice(this.#head)
      this.#head = 0
    }
  }

  /** Everything, oldest first; empty afterwards. */
  takeAll(): Operation[] {
    const all = this.#operations.slice(this.#head)
    this.#operations = []
    this.#head = 0
    return all
  }
}
