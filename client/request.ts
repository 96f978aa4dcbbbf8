import type { GroupQueue } from './group-queue.ts'
import type { Operation } from './operation.ts'

/** What is sent together: one ExecuteRequest. */
export interface Request {
  /** Unique in this client, from 1; what its operations know it by. */
  readonly number: number
  readonly group: GroupQueue
  readonly writes: Operation[]
  readonly reads: Operation[]
  bytes: number
  /** As the limits of a batch count them: a batch counts all its members. */
  operations: number
  /** Writes that need a whole present value. */
  wholeReads: number
  /** Unique on its link; 0 while it is being filled. */
  id: number
  node: string
  sentMs: number
  /** Attempts without an answer of the member that has the most. */
  silences: number
  timeoutMs: number
  /** Its group no longer counts it: answered, failed, or given up after `timeoutMs`. */
  closed: boolean
}

export function newRequest(number: number, group: GroupQueue): Request {
  return {
    number,
    group,
    writes: [],
    reads: [],
    bytes: 0,
    operations: 0,
    wholeReads: 0,
    id: 0,
    node: '',
    sentMs: 0,
    silences: 0,
    timeoutMs: 0,
    closed: false,
  }
}
