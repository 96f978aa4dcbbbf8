import { pb } from '../proto/messages.ts'
import type { ShardSession } from './session.ts'
import type { CompareAndSetResult, Found } from './types.ts'

/** What a call does. Numbers, so that the hot path switches on small integers. */
export const operationKinds = { get: 0, put: 1, delete: 2, append: 3, increment: 4, compareAndSet: 5, expire: 6, batch: 7 } as const
export type OperationKind = (typeof operationKinds)[keyof typeof operationKinds]

export const operationStates = {
  /** Behind an earlier call on its key. */
  parked: 0,
  /** In its group's queue. */
  queued: 1,
  /** Waiting for room in its shard's session. */
  held: 2,
  /** In a request under way. */
  sent: 3,
  /** Waiting for a time or for a config, then routed anew. */
  delayed: 4,
  /** Resolved or rejected. */
  done: 5,
} as const
export type OperationState = (typeof operationStates)[keyof typeof operationStates]

/** A call's place in the lane of one key. */
export class LaneEntry {
  readonly key: string
  readonly owner: Operation
  /** The call before it, undefined at the head. */
  previous: LaneEntry | undefined
  next: LaneEntry | undefined = undefined

  constructor(key: string, owner: Operation, previous: LaneEntry | undefined) {
    this.key = key
    this.owner = owner
    this.previous = previous
  }
}

/** One call under way. Mutable and of one shape: the dispatcher moves it from state to state. */
export class Operation {
  readonly kind: OperationKind
  readonly shard: number
  readonly key: Uint8Array
  /** A write's command without its header, encoded once; a read has none. Dropped when done. */
  payload: Uint8Array
  /** Of a get; what else travels as a read is linearizable. */
  readonly consistency: pb.v1.Consistency
  /** Of a stale get. */
  maxStalenessMs = 0
  /** Of a get that any replica may answer: one of them could not, so the leader is asked. */
  viaLeader = false
  /** Bytes that it adds to a request, about. */
  readonly bytes: number
  /** Members of a batch, 1 of any other. */
  readonly members: number
  /** Monotonic times. */
  readonly issuedMs: number
  readonly deadlineMs: number

  state: OperationState = operationStates.parked
  /** True: it travels as a read. Of a compare-and-set that failed on a long value: the read that fetches it. */
  reading: boolean
  /** The session that numbered it, with `sequence`; a retry keeps both. */
  session: ShardSession | undefined = undefined
  sequence = 0
  /** Number of the newest request that carried it; 0: none. */
  carrier = 0
  attempts = 0
  /** Attempts that got no answer in time. */
  silences = 0
  /** Some attempt may have taken effect or may still do so. Never falls, except with a new number for a command known not to be applied. */
  indefinite = false
  /** Set once it was numbered anew or changed between writing and reading: late answers to older attempts no longer count. */
  changed = false
  /** Why the last attempt failed, for the message of DEADLINE. */
  lastFailure = ''
  /** Compare-and-set: what it writes, undefined where it deletes. */
  replacement: Buffer | undefined = undefined
  /** Revision that a failed compare-and-set met, while its value is being read. */
  metRevision = 0

  /** Its places in the order of calls on its keys: one, more for a batch of several keys. */
  entries: LaneEntry[] = []
  /** Links of the deadline wheel. */
  wheelPrevious: Operation | undefined = undefined
  wheelNext: Operation | undefined = undefined
  wheelSlot = -1

  signal: AbortSignal | undefined = undefined
  resolve: (value: never) => void = unset
  reject: (error: Error) => void = unset

  constructor(
    kind: OperationKind,
    shard: number,
    key: Uint8Array,
    payload: Uint8Array,
    consistency: pb.v1.Consistency,
    issuedMs: number,
    deadlineMs: number,
    members = 1,
  ) {
    this.kind = kind
    this.shard = shard
    this.key = key
    this.payload = payload
    this.consistency = kind === operationKinds.get ? consistency : pb.v1.Consistency.LINEARIZABLE
    this.bytes = (kind === operationKinds.get ? key.length : payload.length) + 32
    this.issuedMs = issuedMs
    this.deadlineMs = deadlineMs
    this.members = members
    this.reading = kind === operationKinds.get
  }
}

function unset(): void {}

/** Whether any replica may answer. */
export function isForAnyReplica(consistency: pb.v1.Consistency): boolean {
  return consistency === pb.v1.Consistency.FOLLOWER || consistency === pb.v1.Consistency.STALE
}

/** Whether a write needs the whole present value of its key (a comparison with a revision does not, but is rare). */
export function needsWhole(kind: OperationKind): boolean {
  return kind === operationKinds.append || kind === operationKinds.expire || kind === operationKinds.compareAndSet
}

/** What a successful write is to its caller. A compare-and-set is answered by `compareAndSetResult`. */
export function writtenResult(kind: OperationKind, result: pb.v1.WriteResult.$Properties): unknown {
  switch (kind) {
    case operationKinds.delete:
    case operationKinds.expire:
      return { existed: result.existed ?? false }
    case operationKinds.append:
      return { length: result.length ?? 0, revision: result.revision ?? 0 }
    case operationKinds.increment:
      return { value: BigInt(result.value ?? '0'), revision: result.revision ?? 0 }
    default:
      return { revision: result.revision ?? 0 }
  }
}

export function foundResult(result: pb.v1.ReadResult.$Properties): Found | undefined {
  if (!result.found) return undefined
  const value = ownBuffer(result.value)
  const revision = result.revision ?? 0
  return result.expiresInMs ? { value, revision, expiresInMs: result.expiresInMs } : { value, revision }
}

export function compareAndSetResult(operation: Operation, result: pb.v1.WriteResult.$Properties): CompareAndSetResult {
  if (!result.applied) return notApplied(result.current)
  const value = operation.replacement
  return { applied: true, current: value === undefined ? undefined : { value, revision: result.revision ?? 0 } }
}

export function notApplied(current: pb.v1.ReadResult.$Properties | null | undefined): CompareAndSetResult {
  if (!current?.found) return { applied: false, current: undefined }
  return { applied: false, current: { value: ownBuffer(current.value), revision: current.revision ?? 0 } }
}

const emptyBuffer = Buffer.alloc(0)

/** Decoded bytes as a Buffer that pins no received chunk much larger than itself. */
export function ownBuffer(bytes: Uint8Array | null | undefined): Buffer {
  if (!bytes || bytes.length === 0) return emptyBuffer
  if (bytes.length * 2 >= bytes.buffer.byteLength) return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  return Buffer.from(bytes)
}
