/** The SDK's client: CONTRACT, "SDK". Made by `connect`; tests and simulations make it with their own seams. */
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'
import type { Random } from '../base/random.ts'
import type { Transport } from '../base/transport.ts'
import { ConfigWatcher } from '../proto/config-watcher.ts'
import { limits } from '../proto/limits.ts'
import type { pb } from '../proto/messages.ts'
import { encodeAppend, encodeDelete, encodePut, encodeRare, toBuffer } from './command-encoder.ts'
import { Dispatcher } from './dispatcher.ts'
import { makeError } from './make-error.ts'
import { issueMany, putManyError } from './many.ts'
import { Operation, type OperationKind, operationKinds } from './operation.ts'
import { type ScanPlan, scanCluster, scanRange } from './scan.ts'
import type {
  BatchMember,
  Bytes,
  CallOptions,
  CompareAndSetResult,
  Condition,
  Explanation,
  Found,
  ReadMode,
  ReadOptions,
  Replacement,
  ScannedRecord,
  ScanOptions,
  WriteOptions,
  Written,
} from './types.ts'
import {
  checkedDeadline,
  checkedInteger,
  checkedKey,
  checkedLimit,
  checkedRead,
  checkedRevision,
  checkedStaleness,
  checkedTtl,
  checkValue,
  invalid,
} from './validate.ts'

export interface ClientParts {
  readonly transport: Transport
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** HOST:PORT of the controllers, at least one. */
  readonly controllers: readonly string[]
  /** Default: 5,000. */
  readonly deadlineMs?: number | undefined
  /** Default: 'linearizable'. */
  readonly read?: ReadMode | undefined
  /** Default: 10,000. */
  readonly maxStalenessMs?: number | undefined
}

const noOptions: WriteOptions & ReadOptions = {}
const noPayload = new Uint8Array(0)

export class Client implements AsyncDisposable {
  readonly #parts: ClientParts
  readonly #watcher: ConfigWatcher
  readonly #dispatcher: Dispatcher
  readonly #deadlineMs: number
  readonly #read: pb.v1.Consistency
  readonly #maxStalenessMs: number

  /** Throws INVALID_ARGUMENT. Begins to fetch the config at once; await `ready` before the first call. */
  constructor(parts: ClientParts) {
    this.#parts = parts
    this.#deadlineMs = checkedDeadline(parts.deadlineMs ?? limits.deadlineMsDefault)
    this.#read = checkedRead(parts.read ?? 'linearizable')
    this.#maxStalenessMs = checkedStaleness(parts.maxStalenessMs ?? limits.maxStalenessMsDefault)
    const { transport, clock, random, logger } = parts
    this.#watcher = new ConfigWatcher({ transport, clock, random, logger, addresses: parts.controllers })
    this.#dispatcher = new Dispatcher({ transport, clock, random, logger, configs: this.#watcher })
    this.#watcher.start()
  }

  /** Resolves when the first config is here. Rejects with UNAVAILABLE, naming the controllers. */
  async ready(deadlineMs = this.#deadlineMs): Promise<void> {
    try {
      await this.#watcher.atLeast(0, deadlineMs)
    } catch {
      const addresses = this.#parts.controllers.join(', ')
      throw makeError('UNAVAILABLE', `no controller answered within ${deadlineMs} ms (asked ${addresses}); is the cluster running?`, true)
    }
  }

  /** Sets a key. */
  put(key: Bytes, value: Bytes, options: WriteOptions = noOptions): Promise<Written> {
    return this.#call(operationKinds.put, key, options, (bytes) => {
      checkValue(value)
      return encodePut(bytes, value, checkedTtl(options.ttlMs))
    })
  }

  /** The record of a key; undefined: there is none. */
  get(key: Bytes, options: ReadOptions = noOptions): Promise<Found | undefined> {
    return this.#call(operationKinds.get, key, options, encodeNothing)
  }

  /** Removes a key. */
  delete(key: Bytes, options: CallOptions = noOptions): Promise<{ existed: boolean }> {
    return this.#call(operationKinds.delete, key, options, encodeDelete)
  }

  /** Appends to a value, an absent one counting as empty; keeps the time to live. `length`: bytes of the value now. */
  append(key: Bytes, value: Bytes, options: CallOptions = noOptions): Promise<{ length: number; revision: number }> {
    return this.#call(operationKinds.append, key, options, (bytes) => {
      checkValue(value)
      return encodeAppend(bytes, value)
    })
  }

  /** Adds to an integer kept as decimal text, an absent one counting as 0; keeps the time to live. INVALID_ARGUMENT on what is no int64. */
  increment(key: Bytes, by: bigint | number = 1n, options: CallOptions = noOptions): Promise<{ value: bigint; revision: number }> {
    return this.#call(operationKinds.increment, key, options, (bytes) => encodeRare({ increment: { key: bytes, by: checkedInteger(by) } }))
  }

  /** Sets or removes a key if its present state is as expected. A condition that does not hold is a result, not an error. */
  compareAndSet(
    key: Bytes,
    condition: Condition,
    replacement: Replacement,
    options: WriteOptions = noOptions,
  ): Promise<CompareAndSetResult> {
    const value = replacementOf(replacement)
    return this.#call(
      operationKinds.compareAndSet,
      key,
      options,
      (bytes) => {
        if (value !== undefined) checkValue(value)
        const change = value === undefined ? { remove: true } : { value: toBuffer(value), ttlMs: checkedTtl(options.ttlMs) }
        return encodeRare({ compareAndSet: { key: bytes, ...expectation(condition), ...change } })
      },
      value,
    )
  }

  /** Sets a key's time to live in milliseconds; null: no end. */
  expire(key: Bytes, ttlMs: number | null, options: CallOptions = noOptions): Promise<{ existed: boolean }> {
    return this.#call(operationKinds.expire, key, options, (bytes) =>
      encodeRare({ expire: { key: bytes, ttlMs: ttlMs === null ? 0 : checkedTtl(ttlMs) } }),
    )
  }

  /** Several writes on keys of one shard, atomically; CONDITION_FAILED where a check does not hold. */
  batch(members: readonly BatchMember[], options: CallOptions = noOptions): Promise<Written> {
    try {
      const { keys, message } = this.#checkedBatch(members)
      const [first] = keys
      if (first === undefined) throw invalid('a batch needs at least one member')
      const shard = this.#shardOf(first)
      const payload = encodeRare({ batch: message })
      if (payload.length > limits.batchBytesMax)
        throw invalid(`a batch of ${payload.length} bytes; at most ${limits.batchBytesMax} are allowed`)
      const lanes = new Set(keys.map((key) => key.toString('latin1')))
      return this.#issue(this.#operation(operationKinds.batch, shard, first, payload, options, members.length), [...lanes], options.signal)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** The records of many keys, in their order. Fails as a whole, with the first failure. */
  async getMany(keys: readonly Bytes[], options: ReadOptions = noOptions): Promise<(Found | undefined)[]> {
    const { results, failed } = await issueMany(keys.length, (index) => this.get(keys[index] ?? '', options), true)
    if (failed[0] !== undefined) throw failed[0].error
    return results
  }

  /** Many puts, each by itself. If some fail the others are made all the same, and the error's `failed` lists index and error of each. */
  async putMany(entries: readonly (readonly [Bytes, Bytes])[], options: WriteOptions = noOptions): Promise<Written[]> {
    const put = (index: number) => {
      const [key, value] = entries[index] ?? ['', '']
      return this.put(key, value, options)
    }
    const { results, failed } = await issueMany(entries.length, put, false)
    if (failed.length > 0) throw putManyError(failed, entries.length)
    return results.filter((result) => result !== undefined)
  }

  /**
   * Records in unsigned byte order of their keys, over the whole cluster. Each page is a linearizable read of its shards; a key that is there
   * throughout comes exactly once. `deadlineMs` counts for each page. Arguments are checked when the iteration begins.
   */
  async *scan(options: ScanOptions = noOptions): AsyncGenerator<ScannedRecord, void, undefined> {
    const range = scanRange(boundOf(options.prefix), boundOf(options.start), boundOf(options.end))
    const plan: Omit<ScanPlan, 'start' | 'end'> = {
      limit: checkedLimit(options.limit),
      reverse: options.reverse ?? false,
      consistency: this.#consistencyOf(options),
      maxStalenessMs: this.#stalenessOf(options),
      deadlineMs: options.deadlineMs === undefined ? this.#deadlineMs : checkedDeadline(options.deadlineMs),
      signal: options.signal,
    }
    const isEmptyEnd = options.end !== undefined && options.end.length === 0
    if (range !== undefined && !isEmptyEnd) yield* scanCluster(this.#dispatcher, { ...plan, ...range })
  }

  /** Where a key lives. Reads it, so that the leader named is the one that answered. */
  async explain(key: Bytes, options: CallOptions = noOptions): Promise<Explanation> {
    const bytes = checkedKey(key)
    const { router } = this.#dispatcher
    const shard = this.#shardOf(bytes)
    if (router.groupOf(shard) !== undefined) await this.get(bytes, { ...options, read: 'linearizable' })
    const group = router.config?.groupOf(shard)
    return {
      key: bytes,
      slot: router.slotOf(bytes),
      shard,
      group: group?.name,
      leader: group === undefined ? undefined : router.leaderOf(group.uid),
      configNumber: router.config?.number ?? 0,
    }
  }

  /** Rejects what is pending as indefinite and ends all connections. */
  close(): Promise<void> {
    this.#dispatcher.close()
    this.#watcher.close()
    return Promise.resolve()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** One call on one key. `encode` throws INVALID_ARGUMENT. */
  #call<T>(kind: OperationKind, key: Bytes, options: ReadOptions, encode: (key: Buffer) => Uint8Array, replacement?: Bytes): Promise<T> {
    try {
      const bytes = checkedKey(key)
      const operation = this.#operation(kind, this.#shardOf(bytes), bytes, encode(bytes), options)
      if (replacement !== undefined) operation.replacement = toBuffer(replacement)
      // A key of ASCII text is its own latin1 text.
      const lane = typeof key === 'string' && key.length === bytes.length ? key : bytes.toString('latin1')
      return this.#issue(operation, [lane], options.signal)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  #operation(kind: OperationKind, shard: number, key: Buffer, payload: Uint8Array, options: ReadOptions, members = 1): Operation {
    const nowMs = this.#parts.clock.monotonicMs()
    const deadlineMs = options.deadlineMs === undefined ? this.#deadlineMs : checkedDeadline(options.deadlineMs)
    const operation = new Operation(kind, shard, key, payload, this.#consistencyOf(options), nowMs, nowMs + deadlineMs, members)
    operation.maxStalenessMs = this.#stalenessOf(options)
    return operation
  }

  #consistencyOf(options: ReadOptions): pb.v1.Consistency {
    return options.read === undefined ? this.#read : checkedRead(options.read)
  }

  #stalenessOf(options: ReadOptions): number {
    return options.maxStalenessMs === undefined ? this.#maxStalenessMs : checkedStaleness(options.maxStalenessMs)
  }

  #issue<T>(operation: Operation, lanes: readonly string[], signal: AbortSignal | undefined): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      operation.resolve = resolve
      operation.reject = reject
      this.#dispatcher.issue(operation, lanes, signal)
    })
  }

  #shardOf(key: Uint8Array): number {
    if (this.#dispatcher.router.config !== undefined) return this.#dispatcher.router.shardOf(key)
    if (this.#dispatcher.closed) throw makeError('CANCELLED', 'the client is closed', true)
    throw makeError('UNAVAILABLE', 'no config yet: await ready() first', true)
  }

  #checkedBatch(members: readonly BatchMember[]): { keys: Buffer[]; message: pb.v1.Batch.$Properties } {
    if (members.length > limits.batchOperationsMax) {
      throw invalid(`a batch of ${members.length} members; at most ${limits.batchOperationsMax} are allowed`)
    }
    const keys: Buffer[] = []
    const checks: pb.v1.Check.$Properties[] = []
    const writes: pb.v1.BatchWrite.$Properties[] = []
    for (const member of members) {
      if (member === null || typeof member !== 'object') throw invalid('a member of a batch is one of { check }, { put } and { delete }')
      const key = checkedKey('check' in member ? member.check : 'put' in member ? member.put : member.delete)
      keys.push(key)
      if (this.#shardOf(key) !== this.#shardOf(keys[0] ?? key))
        throw invalid('the keys of a batch must lie in one shard: give them one {tag}')
      if ('check' in member) checks.push({ key, revision: checkedRevision(member.revision) })
      else if ('put' in member) {
        checkValue(member.value)
        writes.push({ put: { key, value: toBuffer(member.value), ttlMs: checkedTtl(member.ttlMs) } })
      } else writes.push({ delete: { key } })
    }
    return { keys, message: { checks, writes } }
  }
}

function encodeNothing(): Uint8Array {
  return noPayload
}

function boundOf(bytes: Bytes | undefined): Uint8Array {
  return bytes === undefined ? noPayload : toBuffer(bytes)
}

function replacementOf(replacement: Replacement): Bytes | undefined {
  return replacement !== null && typeof replacement === 'object' && 'delete' in replacement ? undefined : replacement
}

function expectation(condition: Condition): pb.v1.CompareAndSet.$Properties {
  if (condition !== null && typeof condition === 'object') {
    if ('value' in condition) {
      checkValue(condition.value)
      return { expectValue: toBuffer(condition.value) }
    }
    if ('revision' in condition) return { expectRevision: checkedRevision(condition.revision) }
    if ('absent' in condition && condition.absent) return { expectAbsent: true }
  }
  throw invalid('a condition is one of { value }, { revision } and { absent: true }')
}
