import { emptyBytes } from '../../base/bytes.ts'
import { ConfChangeGate, type ConfChangeRefusal } from './conf-change-gate.ts'
import { HeartbeatRounds } from './heartbeat-rounds.ts'
import type { Membership } from './membership.ts'
import { draftMessage, ENTRY_OVERHEAD_BYTES, type Outbox } from './message.ts'
import { ProgressTracker } from './progress-tracker.ts'
import { ProposalBudget } from './proposal-budget.ts'
import { Quiescence } from './quiescence.ts'
import { QuorumCheck } from './quorum-check.ts'
import type { RaftLog } from './raft-log.ts'
import type { ReadAnswers } from './read-answers.ts'
import { Replication } from './replication.ts'
import { Transfer } from './transfer.ts'
import {
  type ConfChange,
  type CoreOptions,
  EntryKind,
  type LeaseBasis,
  type Message,
  MessageType,
  NONE,
  type ProgressStatus,
  type ReplicaNumber,
} from './types.ts'

/**
 * What a replica knows and does only while it leads one term. Made when an election is won, dropped when the office is lost. Here are what the
 * leader itself appends and the commit rule; replication, heartbeats, the quorum check, changes of the membership, transfer and quiet each have
 * a part of their own, and what one of them brings about in another goes through here.
 */
export class Leadership {
  readonly #options: CoreOptions
  readonly #term: number
  readonly #log: RaftLog
  readonly #outbox: Outbox
  readonly #tracker: ProgressTracker
  readonly #replication: Replication
  readonly #confChanges: ConfChangeGate
  readonly #rounds: HeartbeatRounds
  readonly #quorumCheck: QuorumCheck
  readonly #uncommitted: ProposalBudget
  readonly #unapplied: ProposalBudget
  readonly #transfer: Transfer
  readonly #quiescence: Quiescence

  constructor(options: CoreOptions, term: number, log: RaftLog, outbox: Outbox, answers: ReadAnswers, membership: Membership) {
    this.#options = options
    this.#term = term
    this.#log = log
    this.#outbox = outbox
    const firstOwnIndex = log.lastIndex + 1
    const tracker = new ProgressTracker(options, log, membership)
    const confChanges = new ConfChangeGate(options, log, tracker, firstOwnIndex)
    this.#tracker = tracker
    this.#confChanges = confChanges
    this.#replication = new Replication(options, term, log, outbox, tracker)
    this.#rounds = new HeartbeatRounds({ options, term, firstOwnIndex, log, outbox, answers, tracker, confChanges })
    this.#quorumCheck = new QuorumCheck(options, tracker)
    this.#uncommitted = new ProposalBudget(options.maxUncommittedBytes)
    this.#unapplied = new ProposalBudget(options.maxUnappliedBytes ?? Number.POSITIVE_INFINITY)
    this.#transfer = new Transfer(options.electionTicks)
    this.#quiescence = new Quiescence(options, term, log, outbox, tracker)
    this.#append(EntryKind.Normal, emptyBytes)
  }

  /** Whether the next Ready would have something of the leader's. */
  get hasWork(): boolean {
    return this.#replication.isDue || this.#rounds.isDue
  }

  /**
   * `at`: the process's tick; heartbeats of all its groups leave in the same ticks, so that they travel together. Returns false if a quorum has
   * not been heard for an election timeout: step down (thesis, 6.2).
   */
  tick(at: number): boolean {
    this.#transfer.tick()
    this.#maybeLeaveJoint()
    if (!this.#quorumCheck.tick()) return false
    if (this.#options.quiesce === true) this.#quiescence.tick(this.transferee !== NONE || !this.#rounds.isIdle)
    if (at % this.#options.heartbeatTicks === 0) {
      this.#rounds.beat(this.#quiescence.asking)
      if (this.#quiescence.asking) this.#quiescence.ask()
    }
    return true
  }

  /** Sends what is due. Called when a Ready is taken, so that all that came in one turn leaves as one message per follower. */
  flush(): void {
    this.#rounds.flush()
    this.#replication.flush()
  }

  /** It no longer leads. */
  end(): void {
    this.#rounds.end()
  }

  // ---- quiet ----

  /** All followers have agreed to be quiet: this leader need not tick. */
  get isQuiet(): boolean {
    return this.#quiescence.isAgreed
  }

  /** The quiet ends: who follows hears so at once, and the quorum is checked from now on. */
  wake(): void {
    this.#quiescence.restart()
    this.#quorumCheck.restart()
    this.#rounds.send()
  }

  handleQuiesceResponse(message: Message): void {
    this.#tracker.get(message.from)?.heard()
    this.#quiescence.handleQuiesceResponse(message)
  }

  // ---- transfer ----

  /** To whom the office is being handed; NONE: to nobody. */
  get transferee(): ReplicaNumber {
    return this.#transfer.target
  }

  /** Begins to hand the office to the voter `target`, instead of to whom it was on its way; to this replica itself: to nobody. */
  transferTo(target: ReplicaNumber): void {
    this.#transfer.begin(target === this.#options.self ? NONE : target)
    this.#maybeTellTransferee()
  }

  /** The target of a transfer will not campaign. */
  handleTransferRefused(message: Message): void {
    this.#tracker.get(message.from)?.heard()
    if (message.from === this.#transfer.target) this.#transfer.end()
  }

  /**
   * The target campaigns once it has the whole log, and once all of it is committed: so the transfer leaves no proposal whose outcome this
   * leader does not know.
   */
  #maybeTellTransferee(): void {
    const peer = this.#tracker.get(this.#transfer.target)
    const { lastIndex, commit } = this.#log
    if (peer === undefined || peer.match < lastIndex || commit < lastIndex || !this.#transfer.maybeTell(peer.replica)) return
    this.#outbox.send(draftMessage(MessageType.TimeoutNow, this.#options.self, peer.replica, this.#term))
  }

  // ---- the log ----

  /** Returns the first index, or undefined if too much is uncommitted, or not applied here. */
  propose(datas: readonly Uint8Array[]): number | undefined {
    let bytes = 0
    for (const data of datas) if (data.length > 0) bytes += data.length + ENTRY_OVERHEAD_BYTES
    if (!this.#uncommitted.admits(bytes) || !this.#unapplied.admits(bytes)) return undefined
    const first = this.#log.lastIndex + 1
    this.#quiescence.stir()
    for (const data of datas) this.#append(EntryKind.Normal, data)
    this.#uncommitted.add(this.#log.lastIndex, bytes)
    this.#unapplied.add(this.#log.lastIndex, bytes)
    return first
  }

  /** More of the leader's own log is durable. */
  appended(): void {
    this.#tracker.selfStable()
    this.#maybeCommit()
    this.#maybeTellTransferee()
  }

  /** The state machine of this replica stands at `index`. */
  appliedTo(index: number): void {
    this.#unapplied.releaseTo(index)
    this.#maybeLeaveJoint()
  }

  #append(kind: EntryKind, data: Uint8Array): void {
    this.#log.append({ term: this.#term, index: this.#log.lastIndex + 1, kind, data })
    this.#replication.becomeDue()
  }

  /** Only entries of this term are committed by counting replicas; earlier ones come with them (Raft, 5.4.2). */
  #maybeCommit(): void {
    const index = this.#tracker.quorumMatch
    if (index <= this.#log.commit) return
    if (this.#log.term(index) !== this.#term && this.#options.unsafe?.countOldTermEntries !== true) return
    this.#log.commitTo(index)
    this.#uncommitted.releaseTo(index)
    this.#replication.becomeDue()
  }

  // ---- membership ----

  /** Why `change` may not be appended now; undefined: it may. */
  refusalOf(change: ConfChange): ConfChangeRefusal | undefined {
    return this.#confChanges.refusalOf(change)
  }

  /** Returns its index. Changes of the membership are outside the budget: there is one at a time, and it may be what helps an overloaded group. */
  proposeConfChange(data: Uint8Array): number {
    this.#append(EntryKind.ConfChange, data)
    this.#confChanges.appended(this.#log.lastIndex)
    return this.#log.lastIndex
  }

  /** Once a configuration that is to be left by itself is applied here, and nothing is on its way that might leave it already. */
  #maybeLeaveJoint(): void {
    if (!this.#tracker.membership.conf.autoLeave || !this.#confChanges.isClear || this.transferee !== NONE) return
    this.proposeConfChange(emptyBytes)
  }

  /** The applied configuration is another: what a quorum has reached is counted anew. */
  changeMembership(membership: Membership): void {
    this.#tracker.enter(membership)
    if (!membership.conf.voters.includes(this.transferee)) this.#transfer.end()
    this.#maybeCommit()
    this.#rounds.confirm()
    this.#maybeTellTransferee()
    this.#replication.becomeDue()
  }

  /** Tells all, before this leader is none any more, how far the log is committed: so they know that it was removed, and elect another. */
  sayFarewell(): void {
    this.flush()
    this.#rounds.send()
  }

  // ---- reads ----

  readIndex(context: number): void {
    this.#quiescence.stir()
    this.#rounds.add(this.#options.self, context)
  }

  /** A follower asks where it may read. */
  handleReadIndex(message: Message): void {
    const peer = this.#tracker.get(message.from)
    if (peer === undefined) return
    peer.heard()
    this.#quiescence.stir()
    this.#rounds.add(message.from, message.context)
  }

  get leaseBasis(): LeaseBasis {
    return this.#rounds
  }

  // ---- followers ----

  handleAppendResponse(message: Message): void {
    if (!this.#replication.handleAppendResponse(message)) return
    this.#maybeCommit()
    this.#maybeTellTransferee()
  }

  handleHeartbeatResponse(message: Message): void {
    const peer = this.#tracker.get(message.from)
    if (peer === undefined) return
    peer.heard()
    this.#replication.resume(peer)
    this.#rounds.handleHeartbeatResponse(peer, message)
    this.#transfer.tellAgain(message.from)
    this.#maybeTellTransferee()
  }

  handleSnapshotStatus(message: Message): void {
    this.#tracker.get(message.from)?.heard()
    this.reportSnapshot(message.from, !message.reject)
  }

  /** See `Replication`. */
  entriesLoaded(): void {
    this.#replication.entriesLoaded()
  }

  /** See `Replication`. */
  reportUnreachable(replica: ReplicaNumber): void {
    this.#replication.reportUnreachable(replica)
  }

  /** See `Replication`. */
  reportSnapshot(replica: ReplicaNumber, ok: boolean): void {
    this.#replication.reportSnapshot(replica, ok)
  }

  /** See `ProgressTracker`. */
  matchedByAll(): number {
    return this.#tracker.matchedByAll()
  }

  /** See `ProgressTracker`. */
  lowestPendingSnapshot(): number | undefined {
    return this.#tracker.lowestPendingSnapshot()
  }

  status(): readonly ProgressStatus[] {
    return this.#tracker.status()
  }
}
