/**
 * What becomes of calls: each reply, refusal or silence either settles a call or sends it on its way again. A call fails as definite only
 * if no attempt of it can have taken effect; an answer under its own number is the one outcome of all its attempts.
 */
import type { Clock } from '../base/clock.ts'
import type { Random } from '../base/random.ts'
import type { pb } from '../proto/messages.ts'
import type { Batcher } from './batcher.ts'
import type { GroupQueue } from './group-queue.ts'
import { atHead } from './lanes.ts'
import { makeError } from './make-error.ts'
import {
  compareAndSetResult,
  foundResult,
  isForAnyReplica,
  notApplied,
  type Operation,
  operationKinds,
  operationStates,
  writtenResult,
} from './operation.ts'
import type { Request } from './request.ts'
import { leaderBackoffMs, loadBackoffMs, unanswered, type Verdict, verdictOf } from './retry.ts'
import type { Router } from './router.ts'
import type { Sessions, ShardSession } from './session.ts'

/** Hints followed at once before a group that sends us in circles is given time. */
const HOPS_MAX = 3

/** Who moves the calls. */
export interface CallDriver {
  readonly router: Router
  readonly clock: Clock
  readonly random: Random
  /** Puts a call into the queue of the group that owns its shard now. */
  route(operation: Operation): void
  /** Routes calls again after `delayMs`. */
  routeLater(operations: readonly Operation[], delayMs: number): void
  /** Routes calls again once a config with at least this number is here. */
  routeWithConfig(operations: readonly Operation[], number: number): void
  /** Which group is to be asked for some shards has changed: routes again what is queued. */
  routeAnew(): void
  /** Routes the oldest `count` of the calls that wait for room in a session. */
  routeHeld(session: ShardSession, count: number): void
  /** Looks at a queue at the end of this turn. */
  schedule(queue: GroupQueue): void
  /** Asks a group nothing for `delayMs`. */
  block(queue: GroupQueue, delayMs: number): void
  /** A call is done: nothing of it is kept, and what waited behind it goes on. `abandoned`: its outcome is open. */
  forget(operation: Operation, abandoned: boolean): void
  /** The call no longer waits for the answer to its number. */
  releaseNumber(operation: Operation, abandoned: boolean): void
}

/** What one reply leaves to be done. */
interface Rest {
  /** Uid of the group that was asked. */
  readonly uid: string
  /** Calls to be routed again at once. */
  readonly again: Operation[]
  /** Why the node cannot serve, if some member was refused for that. */
  elsewhere: Verdict | undefined
}

export class Outcomes {
  readonly #driver: CallDriver
  readonly #sessions: Sessions
  readonly #batcher: Batcher

  constructor(driver: CallDriver, sessions: Sessions, batcher: Batcher) {
    this.#driver = driver
    this.#sessions = sessions
    this.#batcher = batcher
  }

  handleReply(request: Request, reply: pb.v1.ExecuteReply): void {
    if (reply.error) {
      this.handleFailure(request, verdictOf(reply.error, true), 0)
      return
    }
    if (reply.writes.length !== request.writes.length || reply.reads.length !== request.reads.length) {
      this.handleFailure(request, unanswered('UNKNOWN', `${request.node}: a reply that does not fit its request`), 0)
      return
    }
    const rest: Rest = { uid: request.group.uid, again: [], elsewhere: undefined }
    request.writes.forEach((operation, i) => {
      if (isLive(operation, request)) this.#handleWritten(operation, reply.writes[i] ?? {}, rest)
    })
    let valueBytes = 0
    request.reads.forEach((operation, i) => {
      const result = reply.reads[i] ?? {}
      if (result.value) valueBytes = Math.max(valueBytes, result.value.length)
      if (isLive(operation, request)) this.#handleRead(operation, result, rest)
    })
    if (valueBytes > 0) this.#batcher.sawValue(valueBytes)
    const queue = request.group
    if (rest.elsewhere !== undefined) this.#askElsewhere(request, rest.elsewhere, this.#driver.clock.monotonicMs(), 0)
    else {
      queue.failures = 0
      queue.settled = true
      if (!queue.isSpread) this.#driver.router.answered(queue.uid, request.node)
    }
    for (const operation of rest.again) this.#driver.route(operation)
  }

  /** An answer to an attempt that was given up: still the outcome, if it is one. */
  handleLate(request: Request, reply: pb.v1.ExecuteReply): void {
    if (reply.error || reply.writes.length !== request.writes.length || reply.reads.length !== request.reads.length) return
    request.writes.forEach((operation, i) => {
      const result = reply.writes[i] ?? {}
      if (operation.state === operationStates.done || operation.changed || result.error || !atHead(operation)) return
      if (!result.current?.valueOmitted) this.#settleWrite(operation, result)
    })
    request.reads.forEach((operation, i) => {
      const result = reply.reads[i] ?? {}
      if (operation.state === operationStates.done || operation.changed || result.error || !atHead(operation)) return
      this.#settleRead(operation, result)
    })
  }

  /** A whole request was refused or got no answer. For `avoidMs` its node is not asked where there is another. */
  handleFailure(request: Request, verdict: Verdict, avoidMs: number): void {
    const live: Operation[] = []
    for (const operation of request.writes) if (isLive(operation, request)) live.push(operation)
    for (const operation of request.reads) if (isLive(operation, request)) live.push(operation)
    for (const operation of live) note(operation, verdict)
    const queue = request.group
    const { random, clock } = this.#driver
    switch (verdict.action) {
      case 'finish':
        for (const operation of live) this.#fail(operation, verdict, !operation.indefinite)
        return
      case 'config':
        this.#endDetours(live, queue.uid)
        this.#awaitConfig(live, verdict.configNumber)
        return
      case 'shard':
        this.#askAgain(live, queue.uid, verdict)
        return
      case 'session':
        for (const operation of live) this.#renewSession(operation)
        return
      case 'load':
        queue.unshift(live)
        this.#driver.block(queue, loadBackoffMs(verdict.waitMs, queue.failures++, random))
        return
      case 'leader':
        if (queue.isSpread) {
          this.#askLeader(request, live, avoidMs)
          return
        }
        this.#askElsewhere(request, verdict, clock.monotonicMs(), avoidMs)
        // A config that came meanwhile may have given the shards to another group.
        for (const operation of live) if (this.#driver.router.groupOf(operation.shard)?.uid !== queue.uid) this.#driver.route(operation)
        queue.unshift(live.filter((operation) => operation.state === operationStates.sent))
        this.#driver.schedule(queue)
        return
    }
  }

  /** A call ends by its deadline or by its caller. */
  giveUp(operation: Operation, code: 'DEADLINE' | 'CANCELLED', message: string): void {
    if (operation.state === operationStates.done) return
    const open = isOpen(operation)
    const last = operation.lastFailure === '' ? '' : `; last: ${operation.lastFailure}`
    this.#driver.forget(operation, open)
    operation.reject(makeError(code, message + last, !open))
  }

  #handleWritten(operation: Operation, result: pb.v1.WriteResult.$Properties, rest: Rest): void {
    if (!atHead(operation)) {
      // An earlier call on its key was refused: it goes again behind that one, to get the answer that is kept under its number.
      if (!result.error?.definite) operation.indefinite = true
      rest.again.push(operation)
    } else if (result.error) this.#handleRefusal(operation, verdictOf(result.error, false), rest)
    else if (operation.kind === operationKinds.compareAndSet && !result.applied && result.current?.valueOmitted) {
      this.#readCurrent(operation, result.current.revision ?? 0, rest)
    } else this.#settleWrite(operation, result)
  }

  #handleRead(operation: Operation, result: pb.v1.ReadResult.$Properties, rest: Rest): void {
    if (!atHead(operation)) rest.again.push(operation)
    else if (result.error) this.#handleRefusal(operation, verdictOf(result.error, false), rest)
    else if (operation.kind === operationKinds.compareAndSet && (!result.found || result.revision !== operation.metRevision)) {
      // The key has changed since the comparison failed: compare anew, under a new number.
      operation.reading = false
      rest.again.push(operation)
    } else this.#settleRead(operation, result)
  }

  #settleWrite(operation: Operation, result: pb.v1.WriteResult.$Properties): void {
    if (operation.session !== undefined) operation.session.first = false
    const value =
      operation.kind === operationKinds.compareAndSet ? compareAndSetResult(operation, result) : writtenResult(operation.kind, result)
    this.#driver.forget(operation, false)
    operation.resolve(value as never)
  }

  #settleRead(operation: Operation, result: pb.v1.ReadResult.$Properties): void {
    this.#driver.forget(operation, false)
    operation.resolve((operation.kind === operationKinds.get ? foundResult(result) : notApplied(result)) as never)
  }

  /** A failed comparison with a value too long to be kept with the answer: the key is read, while later calls on it wait. */
  #readCurrent(operation: Operation, revision: number, rest: Rest): void {
    if (operation.session !== undefined) operation.session.first = false
    this.#driver.releaseNumber(operation, false)
    operation.changed = true
    operation.indefinite = false
    operation.reading = true
    operation.metRevision = revision
    rest.again.push(operation)
  }

  /** One member of a request was refused. */
  #handleRefusal(operation: Operation, verdict: Verdict, rest: Rest): void {
    note(operation, verdict)
    switch (verdict.action) {
      case 'finish':
        if (verdict.code === 'CONDITION_FAILED' && operation.session !== undefined) operation.session.first = false
        this.#fail(operation, verdict, verdict.definite)
        return
      case 'config':
        this.#endDetours([operation], rest.uid)
        this.#awaitConfig([operation], verdict.configNumber)
        return
      case 'session':
        this.#renewSession(operation)
        return
      case 'shard':
        this.#askAgain([operation], rest.uid, verdict)
        return
      default:
        if (isForAnyReplica(operation.consistency) && !operation.viaLeader) operation.viaLeader = true
        else rest.elsewhere ??= verdict
        rest.again.push(operation)
    }
  }

  #fail(operation: Operation, verdict: Verdict, definite: boolean): void {
    const known = (definite && verdict.definite) || operation.kind === operationKinds.get
    this.#driver.forget(operation, !known)
    operation.reject(makeError(verdict.code, verdict.message, known))
  }

  #awaitConfig(operations: readonly Operation[], number: number): void {
    if (operations.length === 0) return
    const known = this.#driver.router.config?.number ?? 0
    if (number > known) {
      this.#driver.routeWithConfig(operations, number)
      return
    }
    // We have that config: either it came meanwhile, and the first retry goes right, or the node is the one that is behind.
    const attempts = mostAttempts(operations)
    this.#later(operations, attempts <= 1 ? 0 : leaderBackoffMs(attempts, this.#driver.random))
  }

  /** Their shards are not served where they belong, at group `uid`: yet, or as some other group still has them. */
  #askAgain(operations: readonly Operation[], uid: string, { groupHint, waitMs }: Verdict): void {
    const { router, random } = this.#driver
    this.#endDetours(operations, uid)
    const detoured = operations.filter(({ shard }) => groupHint !== '' && router.detour(shard, groupHint))
    // What is queued for those shards goes with them.
    if (detoured.length > 0) this.#driver.routeAnew()
    this.#later(detoured, 0)
    const rest = operations.filter((operation) => !detoured.includes(operation))
    this.#later(rest, loadBackoffMs(waitMs, mostAttempts(rest) - 1, random))
  }

  /** Group `uid` does not serve their shards: if it was asked instead of their owner, that is over. */
  #endDetours(operations: readonly Operation[], uid: string): void {
    const { router } = this.#driver
    if (operations.filter(({ shard }) => router.endDetour(shard, uid)).length > 0) this.#driver.routeAnew()
  }

  #later(operations: readonly Operation[], delayMs: number): void {
    if (operations.length > 0) this.#driver.routeLater(operations, delayMs)
  }

  #renewSession(operation: Operation): void {
    const session = operation.session
    if (session !== undefined) {
      this.#sessions.expire(session)
      this.#driver.routeHeld(session, Number.POSITIVE_INFINITY)
    }
    if (operation.indefinite) {
      this.#driver.forget(operation, true)
      operation.reject(makeError('UNKNOWN', 'the session ended before the outcome of the call was known', false))
      return
    }
    this.#driver.releaseNumber(operation, false)
    operation.changed = true
    this.#later([operation], operation.attempts <= 2 ? 0 : leaderBackoffMs(operation.attempts, this.#driver.random))
  }

  /** Some replica could not answer what any of them may. */
  #askLeader(request: Request, live: readonly Operation[], avoidMs: number): void {
    const { router, clock } = this.#driver
    if (avoidMs > 0) router.failed(request.group.uid, request.node, clock.monotonicMs(), avoidMs)
    for (const operation of live) {
      operation.viaLeader = true
      this.#driver.route(operation)
    }
  }

  #askElsewhere(request: Request, verdict: Verdict, nowMs: number, avoidMs: number): void {
    const { router, random } = this.#driver
    const queue = request.group
    queue.settled = false
    // Another failure has already moved on.
    if (router.target(queue.uid) !== request.node) return
    queue.failures++
    if (verdict.hint !== '') {
      if (router.redirected(queue.uid, request.node, verdict.hint, nowMs) && queue.failures <= HOPS_MAX) return
    } else router.failed(queue.uid, request.node, nowMs, avoidMs)
    const members = router.config?.groupByUid(queue.uid)?.members.length ?? 1
    // All members are asked at once, one after the other; then there is a pause.
    if (queue.failures % members === 0)
      this.#driver.block(queue, Math.max(verdict.waitMs, leaderBackoffMs(queue.failures / members, random)))
  }
}

/** Whether this request is the newest that carries the call, which is still under way. */
function isLive(operation: Operation, request: Request): boolean {
  return operation.state === operationStates.sent && operation.carrier === request.number
}

/** Whether the call may have taken effect or may still do so. */
function isOpen(operation: Operation): boolean {
  if (operation.kind === operationKinds.get) return false
  return operation.indefinite || (operation.state === operationStates.sent && !operation.reading)
}

function note(operation: Operation, verdict: Verdict): void {
  operation.lastFailure = `${verdict.code}${verdict.message === '' ? '' : `, ${verdict.message}`}`
  if (!verdict.definite && !operation.reading) operation.indefinite = true
}

function mostAttempts(operations: readonly Operation[]): number {
  let attempts = 0
  for (const operation of operations) attempts = Math.max(attempts, operation.attempts)
  return attempts
}
