import { assert } from '../../base/assert.ts'
import { Ballot } from './ballot.ts'
import { encodeConfChange } from './conf-change-codec.ts'
import { changeConf } from './conf-changer.ts'
import { ElectionTimer } from './election-timer.ts'
import { Elections } from './elections.ts'
import { Following } from './following.ts'
import { ForwardedReads } from './forwarded-reads.ts'
import type { Leadership } from './leadership.ts'
import type { Membership } from './membership.ts'
import { Outbox } from './message.ts'
import { RaftLog } from './raft-log.ts'
import { ReadAnswers } from './read-answers.ts'
import { ReadyMaker } from './ready-maker.ts'
import { Roles } from './roles.ts'
import { TermGate } from './term-gate.ts'
import {
  type ConfChange,
  type ConfChangeResult,
  type ConfState,
  type CoreOptions,
  type LeaseBasis,
  type Message,
  MessageType,
  NONE,
  type ProgressStatus,
  type ProposeResult,
  type Ready,
  type ReplicaNumber,
  type Role,
  type SnapshotMeta,
  type TransferResult,
} from './types.ts'
import { VotePromise } from './vote-promise.ts'

/**
 * One replica of one group: synchronous, without clock, disk or network. `raft/README.md` states what its driver owes it. What the driver calls, and
 * each message, goes to the part that it concerns; the parts share the log and the outbox.
 */
export class Raft {
  readonly #self: ReplicaNumber
  readonly #log: RaftLog
  readonly #forwarded: ForwardedReads
  readonly #following: Following
  readonly #ballot: Ballot
  readonly #timer: ElectionTimer
  readonly #promise: VotePromise
  readonly #roles: Roles
  readonly #elections: Elections
  readonly #gate: TermGate
  readonly #readyMaker: ReadyMaker
  /** The newest tick. */
  #at = 0

  constructor(options: CoreOptions) {
    const { self, hardState, electionTicks, heartbeatTicks, random } = options
    assert(self >= 1, 'a replica number is 1 or more')
    assert(heartbeatTicks >= 1 && electionTicks > heartbeatTicks, 'electionTicks must exceed heartbeatTicks')
    const outbox = new Outbox()
    const reads = new ReadAnswers()
    const log = new RaftLog(options.log, hardState.commit, options.applied)
    const ballot = new Ballot(self, hardState, log, outbox)
    const promise = new VotePromise(options)
    const following = new Following(self, log, outbox, promise.isGiven)
    const forwarded = new ForwardedReads(options, outbox, reads)
    const timer = new ElectionTimer(electionTicks, random)
    const roles = new Roles({ options, log, outbox, reads, forwarded, following, ballot, timer, promise })
    this.#self = self
    this.#log = log
    this.#forwarded = forwarded
    this.#following = following
    this.#ballot = ballot
    this.#timer = timer
    this.#promise = promise
    this.#roles = roles
    this.#elections = new Elections({ options, log, outbox, roles, following, timer, promise })
    this.#gate = new TermGate(options.checkQuorum, ballot, roles, timer, promise)
    this.#readyMaker = new ReadyMaker({ hardState, log, outbox, reads, following, ballot, roles })
  }

  get role(): Role {
    return this.#roles.role
  }

  get leader(): ReplicaNumber {
    return this.#roles.leader
  }

  get term(): number {
    return this.#ballot.term
  }

  /** The leader hands its office to this replica, which campaigns for it now. */
  get takesOffice(): boolean {
    return this.#roles.campaign?.isForced === true
  }

  get vote(): ReplicaNumber {
    return this.#ballot.vote
  }

  get commit(): number {
    return this.#log.commit
  }

  get lastIndex(): number {
    return this.#log.lastIndex
  }

  /** The log, as it now reads, is durable up to here. What is on its way may replace entries behind it. */
  get stableIndex(): number {
    return this.#log.stableIndex
  }

  get membership(): Membership {
    return this.#roles.membership
  }

  /** Of all replicas, this one included; empty unless this replica leads. */
  progress(): readonly ProgressStatus[] {
    return this.#leadership?.status() ?? []
  }

  /** Every replica, learners included, durably holds the log up to here; 0 unless this replica leads. `progress()` without its objects. */
  matchedByAll(): number {
    return this.#leadership?.matchedByAll() ?? 0
  }

  /** The log from here on is wanted by a follower that fetches a snapshot; undefined: by none, as far as this replica knows. */
  lowestPendingSnapshot(): number | undefined {
    return this.#leadership?.lowestPendingSnapshot()
  }

  /** `at`: the number of the tick, the same for all groups of a process; by default one more than the last. A quiet replica needs none. */
  tick(at = this.#at + 1): void {
    this.#at = at
    if (this.quiet) return
    this.#promise.tick()
    this.#forwarded.tick(this.leader, this.term)
    if (this.#leadership === undefined) this.#elections.tick()
    else if (!this.#leadership.tick(at)) this.#roles.stepDown()
    else if (this.#leadership.isQuiet) this.#roles.becomeQuiet()
  }

  /** Starts an election now. With PreVote that disturbs nobody who still hears a leader. */
  campaign(): void {
    this.#elections.maybeCampaign()
  }

  get quiet(): boolean {
    return this.#roles.quiet
  }

  /**
   * Ends the quiet, here and by a message at the leader or its followers. For a follower the leader's node was not heard for `silentTicks`: as
   * if its heartbeats had failed to come for as long. Whatever else reaches a quiet replica wakes it by itself, as if it had heard the leader just now.
   */
  wake(silentTicks = 0): void {
    this.#roles.wake(silentTicks)
  }

  /**
   * The process in which `leader` led is gone: what held this replica to it holds no more, and it campaigns after `delayTicks`. Not to be called on a
   * guess: who still hears the leader refuses the pre-vote, but this replica would help others to replace it.
   */
  leaderLost(leader: ReplicaNumber, delayTicks: number): void {
    if (leader === NONE || this.leader !== leader || this.role !== 'follower') return
    this.forgetLeader()
    this.#timer.dueIn(delayTicks)
  }

  /**
   * False: this replica does not stand for election, withdraws where it does, and takes no office that is handed to it, until true is said
   * again. It goes on voting and, where it leads, leading: who wants that to end transfers the leadership.
   */
  allowCampaign(allowed: boolean): void {
    this.#elections.allow(allowed)
  }

  /**
   * Hands the office to the voter `to`: brings its log up to date, then makes it campaign at once, past the leases of the others (thesis, 3.10).
   * Until this replica follows, or the transfer is given up (`transferee`) because the target refused or an election timeout passed, nothing is
   * proposed. A transfer to another target replaces one under way, one to this replica itself ends it.
   */
  transferLeadership(to: ReplicaNumber): TransferResult {
    if (this.#leadership === undefined) return 'not-leader'
    if (!this.membership.conf.voters.includes(to)) return 'not-a-voter'
    this.wake()
    this.#leadership.transferTo(to)
    return to === this.#self ? 'leading' : 'begun'
  }

  /** To whom this leader is handing its office; NONE: to nobody. */
  get transferee(): ReplicaNumber {
    return this.#leadership?.transferee ?? NONE
  }

  /**
   * False: the state machine lacks what an entry needs, so this replica must not lead. It steps down, and does not campaign until it is told
   * otherwise; it votes and appends as before.
   */
  setFit(fit: boolean): void {
    this.#elections.setFit(fit)
  }

  propose(datas: readonly Uint8Array[]): ProposeResult {
    if (this.#leadership === undefined) return { ok: false, reason: 'not-leader', leader: this.leader }
    if (this.transferee !== NONE) return { ok: false, reason: 'transferring', leader: this.#self }
    assert(datas.length > 0, 'a proposal has at least one entry')
    this.wake()
    const firstIndex = this.#leadership.propose(datas)
    if (firstIndex === undefined) return { ok: false, reason: 'overloaded', leader: this.#self }
    return { ok: true, term: this.term, firstIndex }
  }

  /**
   * Appends a change of the membership, one at a time. It takes effect where it is applied (`applyConfChange`), also here. `context` travels
   * with it and means nothing to the core.
   */
  proposeConfChange(change: ConfChange, context: Uint8Array): ConfChangeResult {
    if (this.#leadership === undefined) return { ok: false, reason: 'not-leader', leader: this.leader }
    if (this.transferee !== NONE) return { ok: false, reason: 'transferring', leader: this.#self }
    const refusal = this.#leadership.refusalOf(change)
    if (refusal !== undefined) return { ok: false, reason: refusal, leader: this.#self }
    this.wake()
    return { ok: true, term: this.term, firstIndex: this.#leadership.proposeConfChange(encodeConfChange(change, context)) }
  }

  /**
   * Takes the change of a committed entry: once for each, in the order of the log, in the same turn as the `applied` that covers it. Returns the
   * configuration that holds from now on.
   */
  applyConfChange(change: ConfChange): ConfState {
    const outcome = changeConf(this.membership.conf, change)
    assert(outcome.ok, `a committed membership change cannot be applied: ${outcome.ok ? '' : outcome.reason}`)
    this.#roles.enterMembership(outcome.conf)
    return outcome.conf
  }

  /**
   * A follower forgets whom it follows, as if it had not heard of its leader for an election timeout: it may grant votes at once. Term and election
   * clock go on. For a driver that knows that the leader is gone.
   */
  forgetLeader(): void {
    this.#roles.forgetLeader()
  }

  /**
   * Asks for an index to read at. A ReadState answers once a quorum has confirmed a heartbeat round sent after this call, or lostReads.
   * False: not the leader. The caller bounds how many it has open.
   */
  readIndex(context: number): boolean {
    if (this.#leadership === undefined) return false
    this.wake()
    this.#leadership.readIndex(context)
    return true
  }

  /**
   * The same from a replica that follows: the leader is asked, and the read may be served here at the index that it names. False: no leader is
   * known here.
   */
  forwardReadIndex(context: number): boolean {
    if (this.role !== 'follower' || this.leader === NONE) return false
    this.wake()
    this.#forwarded.ask(context, this.leader, this.term)
    return true
  }

  /** What a driver's lease rests on; undefined unless this replica leads. */
  get office(): LeaseBasis | undefined {
    return this.#leadership?.leaseBasis
  }

  /** The entries of a Ready that ended with (term, index) are durable. Once per Ready with entries, in their order. */
  appended(term: number, index: number): void {
    if (this.#log.appended(term, index)) this.#leadership?.appended()
  }

  /** The state machine stands at `index`. */
  applied(index: number): void {
    this.#log.appliedTo(index)
    this.#leadership?.appliedTo(index)
    this.#elections.maybeTakeOffice()
  }

  /** What `LogView.entries` could not give at once is in memory now. */
  entriesLoaded(): void {
    this.#leadership?.entriesLoaded()
  }

  /** Messages to `peer` may have been lost. */
  reportUnreachable(peer: ReplicaNumber): void {
    if (this.#leadership !== undefined) this.wake()
    this.#leadership?.reportUnreachable(peer)
  }

  /** `peer` has taken the snapshot that it was offered, or could not. */
  reportSnapshot(peer: ReplicaNumber, ok: boolean): void {
    this.#leadership?.reportSnapshot(peer, ok)
  }

  /**
   * The state machine now stands, durably, at `meta`: the offered snapshot, a newer one, or one that was got without an offer. True: the log did not hold that entry;
   * the driver resets it in this same turn to begin, empty, behind `meta`.
   */
  snapshotInstalled(meta: SnapshotMeta): boolean {
    assert(this.#leadership === undefined, 'a leader installs no snapshot')
    this.wake()
    if (meta.index <= this.#log.applied) {
      this.snapshotFailed()
      return false
    }
    // Got from one in a newer term: to stay in an older one would let its leader count entries here that are not its own.
    if (meta.term > this.term) this.#roles.becomeFollower(meta.term, NONE)
    const reset = this.#following.installed(meta, this.leader, this.term)
    this.#roles.enterMembership(meta.conf)
    this.#readyMaker.requireSync()
    return reset
  }

  /** The offered snapshot could not be had, or is no longer wanted. The leader may offer another. */
  snapshotFailed(): void {
    this.#following.failed(this.leader, this.term)
  }

  /** Takes one message. One that is for another replica, of an older term or from a stranger does no harm. */
  step(message: Message): void {
    if (message.to !== this.#self || message.term < 1) return
    if (message.from === this.#self && message.type !== MessageType.VoteResponse) return
    this.#roles.maybeWakeBy(message)
    if (this.#gate.admit(message)) this.#dispatch(message)
  }

  hasReady(): boolean {
    return this.#readyMaker.hasNews
  }

  ready(): Ready {
    return this.#readyMaker.make()
  }

  /** While this replica leads. */
  get #leadership(): Leadership | undefined {
    return this.#roles.leadership
  }

  #dispatch(message: Message): void {
    switch (message.type) {
      case MessageType.PreVote:
      case MessageType.Vote:
        if (this.#ballot.answer(message, this.leader)) this.#timer.reset()
        break
      case MessageType.PreVoteResponse:
      case MessageType.VoteResponse:
        this.#elections.handleVoteResponse(message)
        break
      case MessageType.Append:
        this.#roles.follow(message.from)
        // Entries tell changes of the membership, not what it was before them.
        if (this.membership.isEmpty) this.#following.askForSnapshot(message)
        else this.#following.handleAppend(message)
        break
      case MessageType.Heartbeat:
        this.#roles.follow(message.from)
        // Who still wants to hand its office over says so again when the heartbeat is answered.
        this.#roles.offerSettled()
        this.#following.handleHeartbeat(message)
        break
      case MessageType.Snapshot:
        this.#roles.follow(message.from)
        this.#following.handleSnapshot(message)
        break
      case MessageType.AppendResponse:
        this.#leadership?.handleAppendResponse(message)
        break
      case MessageType.HeartbeatResponse:
        this.#leadership?.handleHeartbeatResponse(message)
        break
      case MessageType.ReadIndex:
        this.#leadership?.handleReadIndex(message)
        break
      case MessageType.ReadIndexResponse:
        if (message.from === this.leader) this.#forwarded.handleResponse(message)
        break
      case MessageType.SnapshotStatus:
        this.#leadership?.handleSnapshotStatus(message)
        break
      case MessageType.Quiesce:
        this.#roles.follow(message.from)
        this.#roles.handleQuiesce(message, this.#elections.isFit && this.#forwarded.isEmpty)
        break
      case MessageType.QuiesceResponse:
        this.#leadership?.handleQuiesceResponse(message)
        break
      case MessageType.TimeoutNow:
        if (message.reject) this.#leadership?.handleTransferRefused(message)
        else this.#elections.handleTimeoutNow(message)
        break
    }
  }
}
