import { must } from '../../base/assert.ts'
import { emptyBytes } from '../../base/bytes.ts'
import { changeConf } from './conf-changer.ts'
import type { Membership } from './membership.ts'
import { draftMessage, ENTRY_OVERHEAD_BYTES, entryBytes, type Outbox } from './message.ts'
import { Progress } from './progress.ts'
import { ProposalBudget } from './proposal-budget.ts'
import { Quiescence } from './quiescence.ts'
import type { RaftLog } from './raft-log.ts'
import type { ReadAnswers } from './read-answers.ts'
import { ReadOnly } from './read-only.ts'
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

/** For a follower that fetches a snapshot and was not heard for so many election timeouts the log is not kept. */
const silentPeriodsMax = 30

type LeaderOptions = Pick<
  CoreOptions,
  | 'self'
  | 'electionTicks'
  | 'heartbeatTicks'
  | 'checkQuorum'
  | 'leases'
  | 'quiesce'
  | 'maxInflightBytes'
  | 'maxAppendBytes'
  | 'maxUnappliedBytes'
  | 'maxUncommittedBytes'
  | 'unsafe'
>

/**
 * What a replica knows and does only while it leads one term: replication, the commit rule, the quorum check and reads. Made when an
 * election is won, dropped when the office is lost.
 */
export class Leadership implements LeaseBasis {
  readonly #options: LeaderOptions
  readonly #term: number
  readonly #log: RaftLog
  readonly #outbox: Outbox
  #membership: Membership
  readonly #progress = new Map<ReplicaNumber, Progress>()
  readonly #reads = new ReadOnly()
  readonly #answers: ReadAnswers
  readonly #uncommitted: ProposalBudget
  readonly #unapplied: ProposalBudget
  readonly #transfer: Transfer
  readonly #quiescence: Quiescence
  /** The index of this term's first entry: until it is committed the commit index may lag behind what earlier leaders committed. */
  readonly #firstOwnIndex: number
  /** Behind the log's last change of the membership there is none up to the end. No other is appended before this index is applied. Only rises. */
  #confChangeIndex: number
  #quorumElapsed = 0
  /** Proposals and reads so far. */
  #traffic = 0
  /** A heartbeat has left since the last tick. */
  #beaten = false
  /** Something may have to be sent when the next Ready is taken: entries, a new commit index, or a follower that can take more. */
  #replicationDue = false

  // Made once: the quorum asks through them at every acknowledgement.
  readonly #matchOf = (replica: ReplicaNumber): number => this.#progress.get(replica)?.match ?? 0
  readonly #roundOf = (replica: ReplicaNumber): number =>
    replica === this.#options.self ? Number.POSITIVE_INFINITY : (this.#progress.get(replica)?.confirmedRound ?? 0)
  readonly #promisedRoundOf = (replica: ReplicaNumber): number =>
    replica === this.#options.self ? this.#reads.lastRound : (this.#progress.get(replica)?.promisedRound ?? 0)
  readonly #activityOf = (replica: ReplicaNumber): number =>
    replica === this.#options.self || this.#progress.get(replica)?.active === true ? 1 : 0

  constructor(options: LeaderOptions, term: number, log: RaftLog, outbox: Outbox, answers: ReadAnswers, membership: Membership) {
    this.#options = options
    this.#term = term
    this.#log = log
    this.#outbox = outbox
    this.#answers = answers
    this.#membership = membership
    this.#uncommitted = new ProposalBudget(options.maxUncommittedBytes)
    this.#unapplied = new ProposalBudget(options.maxUnappliedBytes ?? Number.POSITIVE_INFINITY)
    this.#transfer = new Transfer(options.electionTicks)
    this.#quiescence = new Quiescence(options.electionTicks)
    for (const replica of membership.replicas) this.#addProgress(replica)
    this.#progress.get(options.self)?.selfStableTo(log.stableIndex)
    this.#firstOwnIndex = log.lastIndex + 1
    // Also what earlier leaders appended may hold a change, and before an entry of this term is committed none is known to be.
    this.#confChangeIndex = this.#firstOwnIndex
    this.#append(EntryKind.Normal, emptyBytes)
  }

  /** Whether the next Ready would have something of the leader's. */
  get hasWork(): boolean {
    return this.#replicationDue || this.#canBeginRound
  }

  /**
   * `at`: the process's tick; heartbeats of all its groups leave in the same ticks, so that they travel together. Returns false if a quorum has
   * not been heard for an election timeout: step down (thesis, 6.2).
   */
  tick(at: number): boolean {
    this.#quorumElapsed++
    this.#transfer.tick()
    this.#maybeLeaveJoint()
    if (this.#quorumElapsed >= this.#options.electionTicks) {
      this.#quorumElapsed = 0
      if (this.#options.checkQuorum && this.#membership.quorum.index(this.#activityOf) < 1) return false
      for (const peer of this.#progress.values()) peer.forgetActivity()
    }
    if (this.#options.quiesce === true) this.#quiescence.tick(this.#isAtRest, this.#traffic)
    if (at % this.#options.heartbeatTicks === 0) {
      this.#beaten = false
      // Reads that wait go with this heartbeat, which is then sent already.
      if (this.#canBeginRound || this.#canExtendLease) this.#beginRound()
      if (this.#quiescence.asking) this.#askForQuiet()
      else if (!this.#beaten) this.#sendHeartbeats()
    }
    return true
  }

  /** All followers have agreed to be quiet: this leader need not tick. */
  get isQuiet(): boolean {
    return this.#quiescence.asking && this.#followers.every((peer) => this.#quiescence.hasAgreed(peer.replica))
  }

  /** The quiet ends: who follows hears so at once, and the quorum is checked from now on. */
  wake(): void {
    this.#quiescence.restart()
    this.#quorumElapsed = 0
    for (const peer of this.#progress.values()) peer.forgetActivity()
    this.#sendHeartbeats()
  }

  handleQuiesceResponse(message: Message): void {
    this.#progress.get(message.from)?.heard()
    if (message.reject) this.#quiescence.restart()
    else this.#quiescence.agree(message.from, message.context)
  }

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
    this.#progress.get(message.from)?.heard()
    if (message.from === this.#transfer.target) this.#transfer.end()
  }

  /** Returns the first index, or undefined if too much is uncommitted, or not applied here. */
  propose(datas: readonly Uint8Array[]): number | undefined {
    let bytes = 0
    for (const data of datas) if (data.length > 0) bytes += data.length + ENTRY_OVERHEAD_BYTES
    if (!this.#uncommitted.admits(bytes) || !this.#unapplied.admits(bytes)) return undefined
    const first = this.#log.lastIndex + 1
    this.#traffic++
    for (const data of datas) this.#append(EntryKind.Normal, data)
    this.#uncommitted.add(this.#log.lastIndex, bytes)
    this.#unapplied.add(this.#log.lastIndex, bytes)
    return first
  }

  /** The state machine of this replica stands at `index`. */
  appliedTo(index: number): void {
    this.#unapplied.releaseTo(index)
    this.#maybeLeaveJoint()
  }

  /** Why `change` may not be appended now; undefined: it may. */
  refusalOf(change: ConfChange): 'conf-change-pending' | 'joint' | 'not-joint' | 'invalid' | undefined {
    if (this.#options.unsafe?.skipConfChangeChecks === true) return undefined
    if (this.#log.applied < this.#confChangeIndex) return 'conf-change-pending'
    const outcome = changeConf(this.#membership.conf, change)
    if (outcome.ok) return undefined
    return outcome.reason === 'joint' || outcome.reason === 'not-joint' ? outcome.reason : 'invalid'
  }

  /** Returns its index. Changes of the membership are outside the budget: there is one at a time, and it may be what helps an overloaded group. */
  proposeConfChange(data: Uint8Array): number {
    this.#append(EntryKind.ConfChange, data)
    this.#confChangeIndex = this.#log.lastIndex
    return this.#confChangeIndex
  }

  /** Once a configuration that is to be left by itself is applied here, and nothing is on its way that might leave it already. */
  #maybeLeaveJoint(): void {
    if (!this.#membership.conf.autoLeave || this.#log.applied < this.#confChangeIndex || this.transferee !== NONE) return
    this.proposeConfChange(emptyBytes)
  }

  /** The applied configuration is another: who came is probed, who went is forgotten, and what a quorum has reached is counted anew. */
  changeMembership(membership: Membership): void {
    this.#membership = membership
    for (const replica of this.#progress.keys()) if (!membership.replicas.includes(replica)) this.#progress.delete(replica)
    for (const replica of membership.replicas) {
      // It had no time to be heard in this period of the quorum check.
      if (!this.#progress.has(replica)) this.#addProgress(replica).heard()
    }
    if (!membership.conf.voters.includes(this.transferee)) this.#transfer.end()
    this.#maybeCommit()
    this.#confirmTo(membership.quorum.index(this.#roundOf))
    this.#maybeTellTransferee()
    this.#replicationDue = true
  }

  /** Tells all, before this leader is none any more, how far the log is committed: so they know that it was removed, and elect another. */
  sayFarewell(): void {
    this.flush()
    this.#sendHeartbeats()
  }

  readIndex(context: number): void {
    this.#traffic++
    this.#reads.add(this.#options.self, context)
  }

  /** A follower asks where it may read. */
  handleReadIndex(message: Message): void {
    const peer = this.#progress.get(message.from)
    if (peer === undefined) return
    peer.heard()
    this.#traffic++
    this.#reads.add(message.from, message.context)
  }

  get lastRound(): number {
    return this.#reads.lastRound
  }

  get promisedRound(): number {
    return this.#membership.quorum.index(this.#promisedRoundOf)
  }

  get safeIndex(): number | undefined {
    return this.#mayRead ? this.#log.commit : undefined
  }

  /** It no longer leads. Reads forwarded by others are theirs to lose. */
  end(): void {
    for (const { replica, context } of this.#reads.unconfirmed()) if (replica === this.#options.self) this.#answers.lose(context)
  }

  /** More of the leader's own log is durable. */
  appended(): void {
    this.#progress.get(this.#options.self)?.selfStableTo(this.#log.stableIndex)
    this.#maybeCommit()
    this.#maybeTellTransferee()
  }

  entriesLoaded(): void {
    for (const peer of this.#progress.values()) peer.loaded()
    this.#replicationDue = true
  }

  /** What was sent to `replica` may be lost. */
  reportUnreachable(replica: ReplicaNumber): void {
    const peer = this.#progress.get(replica)
    if (peer?.state !== 'replicate') return
    peer.becomeProbe()
    this.#replicationDue = true
  }

  reportSnapshot(replica: ReplicaNumber, ok: boolean): void {
    this.#progress.get(replica)?.snapshotEnded(ok)
    this.#replicationDue = true
  }

  handleAppendResponse(message: Message): void {
    const peer = this.#progress.get(message.from)
    if (peer === undefined) return
    peer.heard()
    if (message.reject && message.context === 1) {
      if (peer.match === 0 && peer.state !== 'snapshot') this.#maybeBeginSnapshot(peer)
    } else if (message.reject) {
      // The follower's log has nothing of a term above hintTerm up to hintIndex, so entries of ours with a higher term need no try.
      const possible = message.hintTerm > 0 ? this.#log.lastWithTermAtMost(message.hintIndex, message.hintTerm) : message.hintIndex
      if (peer.reject(message.index, possible)) this.#replicationDue = true
    } else if (message.index <= this.#log.lastIndex && peer.acknowledge(message.index, this.#log.firstIndex)) {
      this.#maybeCommit()
      this.#maybeTellTransferee()
      this.#replicationDue = true
    }
  }

  handleHeartbeatResponse(message: Message): void {
    const peer = this.#progress.get(message.from)
    if (peer === undefined) return
    peer.heard()
    peer.resume(this.#log.lastIndex)
    // An offer may have been lost; the follower ignores it while it fetches.
    if (peer.state === 'snapshot') this.#offerSnapshot(peer)
    if (message.context > 0) {
      peer.confirmRound(message.context, message.hintIndex === 1)
      this.#confirmTo(this.#membership.quorum.index(this.#roundOf))
    }
    this.#transfer.tellAgain(message.from)
    this.#maybeTellTransferee()
    this.#replicationDue = true
  }

  handleSnapshotStatus(message: Message): void {
    this.#progress.get(message.from)?.heard()
    this.reportSnapshot(message.from, !message.reject)
  }

  /** Sends what is due. Called when a Ready is taken, so that all that came in one turn leaves as one message per follower. */
  flush(): void {
    if (this.#canBeginRound) this.#beginRound()
    if (!this.#replicationDue) return
    this.#replicationDue = false
    for (const peer of this.#progress.values()) {
      if (peer.replica !== this.#options.self) while (this.#maybeSendAppend(peer)) {}
    }
  }

  /** Every replica, learners included, durably agrees up to here. */
  matchedByAll(): number {
    let lowest = this.#log.lastIndex
    for (const peer of this.#progress.values()) lowest = Math.min(lowest, peer.match)
    return lowest
  }

  /** The lowest index of a snapshot that a follower which is not silent was offered and has not installed; undefined: there is none. */
  lowestPendingSnapshot(): number | undefined {
    let lowest: number | undefined
    for (const { pendingSnapshot, silentPeriods } of this.#progress.values()) {
      if (pendingSnapshot !== undefined && silentPeriods < silentPeriodsMax)
        lowest = Math.min(lowest ?? pendingSnapshot.index, pendingSnapshot.index)
    }
    return lowest
  }

  status(): readonly ProgressStatus[] {
    return [...this.#progress.values()].map((peer) => {
      const status = peer.status(!this.#membership.isVoter(peer.replica))
      return peer.replica === this.#options.self ? { ...status, state: 'replicate', active: true } : status
    })
  }

  /**
   * An entry of this term is committed, and the membership applied here is the newest that is: others may have applied a newer one already, and
   * elected another leader by it.
   */
  get #mayRead(): boolean {
    const { applied, commit } = this.#log
    return commit >= this.#firstOwnIndex && (applied >= this.#confChangeIndex || commit < this.#confChangeIndex)
  }

  get #canBeginRound(): boolean {
    return this.#reads.hasWaiting && this.#reads.hasRoom && this.#mayRead
  }

  get #canExtendLease(): boolean {
    return this.#options.leases === true && !this.#quiescence.asking && this.#reads.hasRoom && this.#mayRead
  }

  #beginRound(): void {
    this.#reads.begin(this.#log.commit)
    const alone = this.#membership.quorum.index(this.#roundOf) >= this.#reads.lastRound
    if (alone || this.#options.unsafe?.readWithoutQuorum === true) this.#confirmTo(this.#reads.lastRound)
    else this.#sendHeartbeats()
  }

  #confirmTo(round: number): void {
    for (const { index, reads } of this.#reads.confirmTo(round)) {
      for (const { replica, context } of reads) {
        if (replica === this.#options.self) this.#answers.confirm(context, index)
        else this.#answerFollower(replica, context, index)
      }
    }
  }

  #answerFollower(replica: ReplicaNumber, context: number, index: number): void {
    const message = draftMessage(MessageType.ReadIndexResponse, this.#options.self, replica, this.#term)
    message.context = context
    message.index = index
    this.#outbox.send(message)
  }

  #append(kind: EntryKind, data: Uint8Array): void {
    this.#log.append({ term: this.#term, index: this.#log.lastIndex + 1, kind, data })
    this.#replicationDue = true
  }

  #addProgress(replica: ReplicaNumber): Progress {
    const peer = new Progress(replica, this.#log.lastIndex + 1, this.#options.maxInflightBytes)
    this.#progress.set(replica, peer)
    return peer
  }

  get #followers(): Progress[] {
    return [...this.#progress.values()].filter((peer) => peer.replica !== this.#options.self)
  }

  /** Everything is done, and every replica has all of it and knows that it is committed. */
  get #isAtRest(): boolean {
    const { lastIndex, commit, stableIndex, applied } = this.#log
    if (commit < lastIndex || stableIndex < lastIndex || applied < lastIndex) return false
    if (this.#transfer.target !== NONE || !this.#reads.isIdle) return false
    const { voters, votersOutgoing, learners } = this.#membership.conf
    if (votersOutgoing.length > 0 || learners.length > 0 || !voters.includes(this.#options.self)) return false
    for (const peer of this.#progress.values()) {
      if (peer.match < lastIndex || (peer.replica !== this.#options.self && peer.state !== 'replicate')) return false
    }
    return true
  }

  #askForQuiet(): void {
    const { lastIndex, lastTerm, commit } = this.#log
    for (const { replica } of this.#followers) {
      if (this.#quiescence.hasAgreed(replica)) continue
      const message = draftMessage(MessageType.Quiesce, this.#options.self, replica, this.#term)
      message.index = lastIndex
      message.logTerm = lastTerm
      message.commit = commit
      message.context = this.#quiescence.attempt
      this.#outbox.send(message)
    }
  }

  #sendHeartbeats(): void {
    this.#beaten = true
    for (const peer of this.#progress.values()) {
      if (peer.replica === this.#options.self) continue
      const message = draftMessage(MessageType.Heartbeat, this.#options.self, peer.replica, this.#term)
      // Beyond match the follower's log may differ from ours.
      message.commit = Math.min(peer.match, this.#log.commit)
      message.context = this.#reads.lastRound
      this.#outbox.send(message)
    }
  }

  /** Returns whether more may be sent at once. */
  #maybeSendAppend(peer: Progress): boolean {
    if (peer.paused) return false
    const previous = peer.next - 1
    const previousTerm = previous >= this.#log.firstIndex - 1 ? this.#log.term(previous) : undefined
    if (previousTerm === undefined) return this.#maybeBeginSnapshot(peer)
    const room = Math.min(this.#options.maxAppendBytes, peer.room)
    const entries = peer.admitsEntries ? this.#log.entries(peer.next, room) : []
    if (entries === undefined) {
      peer.awaitLoad()
      return false
    }
    if (entries.length === 0 && !peer.wantsEmptyAppend(this.#log.commit)) return false
    const message = draftMessage(MessageType.Append, this.#options.self, peer.replica, this.#term)
    message.index = previous
    message.logTerm = previousTerm
    message.commit = this.#log.commit
    message.entries = entries
    this.#outbox.send(message)
    let bytes = 0
    for (const entry of entries) bytes += entryBytes(entry)
    peer.appendSent(entries.length, bytes, this.#log.commit)
    return entries.length > 0
  }

  /** The follower needs entries that the log no longer has, or where to begin. Offered only to one that was heard: an offer keeps the log from being truncated. */
  #maybeBeginSnapshot(peer: Progress): false {
    if (!peer.active) return false
    peer.becomeSnapshot(this.#newestSnapshot())
    this.#offerSnapshot(peer)
    return false
  }

  #offerSnapshot(peer: Progress): void {
    let meta = must(peer.pendingSnapshot, 'snapshot of a follower in the snapshot state')
    if (meta.index < this.#log.firstIndex - 1 || meta.index <= peer.match) {
      meta = this.#newestSnapshot()
      peer.becomeSnapshot(meta)
    }
    const message = draftMessage(MessageType.Snapshot, this.#options.self, peer.replica, this.#term)
    message.snapshot = meta
    this.#outbox.send(message)
  }

  #newestSnapshot() {
    const index = this.#log.applied
    return { index, term: must(this.#log.term(index), `term of the applied entry ${index}`), conf: this.#membership.conf }
  }

  /**
   * The target campaigns once it has the whole log, and once all of it is committed: so the transfer leaves no proposal whose outcome this
   * leader does not know.
   */
  #maybeTellTransferee(): void {
    const peer = this.#progress.get(this.#transfer.target)
    const { lastIndex, commit } = this.#log
    if (peer === undefined || peer.match < lastIndex || commit < lastIndex || !this.#transfer.maybeTell(peer.replica)) return
    this.#outbox.send(draftMessage(MessageType.TimeoutNow, this.#options.self, peer.replica, this.#term))
  }

  /** Only entries of this term are committed by counting replicas; earlier ones come with them (Raft, 5.4.2). */
  #maybeCommit(): void {
    const index = this.#membership.quorum.index(this.#matchOf)
    if (index <= this.#log.commit) return
    if (this.#log.term(index) !== this.#term && this.#options.unsafe?.countOldTermEntries !== true) return
    this.#log.commitTo(index)
    this.#uncommitted.releaseTo(index)
    this.#replicationDue = true
  }
}
