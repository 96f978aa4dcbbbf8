import { encodeError } from '../proto/error-codec.ts'
import { OstrakaError } from '../proto/errors.ts'
import { limits } from '../proto/limits.ts'
import { pb } from '../proto/messages.ts'
import type { ProposalOutcome } from '../raft/state-machine.ts'
import type { GroupResult } from './apply-run.ts'
import type { Expiring } from './deadlines.ts'
import { deltaBytes } from './delta.ts'
import { encodeWrite } from './entry.ts'
import type { HostedGroup, KvNode } from './kv-node.ts'
import { ReadCall, type ReplyBudget } from './read-call.ts'
import { deadlinePassed, diskFull, isElsewhere, lostOutcome, notHosted, overloaded, refusalOf, shardRefusal } from './refusals.ts'
import { checkExecuteRequest, checkWriteBatch, invalidArgument, timeoutOf } from './request-checks.ts'
import type { WriteResult } from './session.ts'

/** `heldBytes`: by which the call grew its budget. */
export type CallDone = (reply: pb.v1.ExecuteReply.$Properties, heldBytes: number) => void

const noBatch: pb.v1.WriteBatch.$Properties = { commands: [] }

/**
 * One ExecuteRequest from its arrival to its one reply: checked, its writes proposed as one entry, its reads answered after a read index.
 * Where config and values are at hand this takes no promise. `done` is called exactly once, perhaps within `start`.
 */
export class ExecuteCall implements Expiring {
  readonly deadlineMs: number
  readonly #node: KvNode
  readonly #request: pb.v1.ExecuteRequest.$Properties
  readonly #budget: ReplyBudget
  readonly #done: CallDone
  readonly #startedMs: number
  #batch = noBatch
  #writes: WriteResult[] = []
  #writesError: OstrakaError | undefined
  #reads: ReadCall | undefined
  /** Parts of the request without an answer. */
  #pending = 0
  /** Proposed, and the outcome is not known. */
  #writesPending = false
  /** For shards that are about to be served here: nothing was begun yet. */
  #isWaiting = false
  /** Writes that the target of a moving shard is to keep up with: not proposed yet. */
  #isHeld = false
  #finished = false

  constructor(node: KvNode, request: pb.v1.ExecuteRequest.$Properties, budget: ReplyBudget, done: CallDone) {
    this.#node = node
    this.#request = request
    this.#budget = budget
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
    if (this.#writesPending || !this.#hasWrites || this.#isWaiting || this.#isHeld) {
      this.#finishWith(deadlinePassed(this.#writesPending))
      return
    }
    if (this.#reads !== undefined) this.#reads.error = deadlinePassed(false)
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
    const group = this.#request.group ?? ''
    const { arrivals } = this.#node
    const early = arrivals.isImporting(group) ? this.#earlyMembers(hosted) : 0
    const isEarly = () => this.#earlyMembers(hosted) > 0
    this.#isWaiting = early > 0 && arrivals.maybeWait(group, isEarly, early < this.#members, () => this.#serve(hosted))
    if (!this.#isWaiting) this.#serve(hosted)
  }

  get #members(): number {
    return (this.#batch.commands?.length ?? 0) + (this.#request.reads?.length ?? 0)
  }

  /**
   * How many members of the request have a shard that is being filled here, and that the config has given to this group: its last commands are on their way. So says
   * ours, or the one by which the request was sent, of which this node has not heard yet. A follower keeps nothing back that its leader has to answer.
   */
  #earlyMembers(hosted: HostedGroup): number {
    const { group = '', configNumber, reads } = this.#request
    const isBehind = this.#node.isBehind(configNumber ?? 0)
    const isEarly = (shard: number | null | undefined) =>
      hosted.stateMachine.shardState(shard ?? 0) === 'importing' && (isBehind || this.#node.config?.groupOf(shard ?? 0)?.uid === group)
    const follows = hosted.replica.role === 'follower'
    let early = 0
    for (const { shard } of follows ? [] : (this.#batch.commands ?? [])) if (isEarly(shard)) early++
    for (const { shard, consistency } of reads ?? []) if (!(follows && needsLeader(consistency)) && isEarly(shard)) early++
    return early
  }

  #serve(hosted: HostedGroup): void {
    this.#isWaiting = false
    if (this.#finished) return
    const writes = this.#request.writes
    this.#pending = 1
    if (writes && writes.length > 0) {
      if (this.#node.isDiskLow) this.#writesError = diskFull()
      else this.#propose(hosted, writes)
    }
    if ((this.#request.reads?.length ?? 0) > 0) {
      this.#pending++
      this.#reads = new ReadCall(this.#node, hosted, this.#request, this.#budget, () => this.#partDone())
      this.#reads.start()
    }
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
    return checkWriteBatch(this.#batch, shardCount)
  }

  #propose(hosted: HostedGroup, writes: Uint8Array): void {
    this.#pending++
    const group = this.#request.group ?? ''
    if (this.#node.slowWrites.slows(group)) this.#passSlowly(hosted, group, writes)
    else this.#proposeNow(hosted, writes)
  }

  #passSlowly(hosted: HostedGroup, group: string, writes: Uint8Array): void {
    this.#isHeld = true
    this.#node.slowWrites.pass(group, {
      commands: this.#batch.commands ?? [],
      bytes: deltaBytes(writes.length),
      run: () => {
        this.#isHeld = false
        if (!this.#finished) this.#proposeNow(hosted, writes)
      },
      refuse: (waitMs) => {
        this.#isHeld = false
        this.#writesError = overloaded('the new group of a shard that moves does not keep up with its writes', Math.ceil(waitMs))
        this.#partDone()
      },
    })
  }

  #proposeNow(hosted: HostedGroup, writes: Uint8Array): void {
    this.#writesPending = true
    hosted.replica.propose(encodeWrite(this.#node.timeOf(hosted), writes), (outcome) => {
      this.#writesPending = false
      if (!this.#finished) this.#written(outcome)
      this.#partDone()
    })
  }

  #written(outcome: ProposalOutcome<GroupResult>): void {
    if (outcome.kind === 'lost') this.#writesError = lostOutcome()
    else if (outcome.kind === 'refused') this.#writesError = refusalOf(this.#node, this.#request.group ?? '', outcome)
    else if (outcome.result.kind === 'written') this.#writes = outcome.result.results.map((result, i) => this.#withConfig(result, i))
    else this.#writesError = invalidArgument('writes is no encoded WriteBatch')
  }

  #withConfig(result: WriteResult, i: number): WriteResult {
    const shard = this.#batch.commands?.[i]?.shard ?? 0
    if (!isElsewhere(result.error)) {
      this.#node.loads.countWrite(shard)
      return result
    }
    // As it is now: the entry may have met another state.
    const state = this.#node.group(this.#request.group ?? '')?.stateMachine.shardState(shard)
    const isServed = state === 'serving' || state === 'exporting'
    return { error: encodeError(shardRefusal(this.#node, this.#request, shard, isServed ? undefined : state)) }
  }

  #partDone(): void {
    if (--this.#pending === 0 && !this.#finished) this.#finishParts()
  }

  get #hasWrites(): boolean {
    return (this.#batch.commands?.length ?? 0) > 0
  }

  /** Where all parts failed the request failed: only so does its caller turn to another node. */
  #finishParts(): void {
    const reads = this.#reads
    const readsError = reads?.error
    const whole = reads === undefined || (this.#hasWrites && readsError !== undefined) ? this.#writesError : undefined
    if (whole !== undefined) this.#finishWith(whole)
    else if (readsError !== undefined && !this.#hasWrites) this.#finishWith(readsError)
    else {
      this.#finish({
        writes: this.#writesError === undefined ? this.#writes : errors(this.#batch.commands?.length ?? 0, this.#writesError),
        reads: readsError === undefined ? (reads?.results ?? []) : errors(reads?.results.length ?? 0, readsError),
      })
    }
  }

  #finishWith(error: OstrakaError): void {
    this.#finish({ error: encodeError(error) })
  }

  #finish(reply: pb.v1.ExecuteReply.$Properties): void {
    if (this.#finished) return
    this.#finished = true
    this.#reads?.stop()
    this.#node.deadlines.remove(this)
    reply.id = this.#request.id ?? 0
    reply.configNumber = this.#node.configNumber
    this.#done(reply, this.#reads?.heldBytes ?? 0)
  }
}

/** Whether only the group's leader answers such a read. */
function needsLeader(consistency: number | null | undefined): boolean {
  return consistency !== pb.v1.Consistency.FOLLOWER && consistency !== pb.v1.Consistency.STALE
}

function errors(count: number, error: OstrakaError): { error: pb.v1.Error }[] {
  return Array.from({ length: count }, () => ({ error: encodeError(error) }))
}

export function asRefusal(error: unknown): OstrakaError {
  if (error instanceof OstrakaError) return error
  return new OstrakaError('UNAVAILABLE', error instanceof Error ? error.message : String(error), true)
}
