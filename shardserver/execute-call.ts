import { encodeError, OstrakaError } from '../proto/errors.ts'
import { limits } from '../proto/limits.ts'
import { pb } from '../proto/messages.ts'
import type { ProposalOutcome, ReadOutcome as ReadIndexOutcome } from '../raft/state-machine.ts'
import type { GroupResult } from './apply-run.ts'
import type { Expiring } from './deadlines.ts'
import { encodeWrite } from './entry.ts'
import type { HostedGroup, KvNode } from './kv-node.ts'
import type { ReadOutcome } from './reads.ts'
import { deadlinePassed, isWrongGroup, lostOutcome, notHosted, replicaRefusal, shardRefusal } from './refusals.ts'
import { checkDecodedBatch, checkExecuteRequest, invalidArgument, timeoutOf } from './request-checks.ts'
import type { WriteResult } from './session.ts'

const noBatch: pb.v1.WriteBatch.$Properties = { commands: [] }

/**
 * One ExecuteRequest from its arrival to its one reply: checked, its writes proposed as one entry, its reads answered after a read index.
 * Where config and values are at hand this takes no promise. `done` is called exactly once, perhaps within `start`.
 */
export class ExecuteCall implements Expiring {
  readonly deadlineMs: number
  readonly #node: KvNode
  readonly #request: pb.v1.ExecuteRequest.$Properties
  readonly #done: (reply: pb.v1.ExecuteReply.$Properties) => void
  readonly #startedMs: number
  #batch = noBatch
  #writes: WriteResult[] = []
  #writesError: OstrakaError | undefined
  #reads: pb.v1.ReadResult.$Properties[] = []
  #readsError: OstrakaError | undefined
  /** Parts of the request without an answer. */
  #pending = 0
  /** Proposed, and the outcome is not known. */
  #writesPending = false
  #finished = false

  constructor(node: KvNode, request: pb.v1.ExecuteRequest.$Properties, done: (reply: pb.v1.ExecuteReply.$Properties) => void) {
    this.#node = node
    this.#request = request
    this.#done = done
    this.#startedMs = node.clock.monotonicMs()
    this.deadlineMs = this.#startedMs + timeoutOf(request)
  }

  start(): void {
    this.#node.deadlines.add(this)
    const hosted = this.#node.group(this.#request.group ?? '')
    if (hosted !== undefined && this.#node.config !== undefined) this.#run(hosted, this.#node.config.shardCount)
    else this.#fetchConfig()
  }

  expire(): void {
    if (this.#writesPending || !this.#hasWrites) {
      this.#finishWith(deadlinePassed(this.#writesPending))
      return
    }
    this.#readsError = deadlinePassed(false)
    this.#finishParts()
  }

  /** A node that is behind learns more before it refuses. */
  #fetchConfig(): void {
    const number = this.#request.configNumber ?? 0
    if (!Number.isSafeInteger(number)) {
      this.#finishWith(invalidArgument('config_number is out of range'))
      return
    }
    this.#node.fetchConfig(number, this.deadlineMs - this.#startedMs).then(
      (config) => {
        if (this.#finished) return
        const hosted = this.#node.group(this.#request.group ?? '')
        if (hosted === undefined) this.#finishWith(notHosted(this.#request.group ?? '', config))
        else this.#run(hosted, config.shardCount)
      },
      (error: unknown) => this.#finishWith(asRefusal(error)),
    )
  }

  #run(hosted: HostedGroup, shardCount: number): void {
    const wrong = checkExecuteRequest(this.#request, shardCount) ?? this.#checkWrites(shardCount)
    if (wrong !== undefined) {
      this.#finishWith(invalidArgument(wrong))
      return
    }
    const writes = this.#request.writes
    const reads = this.#request.reads ?? []
    this.#pending = 1
    if (writes && writes.length > 0) this.#propose(hosted, writes)
    if (reads.length > 0) this.#read(hosted, reads)
    this.#partDone()
  }

  #checkWrites(shardCount: number): string | undefined {
    const bytes = this.#request.writes
    if (!bytes || bytes.length === 0) return undefined
    try {
      this.#batch = pb.v1.WriteBatch.decode(bytes)
    } catch {
      return 'writes is no encoded WriteBatch'
    }
    const ageMs = (this.#batch.ageMs ?? 0) + this.#node.clock.monotonicMs() - this.#startedMs
    if (ageMs > limits.writeAgeMsMax) return `the oldest write was issued more than ${limits.writeAgeMsMax} ms ago`
    return checkDecodedBatch(this.#batch, shardCount)
  }

  #propose(hosted: HostedGroup, writes: Uint8Array): void {
    this.#pending++
    this.#writesPending = true
    hosted.replica.propose(encodeWrite(this.#node.timeOf(hosted), writes), (outcome) => {
      this.#writesPending = false
      if (!this.#finished) this.#written(outcome)
      this.#partDone()
    })
  }

  #written(outcome: ProposalOutcome<GroupResult>): void {
    if (outcome.kind === 'lost') this.#writesError = lostOutcome()
    else if (outcome.kind === 'refused') this.#writesError = this.#refusalOf(outcome)
    else if (outcome.result.kind === 'written') this.#writes = outcome.result.results.map((result, i) => this.#withConfig(result, i))
    else this.#writesError = invalidArgument('writes is no encoded WriteBatch')
  }

  #withConfig(result: WriteResult, i: number): WriteResult {
    if (!isWrongGroup(result.error)) return result
    return { error: encodeError(this.#shardRefusal(this.#batch.commands?.[i]?.shard ?? 0)) }
  }

  #shardRefusal(shard: number, state?: Parameters<typeof shardRefusal>[2]): OstrakaError {
    const config = this.#node.isBehind(this.#request.configNumber ?? 0) ? undefined : this.#node.config
    return shardRefusal(this.#request.group ?? '', shard, state, config)
  }

  #refusalOf(outcome: { reason: 'not-leader' | 'overloaded' | 'stopped'; leader: number }): OstrakaError {
    return replicaRefusal(outcome.reason, this.#node.nodeOf(this.#request.group ?? '', outcome.leader))
  }

  #read(hosted: HostedGroup, reads: readonly pb.v1.Read.$Properties[]): void {
    this.#reads = reads.map(() => ({}))
    let linearizable = 0
    for (let i = 0; i < reads.length; i++) {
      if (reads[i]?.consistency === pb.v1.Consistency.STALE) this.#readOne(hosted, i, 0)
      else linearizable++
    }
    if (linearizable === 0) return
    this.#pending++
    hosted.replica.readIndex((outcome) => {
      if (!this.#finished) this.#readLinearizable(hosted, reads, outcome)
      this.#partDone()
    })
  }

  /** In the turn in which the read index was confirmed. */
  #readLinearizable(hosted: HostedGroup, reads: readonly pb.v1.Read.$Properties[], outcome: ReadIndexOutcome): void {
    if (outcome.kind === 'refused') {
      this.#readsError = this.#refusalOf(outcome)
      return
    }
    const timeMs = this.#node.timeOf(hosted)
    for (let i = 0; i < reads.length; i++) if (reads[i]?.consistency !== pb.v1.Consistency.STALE) this.#readOne(hosted, i, timeMs)
  }

  /** `leaderTimeMs` 0: by the shard's time alone. A read that fails (damage, a store that closes) fails the request's reads, never its caller. */
  #readOne(hosted: HostedGroup, i: number, leaderTimeMs: number): void {
    const read = this.#request.reads?.[i]
    try {
      const found = hosted.stateMachine.read(read?.shard ?? 0, read?.key ?? new Uint8Array(0), leaderTimeMs)
      if (found instanceof Promise) this.#awaitRead(hosted, i, leaderTimeMs, found)
      else this.#readDone(hosted, i, leaderTimeMs, found)
    } catch (error) {
      this.#readsError = readFailed(error)
    }
  }

  #awaitRead(hosted: HostedGroup, i: number, leaderTimeMs: number, found: Promise<ReadOutcome>): void {
    this.#pending++
    found
      .then((outcome) => this.#readDone(hosted, i, leaderTimeMs, outcome))
      .catch((error: unknown) => {
        this.#readsError = readFailed(error)
      })
      .finally(() => this.#partDone())
  }

  #readDone(hosted: HostedGroup, i: number, leaderTimeMs: number, outcome: ReadOutcome): void {
    switch (outcome.kind) {
      case 'found':
        this.#reads[i] = { found: true, value: outcome.value, revision: outcome.revision, expiresInMs: outcome.expiresInMs }
        return
      case 'absent':
        this.#reads[i] = { found: false }
        return
      case 'refused':
        this.#reads[i] = { error: encodeError(this.#shardRefusal(outcome.shard, outcome.state)) }
        return
      case 'needs-time-mark':
        this.#readAfterMark(hosted, i, leaderTimeMs)
    }
  }

  #readAfterMark(hosted: HostedGroup, i: number, leaderTimeMs: number): void {
    this.#pending++
    this.#node.timeMarks.mark(hosted.replica, leaderTimeMs, (outcome) => {
      if (outcome.kind === 'applied') this.#readOne(hosted, i, leaderTimeMs)
      else if (outcome.kind === 'refused') this.#readsError = this.#refusalOf(outcome)
      else this.#readsError = replicaRefusal('not-leader', '')
      this.#partDone()
    })
  }

  #partDone(): void {
    if (--this.#pending === 0 && !this.#finished) this.#finishParts()
  }

  get #hasWrites(): boolean {
    return (this.#batch.commands?.length ?? 0) > 0
  }

  #finishParts(): void {
    const hasReads = this.#reads.length > 0
    const whole = hasReads ? (this.#hasWrites ? undefined : this.#readsError) : this.#writesError
    if (whole !== undefined) {
      this.#finishWith(whole)
      return
    }
    this.#finish({
      writes: this.#writesError === undefined ? this.#writes : errors(this.#batch.commands?.length ?? 0, this.#writesError),
      reads: this.#readsError === undefined ? this.#reads : errors(this.#reads.length, this.#readsError),
    })
  }

  #finishWith(error: OstrakaError): void {
    this.#finish({ error: encodeError(error) })
  }

  #finish(reply: pb.v1.ExecuteReply.$Properties): void {
    if (this.#finished) return
    this.#finished = true
    this.#node.deadlines.remove(this)
    reply.id = this.#request.id ?? 0
    reply.configNumber = this.#node.configNumber
    this.#done(reply)
  }
}

function errors(count: number, error: OstrakaError): { error: pb.v1.Error }[] {
  return Array.from({ length: count }, () => ({ error: encodeError(error) }))
}

function readFailed(error: unknown): OstrakaError {
  return new OstrakaError('UNAVAILABLE', `the read failed on this node: ${error instanceof Error ? error.message : error}`, true)
}

export function asRefusal(error: unknown): OstrakaError {
  if (error instanceof OstrakaError) return error
  return new OstrakaError('UNAVAILABLE', error instanceof Error ? error.message : String(error), true)
}
