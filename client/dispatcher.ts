/**
 * The driver of all calls: puts them in the order of their keys, routes them to their group's queue, sends what a turn has brought as
 * batches, and hands what comes back to `Outcomes`. Nothing here waits; everything is moved by a message, a timer or a config.
 */
import type { Clock, Timer } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'
import type { Random } from '../base/random.ts'
import type { Transport } from '../base/transport.ts'
import type { Config } from '../proto/config.ts'
import type { Directory } from '../proto/directory.ts'
import type { pb } from '../proto/messages.ts'
import { Batcher, encodeWrites, patienceMs } from './batcher.ts'
import { Cancellation } from './cancellation.ts'
import { DeadlineWheel } from './deadline-wheel.ts'
import { GroupQueue } from './group-queue.ts'
import { Lanes, mayQueue } from './lanes.ts'
import { Links } from './links.ts'
import { makeError } from './make-error.ts'
import type { NodeLink } from './node-link.ts'
import { isForAnyReplica, type Operation, operationStates } from './operation.ts'
import { type CallDriver, Outcomes } from './outcomes.ts'
import type { Request } from './request.ts'
import { attemptTimeoutMs, leaderBackoffMs, unanswered } from './retry.ts'
import { Router } from './router.ts'
import { Sessions, type ShardSession } from './session.ts'
import { Timers } from './timers.ts'

/** Where configs come from; `proto/config-watcher.ts` in production. */
export interface ConfigSource {
  readonly config: Config | undefined
  readonly directory: Directory
  onChange(listener: () => void): () => void
  atLeast(number: number, timeoutMs: number): Promise<Config>
}

export interface DispatcherParts {
  readonly transport: Transport
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly configs: ConfigSource
}

const TICK_MS = 10
/** Calls and bytes under way in one client; what is beyond is refused at once. */
const OPERATIONS_MAX = 1_000_000
const BYTES_MAX = 512 * 1024 * 1024
/** For so long a node is not asked where there is another: after its stream broke, and after it said nothing at all. */
const BROKEN_AVOID_MS = 500
const SILENT_AVOID_MS = 1000
/** While a group is in use, its nodes without a stream are dialled so often: one that was down may be back. */
const WARM_EVERY_MS = 500

export class Dispatcher implements CallDriver {
  readonly router: Router
  readonly clock: Clock
  readonly random: Random
  readonly #parts: DispatcherParts
  readonly #sessions: Sessions
  readonly #batcher: Batcher
  readonly #outcomes: Outcomes
  readonly #lanes = new Lanes()
  readonly #wheel: DeadlineWheel
  readonly #cancellation: Cancellation
  /** By group. */
  readonly #queues = new Map<string, GroupQueue>()
  readonly #spreadQueues = new Map<string, GroupQueue>()
  readonly #links: Links
  readonly #timers: Timers
  /** Queues with something to do, looked at once per turn. */
  #due: GroupQueue[] = []
  /** Calls whose shard has no group yet, or that wait for a newer config. */
  #awaitingConfig: Operation[] = []
  #bytes = 0
  #ticking: Timer | undefined
  #closed = false
  readonly #stopWatching: () => void
  readonly #flush = () => this.#pumpDue()
  readonly #onTick = () => this.#tick()

  constructor(parts: DispatcherParts) {
    this.#parts = parts
    this.clock = parts.clock
    this.random = parts.random
    this.router = new Router(parts.random.below(2 ** 16))
    this.#sessions = new Sessions(parts.random)
    this.#batcher = new Batcher(this.#sessions)
    this.#outcomes = new Outcomes(this, this.#sessions, this.#batcher)
    this.#wheel = new DeadlineWheel(parts.clock.monotonicMs(), TICK_MS)
    this.#cancellation = new Cancellation((operation) => this.#outcomes.giveUp(operation, 'CANCELLED', 'the caller gave up'))
    this.#timers = new Timers(parts.clock)
    this.#links = new Links(parts.transport, (node) => parts.configs.directory.addressOf(node), {
      onReply: (request, reply, link) => this.#handleReply(request, reply, link),
      onBroken: (requests, why, link) => this.#handleBroken(requests, why, link),
      onWritable: () => this.#scheduleAll(),
    })
    this.#stopWatching = parts.configs.onChange(() => this.#handleConfig())
    if (parts.configs.config !== undefined) this.router.update(parts.configs.config)
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Calls under way. */
  get pending(): number {
    return this.#wheel.size
  }

  /** Takes a call whose promise is made. `keys` are its keys as latin1 text: their order is that of the calls. */
  issue(operation: Operation, keys: readonly string[], signal: AbortSignal | undefined): void {
    if (this.#closed) {
      operation.reject(makeError('CANCELLED', 'the client is closed', true))
      return
    }
    if (signal?.aborted) {
      operation.reject(makeError('CANCELLED', 'the caller gave up', true))
      return
    }
    if (this.#wheel.size >= OPERATIONS_MAX || this.#bytes + operation.bytes > BYTES_MAX) {
      operation.reject(makeError('OVERLOADED', `${this.#wheel.size} calls of ${this.#bytes} bytes are under way in this client`, true))
      return
    }
    this.#bytes += operation.bytes
    if (signal !== undefined) this.#cancellation.watch(operation, signal)
    this.#wheel.add(operation)
    this.#ticking ??= this.clock.setTimer(TICK_MS, this.#onTick)
    for (const key of keys) this.#lanes.add(operation, key)
    if (mayQueue(operation)) this.route(operation)
    else operation.state = operationStates.parked
  }

  /** Puts a call into the queue of the group that owns its shard now. */
  route(operation: Operation): void {
    const group = this.router.groupOf(operation.shard)
    if (group === undefined || group.members.length === 0) {
      operation.state = operationStates.delayed
      this.#awaitingConfig.push(operation)
      return
    }
    const queue = this.#queueOf(group.uid, !operation.viaLeader && isForAnyReplica(operation.consistency))
    queue.push(operation)
    this.schedule(queue)
  }

  /** Routes calls again after `delayMs`. */
  routeLater(operations: readonly Operation[], delayMs: number): void {
    for (const operation of operations) operation.state = operationStates.delayed
    this.#timers.after(delayMs, () => this.#routeDelayed(operations))
  }

  /** Routes calls again once a config with at least this number is here. */
  routeWithConfig(operations: readonly Operation[], number: number): void {
    for (const operation of operations) operation.state = operationStates.delayed
    this.#awaitingConfig.push(...operations)
    const leftMs = Math.max(...operations.map((operation) => operation.deadlineMs)) - this.clock.monotonicMs()
    this.#parts.configs.atLeast(number, Math.max(leftMs, 1)).then(
      () => this.#routeDelayed(operations),
      () =>
        this.routeLater(
          operations.filter((operation) => operation.state === operationStates.delayed),
          50,
        ),
    )
  }

  /** Looks at a queue at the end of this turn. */
  schedule(queue: GroupQueue): void {
    if (queue.scheduled || this.#closed) return
    queue.scheduled = true
    this.#due.push(queue)
    if (this.#due.length === 1) this.clock.soon(this.#flush)
  }

  /** Asks a group nothing for `delayMs`. */
  block(queue: GroupQueue, delayMs: number): void {
    if (delayMs <= 0) {
      this.schedule(queue)
      return
    }
    if (queue.blocked) return
    queue.blocked = true
    this.#timers.after(delayMs, () => {
      queue.blocked = false
      this.schedule(queue)
    })
  }

  /** A call is done: nothing of it is kept, and what waited behind it goes on. `abandoned`: its outcome is open. */
  forget(operation: Operation, abandoned: boolean): void {
    operation.state = operationStates.done
    this.#bytes -= operation.bytes
    this.#wheel.remove(operation)
    this.#cancellation.unwatch(operation)
    this.releaseNumber(operation, abandoned)
    operation.payload = noBytes
    const released: Operation[] = []
    this.#lanes.remove(operation, released)
    for (const next of released) this.route(next)
  }

  /** The call no longer waits for the answer to its number. */
  releaseNumber(operation: Operation, abandoned: boolean): void {
    const session = operation.session
    if (session === undefined) return
    const moved = session.settle(operation.sequence, abandoned)
    operation.session = undefined
    operation.sequence = 0
    if (moved) this.routeHeld(session, Math.max(session.room, 1))
  }

  routeAnew(): void {
    for (const queues of [this.#queues, this.#spreadQueues]) {
      for (const [uid, queue] of queues) {
        const operations = queue.takeAll()
        for (const operation of operations) if (operation.state === operationStates.queued) this.route(operation)
        const isGone = this.router.config?.groupByUid(uid) === undefined
        if (isGone && queue.size === 0 && queue.requests === 0) queues.delete(uid)
      }
    }
  }

  routeHeld(session: ShardSession, count: number): void {
    for (const operation of this.#batcher.takeHeld(session, count)) this.route(operation)
  }

  /** The connection to a node at its present address; undefined: its address is not known. */
  linkTo(node: string): NodeLink | undefined {
    return this.#closed ? undefined : this.#links.to(node)
  }

  /** A config with at least this number; rejects with UNAVAILABLE. */
  atLeast(number: number, timeoutMs: number): Promise<Config> {
    return this.#parts.configs.atLeast(number, timeoutMs)
  }

  /** Everything under way ends as CANCELLED and indefinite. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#stopWatching()
    this.#ticking?.cancel()
    for (const operation of this.#wheel.all()) {
      if (operation.state === operationStates.done) continue
      operation.state = operationStates.done
      this.#cancellation.unwatch(operation)
      operation.reject(makeError('CANCELLED', 'the client was closed', false))
    }
    this.#timers.close()
    this.#links.close()
    this.#queues.clear()
    this.#spreadQueues.clear()
    this.#due = []
  }

  #routeDelayed(operations: readonly Operation[]): void {
    if (this.#closed) return
    for (const operation of operations) if (operation.state === operationStates.delayed) this.route(operation)
  }

  #queueOf(uid: string, isSpread: boolean): GroupQueue {
    const queues = isSpread ? this.#spreadQueues : this.#queues
    let queue = queues.get(uid)
    if (queue === undefined) {
      queue = new GroupQueue(uid, isSpread)
      queues.set(uid, queue)
    }
    return queue
  }

  #pumpDue(): void {
    const due = this.#due
    this.#due = []
    for (const queue of due) {
      queue.scheduled = false
      this.#pump(queue)
    }
  }

  #pump(queue: GroupQueue): void {
    while (queue.size > 0 && queue.mayAsk && !this.#closed) {
      const node = queue.isSpread ? this.router.reader(queue.uid, this.clock.monotonicMs()) : this.router.target(queue.uid)
      if (node === undefined) {
        this.#routeDelayed(markDelayed(queue.takeAll()))
        return
      }
      const link = this.linkTo(node)
      if (link === undefined) {
        this.#skipMember(queue, node)
        return
      }
      if (!link.writable) return
      const request = this.#batcher.fill(queue)
      if (request !== undefined) this.#send(request, link)
    }
  }

  #skipMember(queue: GroupQueue, node: string): void {
    this.router.failed(queue.uid, node, this.clock.monotonicMs(), BROKEN_AVOID_MS)
    this.block(queue, leaderBackoffMs(++queue.failures, this.random))
  }

  #send(request: Request, link: NodeLink): void {
    const nowMs = this.clock.monotonicMs()
    const message: pb.v1.ExecuteRequest.$Properties = {
      group: request.group.uid,
      configNumber: this.router.config?.number ?? 0,
      writes: encodeWrites(request, nowMs),
      reads: request.reads.map(readOf),
      timeoutMs: patienceMs(request, nowMs),
    }
    request.timeoutMs = attemptTimeoutMs(request.silences, this.router.isSuspect(link.node))
    request.group.requests++
    request.group.bytes += request.bytes
    link.send(request, message, nowMs)
  }

  #handleReply(request: Request, reply: pb.v1.ExecuteReply, link: NodeLink): void {
    link.lastHeardMs = this.clock.monotonicMs()
    this.router.heard(link.node)
    if (request.closed) {
      this.#outcomes.handleLate(request, reply)
      return
    }
    this.#closeRequest(request)
    this.#outcomes.handleReply(request, reply)
    if (link.lastHeardMs >= request.group.warmAfterMs) this.#warm(request.group, link.lastHeardMs)
  }

  /** Streams to all members of a group that is in use are open: whoever leads it next is not dialled only then. */
  #warm(queue: GroupQueue, nowMs: number): void {
    queue.warmAfterMs = nowMs + WARM_EVERY_MS
    for (const { node } of this.router.config?.groupByUid(queue.uid)?.members ?? []) this.linkTo(node)?.warm()
  }

  #handleBroken(requests: readonly Request[], why: string, link: NodeLink): void {
    // The oldest goes back last, to the very front.
    for (const request of [...requests].reverse()) {
      if (request.closed) continue
      this.#closeRequest(request)
      this.#outcomes.handleFailure(request, unanswered('UNAVAILABLE', `${link.node} (${link.address}): ${why}`), BROKEN_AVOID_MS)
    }
    this.#scheduleAll()
  }

  #closeRequest(request: Request): void {
    request.closed = true
    request.group.requests--
    request.group.bytes -= request.bytes
    this.schedule(request.group)
  }

  #handleConfig(): void {
    const { config } = this.#parts.configs
    this.#links.dropMoved()
    if (config !== undefined && this.router.update(config)) this.routeAnew()
    const awaiting = this.#awaitingConfig
    this.#awaitingConfig = []
    this.#routeDelayed(awaiting)
  }

  #scheduleAll(): void {
    for (const queues of [this.#queues, this.#spreadQueues]) {
      for (const queue of queues.values()) if (queue.size > 0) this.schedule(queue)
    }
  }

  #tick(): void {
    const nowMs = this.clock.monotonicMs()
    const late = this.#wheel.due(nowMs)
    for (const operation of late) {
      this.#outcomes.giveUp(operation, 'DEADLINE', `no outcome within ${Math.round(operation.deadlineMs - operation.issuedMs)} ms`)
    }
    if (late.length > 0) this.#awaitingConfig = this.#awaitingConfig.filter((operation) => operation.state === operationStates.delayed)
    for (const link of this.#links.all()) this.#giveUpSilent(link, nowMs)
    this.#ticking = this.#wheel.size > 0 ? this.clock.setTimer(TICK_MS, this.#onTick) : undefined
  }

  /** Attempts without an answer are made again elsewhere, under the same numbers. */
  #giveUpSilent(link: NodeLink, nowMs: number): void {
    let silent = false
    for (const request of link.pendingCount === 0 ? [] : [...link.pending].reverse()) {
      if (request.closed || nowMs - request.sentMs < request.timeoutMs) continue
      const dead = link.lastHeardMs < request.sentMs
      silent ||= dead
      this.#closeRequest(request)
      for (const operation of request.writes) operation.silences++
      for (const operation of request.reads) operation.silences++
      const what = `${link.node} (${link.address}): no answer within ${request.timeoutMs} ms`
      this.#outcomes.handleFailure(request, unanswered('UNAVAILABLE', what), dead ? SILENT_AVOID_MS : 0)
    }
    // What waited for that connection takes the next one.
    if (this.#links.settle(link, silent, nowMs)) this.#scheduleAll()
  }
}

const noBytes = new Uint8Array(0)

function readOf({ shard, key, consistency, maxStalenessMs }: Operation): pb.v1.Read.$Properties {
  return { shard, key, consistency, maxStalenessMs }
}

function markDelayed(operations: Operation[]): Operation[] {
  for (const operation of operations) if (operation.state === operationStates.queued) operation.state = operationStates.delayed
  return operations
}
