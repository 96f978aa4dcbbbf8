import { encodeError } from '../proto/error-codec.ts'
import { OstrakaError } from '../proto/errors.ts'
import { limits } from '../proto/limits.ts'
import type { pb } from '../proto/messages.ts'
import type { ReadKind } from '../raft/state-machine.ts'
import type { HostedGroup, KvNode } from './kv-node.ts'
import { readKindOf } from './read-kind.ts'
import type { ReadOutcome } from './reads.ts'
import { expiredElsewhere, overloaded, refusalOf, replicaRefusal, shardRefusal } from './refusals.ts'

/** Reads of one request that wait for the disk at a time. */
const readsAtOnce = 16
/** What a read that found no room in the reply is asked to wait, ms: the next request has all of it. */
const noRoomWaitMs = 1

/** Where the values that are read count as under way until their reply has left. */
export interface ReplyBudget {
  /** False: too much is under way. */
  maybeGrow(bytes: number): boolean
}

/**
 * The reads of one request: looked up behind a read index, a few at a time, until the reply is full. What finds no room is refused as
 * OVERLOADED. Where config and values are at hand this takes no promise.
 */
export class ReadCall {
  /** In the order of the request. */
  readonly results: pb.v1.ReadResult.$Properties[]
  /** All of them failed. */
  error: OstrakaError | undefined
  /** Bytes of the values found. */
  heldBytes = 0
  readonly #node: KvNode
  readonly #hosted: HostedGroup
  readonly #request: pb.v1.ExecuteRequest.$Properties
  readonly #budget: ReplyBudget
  readonly #done: () => void
  /** Positions of reads that may be looked up; `#next` is the first that was not. */
  readonly #ready: number[] = []
  #next = 0
  /** Reads that are being looked up, or wait for the read index or for a time mark. */
  #pending = 0
  #lookingUp = 0
  /** The leader's time, as far as it is known here, when the newest of the reads were confirmed. */
  #leaderTimeMs = 0
  #stopped = false

  /** `done` is called once, perhaps within `start`; not after `stop`. */
  constructor(node: KvNode, hosted: HostedGroup, request: pb.v1.ExecuteRequest.$Properties, budget: ReplyBudget, done: () => void) {
    this.#node = node
    this.#hosted = hosted
    this.#request = request
    this.#budget = budget
    this.#done = done
    this.results = (request.reads ?? []).map(() => ({}))
  }

  start(): void {
    const unconfirmed = new Map<ReadKind, number[]>()
    this.#leaderTimeMs = this.#node.timeOf(this.#hosted)
    for (const [i, read] of (this.#request.reads ?? []).entries()) {
      const kind = readKindOf(this.#node, this.#hosted, read)
      const same = kind === undefined ? this.#ready : unconfirmed.get(kind)
      if (same !== undefined) same.push(i)
      else if (kind !== undefined) unconfirmed.set(kind, [i])
    }
    this.#pending++
    for (const [kind, reads] of unconfirmed) this.#confirm(reads, kind)
    this.#lookUp()
    this.#leave()
  }

  /** Nobody waits for the results any more. */
  stop(): void {
    this.#stopped = true
  }

  #confirm(reads: readonly number[], kind: ReadKind): void {
    this.#pending++
    this.#hosted.replica.readIndex((outcome) => {
      if (outcome.kind === 'refused') this.#refuse(reads, refusalOf(this.#node, this.#request.group ?? '', outcome))
      else {
        this.#leaderTimeMs = this.#node.timeOf(this.#hosted)
        for (const i of reads) this.#ready.push(i)
        // In the turn in which the read index was confirmed; what comes later is only newer.
        this.#lookUp()
      }
      this.#leave()
    }, kind)
  }

  /** Where none is left the request's reads have failed as a whole, so that their caller turns to another node. */
  #refuse(reads: readonly number[], error: OstrakaError): void {
    if (reads.length === this.results.length) this.error = error
    else for (const i of reads) this.results[i] = { error: encodeError(error) }
  }

  #lookUp(): void {
    while (this.#next < this.#ready.length && this.#lookingUp < readsAtOnce && !this.#stopped) this.#readOne(this.#ready[this.#next++] ?? 0)
  }

  /** A read that fails (damage, a store that closes) fails the request's reads, never its caller. */
  #readOne(i: number): void {
    const read = this.#request.reads?.[i]
    if (this.heldBytes >= limits.replyValueBytesMax) {
      this.results[i] = noRoom()
      return
    }
    try {
      const found = this.#hosted.stateMachine.read(read?.shard ?? 0, read?.key ?? new Uint8Array(0), this.#leaderTimeMs)
      if (found instanceof Promise) this.#awaitRead(i, found)
      else this.#take(i, found)
    } catch (error) {
      this.error = readFailed(error)
    }
  }

  #awaitRead(i: number, found: Promise<ReadOutcome>): void {
    this.#pending++
    this.#lookingUp++
    found
      .then((outcome) => this.#take(i, outcome))
      .catch((error: unknown) => {
        this.error = readFailed(error)
      })
      .finally(() => {
        this.#lookingUp--
        this.#lookUp()
        this.#leave()
      })
  }

  #take(i: number, outcome: ReadOutcome): void {
    if (this.#stopped) return
    switch (outcome.kind) {
      case 'found':
        this.#count(i)
        this.results[i] = this.#hold(outcome.value.length)
          ? { found: true, value: outcome.value, revision: outcome.revision, expiresInMs: outcome.expiresInMs }
          : noRoom()
        return
      case 'absent':
        this.#count(i)
        this.results[i] = { found: false }
        return
      case 'refused':
        this.results[i] = { error: encodeError(shardRefusal(this.#node, this.#request, outcome.shard, outcome.state)) }
        return
      case 'needs-time-mark':
        if (this.#hosted.replica.role === 'leader') this.#readAfterMark(i)
        else this.results[i] = { error: encodeError(expiredElsewhere(this.#node, this.#hosted)) }
    }
  }

  #count(i: number): void {
    this.#node.loads.countRead(this.#request.reads?.[i]?.shard ?? 0)
  }

  #hold(bytes: number): boolean {
    if (this.heldBytes > 0 && this.heldBytes + bytes > limits.replyValueBytesMax) return false
    if (!this.#budget.maybeGrow(bytes)) return false
    this.heldBytes += bytes
    return true
  }

  #readAfterMark(i: number): void {
    this.#pending++
    this.#node.timeMarks.mark(this.#hosted.replica, this.#leaderTimeMs, (outcome) => {
      if (outcome.kind === 'applied') this.#ready.push(i)
      else if (outcome.kind === 'refused') this.error = refusalOf(this.#node, this.#request.group ?? '', outcome)
      else this.error = replicaRefusal('not-leader', '')
      this.#lookUp()
      this.#leave()
    })
  }

  #leave(): void {
    if (--this.#pending === 0 && !this.#stopped) this.#done()
  }
}

function noRoom(): pb.v1.ReadResult.$Properties {
  return { error: encodeError(overloaded('the values of one reply take no more', noRoomWaitMs)) }
}

function readFailed(error: unknown): OstrakaError {
  return new OstrakaError('UNAVAILABLE', `the read failed on this node: ${error instanceof Error ? error.message : error}`, true)
}
