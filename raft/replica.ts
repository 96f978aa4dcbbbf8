import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'
import type { Random } from '../base/random.ts'
import { OstrakaError } from '../proto/errors.ts'
import { Raft } from './core/raft.ts'
import {
  type ConfState,
  type CoreOptions,
  type Entry,
  type Message,
  MessageType,
  NONE,
  type Ready,
  type SnapshotMeta,
} from './core/types.ts'
import { GroupTime } from './group-time.ts'
import type { GroupLog } from './log/group-log.ts'
import type { Envelope } from './message-codec.ts'
import { PendingProposals } from './pending-proposals.ts'
import { PendingReads } from './pending-reads.ts'
import type { ReplicaApi } from './replica-api.ts'
import type { ProposalOutcome, ReadOutcome, StateMachine } from './state-machine.ts'

/** Bytes of entries that are applied at one go. */
const applyBytesMax = 256 * 1024
/** Bytes of entries in one append, sent and not yet acknowledged by one follower, and proposed and not yet committed. */
const maxAppendBytes = 1024 * 1024
const maxInflightBytes = 16 * 1024 * 1024
const maxUncommittedBytes = 64 * 1024 * 1024
const snapshotRetryMs = 1000
/** A turn that has applied for so long lets others run. */
const applySliceMs = 3

export interface ReplicaOptions<Result> {
  /** Uid of the group. */
  readonly group: string
  /** This replica's number. */
  readonly replica: number
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly log: GroupLog
  readonly stateMachine: StateMachine<Result>
  readonly electionTicks: number
  readonly heartbeatTicks: number
  /** The log grows to about this before the state machine is flushed to free it. */
  readonly snapshotLogBytes: number
  /** Hands a message to the messenger. */
  send(message: Message, envelope: Envelope): void
  /** The role, the leader or the term changed. */
  onSoftState(): void
  /** The log's mark moved: space may be reclaimed. */
  onTruncated(): void
  /** This replica stopped for good: its state machine or its log failed. The node goes on. */
  onStopped(error: Error): void
  /** Bytes of entries in one append; one entry is always admitted. */
  readonly maxAppendBytes?: number
  readonly unsafe?: UnsafeReplica
}

/** Deliberate breaks, for proving that the simulator catches them. Never set otherwise. */
export type UnsafeReplica = NonNullable<CoreOptions['unsafe']> & {
  /** Leaves the vote out of what is persisted. */
  readonly forgetVote?: boolean
}

/**
 * Drives one replica: the pure core (`core/raft.ts`), the log, the state machine and the messenger. The duties numbered in raft/README.md
 * are met here. Appending, sending and applying are three pipelines, none waits for another. What one turn brings in (messages,
 * proposals, reads) is drained once, at the end of the turn.
 */
export class Replica<Result> implements ReplicaApi<Result> {
  readonly #options: ReplicaOptions<Result>
  readonly #core: Raft
  readonly #log: GroupLog
  readonly #time: GroupTime
  readonly #proposals = new PendingProposals<Result>()
  readonly #reads = new PendingReads()
  /** Messages that wait for the durability of an append, behind which they were made; the last list is the newest append's. */
  readonly #unsynced: Message[][] = []
  #applied: number
  #commit: number
  #applying = false
  #drainScheduled = false
  #flushing = false
  /** Every voter's log holds the leader's log up to here, as far as this replica heard. */
  #allMatched = 0
  #stopped: Error | undefined
  readonly #appliedWaiters = new Set<() => void>()

  constructor(options: ReplicaOptions<Result>) {
    this.#options = options
    const { clock, log, random, stateMachine } = options
    this.#log = log
    const { durable } = stateMachine
    this.#alignLog(durable)
    this.#applied = durable.index
    this.#commit = Math.max(durable.index, log.hardState.commit)
    this.#time = new GroupTime(clock, stateMachine.timeMs ?? 0)
    this.#core = new Raft({
      self: options.replica,
      conf: durable.conf,
      hardState: { ...log.hardState, commit: this.#commit },
      applied: durable.index,
      log,
      random,
      electionTicks: options.electionTicks,
      heartbeatTicks: options.heartbeatTicks,
      preVote: true,
      checkQuorum: true,
      maxInflightBytes,
      maxAppendBytes: options.maxAppendBytes ?? maxAppendBytes,
      maxUncommittedBytes,
      ...(options.unsafe === undefined ? {} : { unsafe: options.unsafe }),
    })
    log.onLoaded = () => {
      this.#core.entriesLoaded()
      this.#wake()
    }
    stateMachine.onDurable = () => this.#maybeTruncate()
    this.#pumpApply()
    this.#wake()
  }

  get group(): string {
    return this.#options.group
  }

  get replica(): number {
    return this.#options.replica
  }

  get role(): 'leader' | 'follower' | 'candidate' | 'learner' {
    if (this.#stopped !== undefined) return 'follower'
    const { role } = this.#core
    if (role === 'follower' && this.conf.learners.includes(this.replica)) return 'learner'
    return role === 'preCandidate' ? 'candidate' : role
  }

  get leader(): number {
    return this.#stopped === undefined ? this.#core.leader : NONE
  }

  get term(): number {
    return this.#core.term
  }

  get conf(): ConfState {
    return this.#core.membership.conf
  }

  get applied(): number {
    return this.#applied
  }

  get commit(): number {
    return this.#commit
  }

  get log(): GroupLog {
    return this.#log
  }

  get stateMachine(): StateMachine<Result> {
    return this.#options.stateMachine
  }

  /** Why this replica stopped; undefined: it runs. */
  get failure(): Error | undefined {
    return this.#stopped
  }

  /** The voters heard of lately, as a leader knows it; empty on others. */
  activePeers(): readonly number[] {
    if (this.#core.role !== 'leader') return []
    return this.#core
      .progress()
      .filter((peer) => peer.active)
      .map((peer) => peer.replica)
  }

  groupTimeMs(): number {
    return this.#time.now()
  }

  propose(data: Uint8Array, done: (outcome: ProposalOutcome<Result>) => void): void {
    this.#proposals.queue(data, done)
    this.#wake()
  }

  readIndex(done: (outcome: ReadOutcome) => void): void {
    this.#reads.queue(done)
    this.#wake()
  }

  tick(): void {
    if (this.#stopped !== undefined) return
    this.#guard(() => this.#core.tick())
    if (this.#core.hasReady()) this.#wake()
  }

  step(message: Message, envelope: Envelope): void {
    if (this.#stopped !== undefined) return
    this.#guard(() => this.#core.step(message))
    if (message.term === this.#core.term && message.from === this.#core.leader) {
      this.#time.hear(envelope.groupTimeMs)
      if (envelope.allMatched > this.#allMatched) {
        this.#allMatched = envelope.allMatched
        this.#maybeTruncate()
      }
    }
    this.#wake()
  }

  /** Resolves once `index` is applied here. Rejects with OstrakaError DEADLINE when that takes longer than `timeoutMs`. */
  whenApplied(index: number, clock: Clock, timeoutMs: number): Promise<void> {
    if (this.#applied >= index) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const timer = clock.setTimer(timeoutMs, () => {
        this.#appliedWaiters.delete(waiter)
        reject(
          new OstrakaError(
            'DEADLINE',
            `index ${index} of ${this.group} was not applied within ${timeoutMs} ms, only ${this.#applied}`,
            true,
          ),
        )
      })
      const waiter = () => {
        if (this.#applied < index) return
        timer.cancel()
        this.#appliedWaiters.delete(waiter)
        resolve()
      }
      this.#appliedWaiters.add(waiter)
    })
  }

  /** Stops without a failure: what is pending is answered, nothing more is sent or applied. */
  stop(): void {
    this.#stop(new Error('the replica was stopped'))
  }

  /** On open the state machine wins: a log that does not hold its (index, term) is discarded and starts behind it. */
  #alignLog(durable: SnapshotMeta): void {
    const { index, term } = durable
    if (index < this.#log.firstIndex - 1 || index > this.#log.lastIndex || this.#log.term(index) !== term) {
      if (index === 0 && this.#log.firstIndex === 1) return
      this.#log.reset(index, term)
    }
  }

  #wake(): void {
    if (this.#drainScheduled) return
    this.#drainScheduled = true
    this.#options.clock.soon(() => {
      this.#drainScheduled = false
      this.#drain()
    })
  }

  #drain(): void {
    if (this.#stopped !== undefined) {
      this.#proposals.refuseQueued('stopped', NONE)
      this.#reads.refuseAll('stopped', NONE)
      return
    }
    this.#guard(() => {
      this.#proposals.submit((datas) => this.#core.propose(datas))
      this.#reads.submit((context) => this.#core.readIndex(context), this.#core.leader)
      while (this.#core.hasReady()) this.#handle(this.#core.ready())
    })
  }

  /** raft/README.md, duties of the driver. */
  #handle(ready: Ready): void {
    if (ready.softState !== undefined) this.#softStateChanged()
    this.#persist(ready)
    this.#sendAll(ready.messages)
    if (ready.commit > this.#commit) {
      this.#commit = ready.commit
      this.#pumpApply()
    }
    if (ready.snapshot !== undefined) this.#declineSnapshot()
    for (const { context, index } of ready.readStates) this.#reads.confirmed(context, index)
    for (const context of ready.lostReads) this.#reads.lost(context, this.#core.leader)
    this.#reads.release(this.#applied)
    if (this.#reads.hasQueued) this.#wake()
  }

  /**
   * The log is truncated only where every voter has it (`#maybeTruncate`), so no leader should come to offer a snapshot before replicas can
   * fetch one. Should it, this replica says so and asks again later.
   */
  #declineSnapshot(): void {
    this.#options.logger.error({ leader: this.#core.leader }, 'the leader no longer has the log that this replica needs')
    this.#options.clock.setTimer(snapshotRetryMs, () => {
      if (this.#stopped !== undefined) return
      this.#guard(() => this.#core.snapshotFailed())
      this.#wake()
    })
  }

  #softStateChanged(): void {
    if (this.#core.role === 'leader') {
      this.#time.lead()
    } else {
      this.#time.follow()
      this.#proposals.loseAll()
    }
    this.#options.onSoftState()
  }

  /** Messages that must not leave before an append is durable leave in its callback; those behind which nothing is unsynced leave at once. */
  #persist(ready: Ready): void {
    const { entries, messagesAfterAppend: messages } = ready
    const hardState =
      this.#options.unsafe?.forgetVote && ready.hardState !== undefined ? { ...ready.hardState, vote: NONE } : ready.hardState
    if (entries.length === 0 && (hardState === undefined || !ready.mustSync)) {
      if (hardState !== undefined) this.#log.append(entries, hardState, undefined)
      const newest = this.#unsynced.at(-1)
      if (newest === undefined) this.#sendAll(messages)
      else newest.push(...messages)
      return
    }
    const waiting = [...messages]
    this.#unsynced.push(waiting)
    const last = entries.at(-1)
    this.#log.append(entries, hardState, () => {
      this.#unsynced.shift()
      if (this.#stopped !== undefined) return
      this.#guard(() => {
        if (last !== undefined) this.#core.appended(last.term, last.index)
      })
      this.#sendAll(waiting)
      this.#wake()
    })
  }

  #sendAll(messages: readonly Message[]): void {
    if (messages.length === 0 || this.#stopped !== undefined) return
    const envelope = {
      group: this.#options.group,
      groupTimeMs: this.#time.now(),
      allMatched: this.#core.role === 'leader' ? this.#updateAllMatched() : 0,
    }
    for (const message of messages) {
      if (message.to === this.#options.replica) this.#guard(() => this.#core.step(message))
      else this.#options.send(message, envelope)
    }
  }

  #updateAllMatched(): number {
    const matched = this.#core.matchedByAll()
    if (matched > this.#allMatched) {
      this.#allMatched = matched
      this.#maybeTruncate()
    }
    return this.#allMatched
  }

  /** Applies what is committed, one batch after the other; ends when there is nothing more or a batch has to be waited for. */
  #pumpApply(): void {
    if (this.#applying) return
    const startMs = this.#options.clock.monotonicMs()
    while (this.#stopped === undefined && this.#applied < this.#commit) {
      const entries = this.#log.entries(this.#applied + 1, this.#commit + 1, applyBytesMax)
      if (entries === undefined) {
        this.#applyLater(this.#log.load(this.#applied + 1, this.#commit + 1, applyBytesMax).then((loaded) => this.#applyNow(loaded)))
        return
      }
      const applied = this.#applyNow(entries)
      if (applied instanceof Promise) {
        this.#applyLater(applied)
        return
      }
      if (this.#options.clock.monotonicMs() - startMs > applySliceMs) {
        this.#applyLater(new Promise((resolve) => this.#options.clock.soon(resolve)))
        return
      }
    }
  }

  #applyLater(promise: Promise<void>): void {
    this.#applying = true
    promise.then(
      () => {
        this.#applying = false
        this.#pumpApply()
        this.#wake()
      },
      (error: unknown) => this.#stop(error instanceof Error ? error : new Error(String(error))),
    )
  }

  #applyNow(entries: readonly Entry[]): void | Promise<void> {
    try {
      const results = this.#options.stateMachine.apply(entries)
      if (results instanceof Promise) return results.then((settled) => this.#appliedEntries(entries, settled))
      this.#appliedEntries(entries, results)
    } catch (error) {
      this.#stop(error instanceof Error ? error : new Error(String(error)))
    }
    return undefined
  }

  #appliedEntries(entries: readonly Entry[], results: readonly Result[]): void {
    const last = entries.at(-1)
    if (last === undefined || this.#stopped !== undefined) return
    this.#applied = last.index
    this.#time.hear(this.#options.stateMachine.timeMs ?? 0)
    this.#guard(() => this.#core.applied(last.index))
    this.#proposals.applied(entries, results)
    this.#reads.release(this.#applied)
    for (const waiter of this.#appliedWaiters) waiter()
    this.#maybeFlush()
    this.#wake()
  }

  /** Frees the log once it has grown past its bound: what is applied becomes durable in the state machine. */
  #maybeFlush(): void {
    const { stateMachine, snapshotLogBytes } = this.#options
    if (this.#flushing || this.#log.bytes < snapshotLogBytes || stateMachine.durable.index >= this.#applied) return
    this.flush()
  }

  /** Begins to make what is applied durable in the state machine, unless that is under way. */
  flush(): void {
    if (this.#flushing || this.#stopped !== undefined) return
    this.#flushing = true
    this.#options.stateMachine.flush().then(
      () => {
        this.#flushing = false
      },
      (error: unknown) => this.#stop(error instanceof Error ? error : new Error(String(error))),
    )
  }

  /** The log may go up to where the state machine is durable and every voter has it: who lags is served from the log. */
  #maybeTruncate(): void {
    if (this.#stopped !== undefined) return
    const { durable } = this.#options.stateMachine
    const index = Math.min(durable.index, this.#allMatched)
    if (index < this.#log.firstIndex) return
    const term = this.#log.term(index)
    if (term === undefined) return
    this.#log.truncateTo(index, term)
    this.#options.onTruncated()
  }

  #guard(action: () => void): void {
    try {
      action()
    } catch (error) {
      this.#stop(error instanceof Error ? error : new Error(String(error)))
    }
  }

  #stop(error: Error): void {
    if (this.#stopped !== undefined) return
    this.#stopped = error
    this.#time.follow()
    this.#options.stateMachine.onDurable = undefined
    this.#log.onLoaded = undefined
    this.#proposals.loseAll()
    this.#wake()
    this.#options.onStopped(error)
  }

  /** True for messages that carry entries and so go by the entries' lane. */
  static isBulk(message: Message): boolean {
    return message.type === MessageType.Append && message.entries.length > 0
  }
}
