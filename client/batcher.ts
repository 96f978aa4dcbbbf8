/**
 * Fills a request from a group's queue: oldest first, in the order of the calls on each key, within the limits of a batch. What may not
 * travel yet is parked behind the call before it, or held until its shard's session has room.
 */
import { limits } from '../proto/limits.ts'
import { encodeBatch } from './command-encoder.ts'
import type { GroupQueue } from './group-queue.ts'
import { mayTravel } from './lanes.ts'
import { needsWhole, type Operation, operationStates } from './operation.ts'
import { newRequest, type Request } from './request.ts'
import type { Sessions, ShardSession } from './session.ts'

/** A request is closed once it holds so much; a single bigger operation travels alone. */
const REQUEST_BYTES = 256 * 1024
/** Room for what a reply to reads may hold, well under the limit of a message. */
const REPLY_BYTES = 8 * 1024 * 1024
const FIRST_VALUE_BYTES = 32 * 1024

export class Batcher {
  readonly #sessions: Sessions
  /** A guess at the size of the biggest values read lately; it sets how many reads may share a reply. */
  #valueBytes = FIRST_VALUE_BYTES

  /** Writes that wait for room in their session, oldest first. */
  readonly #held = new Map<ShardSession, Operation[]>()
  #nextNumber = 1

  constructor(sessions: Sessions) {
    this.#sessions = sessions
  }

  get readsMax(): number {
    return Math.max(1, Math.min(limits.batchOperationsMax, Math.floor(REPLY_BYTES / this.#valueBytes)))
  }

  /** The biggest value of a reply. */
  sawValue(bytes: number): void {
    this.#valueBytes = Math.max(bytes, this.#valueBytes - (this.#valueBytes - bytes) / 8, 1)
  }

  /** Undefined: nothing in the queue may travel now. */
  fill(queue: GroupQueue): Request | undefined {
    const request = newRequest(this.#nextNumber++, queue)
    for (let operation = queue.peek(); operation !== undefined; operation = queue.peek()) {
      if (operation.state === operationStates.done) queue.shift()
      else if (!mayTravel(operation, request)) {
        operation.state = operationStates.parked
        queue.shift()
      } else if (!this.#fits(operation, request)) break
      else {
        queue.shift()
        this.#take(operation, request)
      }
    }
    return request.writes.length + request.reads.length > 0 ? request : undefined
  }

  /** The oldest `count` of the calls that wait for room in a session; they do so no longer. */
  takeHeld(session: ShardSession, count: number): Operation[] {
    const held = this.#held.get(session)
    if (held === undefined) return []
    const taken: Operation[] = []
    let from = 0
    for (; from < held.length && taken.length < count; from++) {
      const operation = held[from]
      if (operation?.state === operationStates.held) taken.push(operation)
    }
    held.splice(0, from)
    if (held.length === 0) this.#held.delete(session)
    return taken
  }

  #hold(operation: Operation, session: ShardSession): void {
    operation.state = operationStates.held
    const held = this.#held.get(session)
    if (held === undefined) this.#held.set(session, [operation])
    else held.push(operation)
  }

  #fits(operation: Operation, request: Request): boolean {
    if (request.bytes > 0 && request.bytes + operation.bytes > REQUEST_BYTES) return false
    if (operation.reading) return request.reads.length < this.readsMax
    if (request.operations + operation.members > limits.batchOperationsMax) return false
    if (request.wholeReads >= limits.batchWholeReadsMax && needsWhole(operation.kind)) return false
    // A batch has one client id.
    const first = request.writes[0]
    return first === undefined || first.session?.clientId === this.#sessionOf(operation).clientId
  }

  #take(operation: Operation, request: Request): void {
    if (operation.reading) request.reads.push(operation)
    else {
      const session = this.#sessionOf(operation)
      if (!session.maySend(operation.sequence)) {
        this.#hold(operation, session)
        return
      }
      if (operation.sequence === 0) {
        operation.session = session
        operation.sequence = session.take()
      }
      request.writes.push(operation)
      request.operations += operation.members
      if (needsWhole(operation.kind)) request.wholeReads++
    }
    request.bytes += operation.bytes
    request.silences = Math.max(request.silences, operation.silences)
    operation.carrier = request.number
    operation.state = operationStates.sent
    operation.attempts++
  }

  #sessionOf(operation: Operation): ShardSession {
    return operation.session ?? this.#sessions.of(operation.shard)
  }
}

const noBytes = new Uint8Array(0)

/** The writes of a request, encoded. */
export function encodeWrites(request: Request, nowMs: number): Uint8Array {
  const first = request.writes[0]
  if (first?.session === undefined) return noBytes
  let issuedMs = nowMs
  for (const operation of request.writes) issuedMs = Math.min(issuedMs, operation.issuedMs)
  return encodeBatch(first.session.clientId, request.writes, Math.ceil(nowMs - issuedMs))
}

/** How long the most patient of its calls still waits, milliseconds. */
export function patienceMs(request: Request, nowMs: number): number {
  let deadlineMs = nowMs + 1
  for (const operation of request.writes) deadlineMs = Math.max(deadlineMs, operation.deadlineMs)
  for (const operation of request.reads) deadlineMs = Math.max(deadlineMs, operation.deadlineMs)
  return Math.min(limits.writeAgeMsMax, Math.ceil(deadlineMs - nowMs))
}
