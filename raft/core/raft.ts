import { assert } from '../../base/assert.ts'
import { Announced } from './announced.ts'
import { Ballot } from './ballot.ts'
import { Campaign } from './campaign.ts'
import { encodeConfChange } from './conf-change-codec.ts'
import { changeConf } from './conf-changer.ts'
import { ElectionTimer } from './election-timer.ts'
import { Following } from './following.ts'
import { ForwardedReads } from './forwarded-reads.ts'
import { Leadership } from './leadership.ts'
import { Membership } from './membership.ts'
import { draftMessage, Outbox } from './message.ts'
import { leavesQuiet } from './quiescence.ts'
import { RaftLog } from './raft-log.ts'
import { ReadAnswers } from './read-answers.ts'
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
  type SoftState,
  type TransferResult,
} from './types.ts'
import { VotePromise } from './vote-promise.ts'

/** One replica of one group: synchronous, without clock, disk or network. `raft/README.md` states what its driver owes it. */
export class Raft {
  readonly #options: CoreOptions
  readonly #self: ReplicaNumber
  readonly #log: RaftLog
  readonly #outbox = new Outbox()
  readonly #following: Following
  readonly #timer: ElectionTimer
  #membership: Membership

  readonly #ballot: Ballot
  /** The state machine has what its entries need: this replica may lead. */
  #fit = true
  #role: Role = 'follower'
  #leader: ReplicaNumber = NONE
  /** While this replica leads. */
  #leadership: Leadership | undefined
  #mayCampaign = true
  /** The leader that told this replica to campaign, since its last heartbeat; until the voters are known for sure it waits. */
  #offeredBy: ReplicaNumber = NONE
  /** While this replica is a (pre-)candidate. */
  #campaign: Campaign | undefined
  /** Neither ticks nor sends until it is woken. A leader: all its followers have said the same. */
  #quiet = false
  /** The newest tick. */
  #at = 0

  readonly #reads = new ReadAnswers()
  readonly #forwarded: ForwardedReads
  readonly #promise: VotePromise

  readonly #announced: Announced
  /** Whatever the next Ready says, it must be durable before what came of it may leave. */
  #mustSync = false

  constructor(options: CoreOptions) {
    assert(options.self >= 1, 'a replica number is 1 or more')
    assert(options.heartbeatTicks >= 1 && options.electionTicks > options.heartbeatTicks, 'electionTicks must exceed heartbeatTicks')
    this.#options = options
    this.#self = options.self
    this.#membership = new Membership(options.conf)
    this.#log = new RaftLog(options.log, options.hardState.commit, options.applied)
    this.#ballot = new Ballot(this.#self, options.hardState, this.#log, this.#outbox)
    this.#promise = new VotePromise(options)
    this.#following = new Following(this.#self, this.#log, this.#outbox, this.#promise.isGiven)
    this.#forwarded = new ForwardedReads(options, this.#outbox, this.#reads)
    this.#timer = new ElectionTimer(options.electionTicks, options.random)
    const softState: SoftState = { role: 'follower', leader: NONE, term: options.hardState.term }
    this.#announced = new Announced(options.hardState, softState, this.#log.applied)
  }

  get role(): Role {
    return this.#role
  }

  get leader(): ReplicaNumber {
    return this.#leader
  }

  get term(): number {
    return this.#ballot.term
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
    return this.#membership
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
    if (this.#quiet) return
    this.#promise.tick()
    this.#forwarded.tick(this.#leader, this.#term)
    if (this.#leadership !== undefined) {
      if (!this.#leadership.tick(at)) this.#becomeFollower(this.#term, NONE)
      else this.#quiet = this.#leadership.isQuiet
      return
    }
    if (this.#timer.tick() && this.#promotable) this.campaign()
  }

  /** Starts an election now. With PreVote that disturbs nobody who still hears a leader. */
  campaign(): void {
    if (this.#leadership !== undefined || !this.#promotable || this.#promise.holds) return
    if (this.#options.preVote) this.#becomePreCandidate()
    else this.#becomeCandidate()
  }

  get quiet(): boolean {
    return this.#quiet
  }

  /**
   * Ends the quiet, here and by a message at the leader or its followers. For a follower the leader's node was not heard for `silentTicks`: as
   * if its heartbeats had failed to come for as long. Whatever else reaches a quiet replica wakes it by itself, as if it had heard the leader just now.
   */
  wake(silentTicks = 0): void {
    if (!this.#quiet) return
    this.#quiet = false
    if (this.#leadership !== undefined) {
      this.#leadership.wake()
    } else {
      this.#timer.resume(silentTicks)
      this.#promise.tick(silentTicks)
      if (this.#leader !== NONE) this.#following.sayQuiet(this.#leader, this.#term, 0, false)
    }
  }

  /**
   * The process in which `leader` led is gone: what held this replica to it holds no more, and it campaigns after `delayTicks`. Not to be called on a
   * guess: who still hears the leader refuses the pre-vote, but this replica would help others to replace it.
   */
  leaderLost(leader: ReplicaNumber, delayTicks: number): void {
    if (leader === NONE || this.#leader !== leader || this.#role !== 'follower') return
    this.forgetLeader()
    this.#timer.dueIn(delayTicks)
  }

  /**
   * False: this replica does not stand for election, withdraws where it does, and takes no office that is handed to it, until true is said
   * again. It goes on voting and, where it leads, leading: who wants that to end transfers the leadership.
   */
  allowCampaign(allowed: boolean): void {
    this.#mayCampaign = allowed
    if (!allowed && this.#campaign !== undefined) this.#becomeFollower(this.#term, NONE)
  }

  /**
   * Hands the office to the voter `to`: brings its log up to date, then makes it campaign at once, past the leases of the others (thesis, 3.10).
   * Until this replica follows, or the transfer is given up (`transferee`) because the target refused or an election timeout passed, nothing is
   * proposed. A transfer to another target replaces one under way, one to this replica itself ends it.
   */
  transferLeadership(to: ReplicaNumber): TransferResult {
    if (this.#leadership === undefined) return 'not-leader'
    if (!this.#membership.conf.voters.includes(to)) return 'not-a-voter'
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
    this.#fit = fit
    if (!fit && this.#role !== 'follower') this.#becomeFollower(this.#term, NONE)
  }

  propose(datas: readonly Uint8Array[]): ProposeResult {
    if (this.#leadership === undefined) return { ok: false, reason: 'not-leader', leader: this.#leader }
    if (this.transferee !== NONE) return { ok: false, reason: 'transferring', leader: this.#self }
    assert(datas.length > 0, 'a proposal has at least one entry')
    this.wake()
    const firstIndex = this.#leadership.propose(datas)
    if (firstIndex === undefined) return { ok: false, reason: 'overloaded', leader: this.#self }
    return { ok: true, term: this.#term, firstIndex }
  }

  /**
   * Appends a change of the membership, one at a time. It takes effect where it is applied (`applyConfChange`), also here. `context` travels
   * with it and means nothing to the core.
   */
  proposeConfChange(change: ConfChange, context: Uint8Array): ConfChangeResult {
    if (this.#leadership === undefined) return { ok: false, reason: 'not-leader', leader: this.#leader }
    if (this.transferee !== NONE) return { ok: false, reason: 'transferring', leader: this.#self }
    const refusal = this.#leadership.refusalOf(change)
    if (refusal !== undefined) return { ok: false, reason: refusal, leader: this.#self }
    this.wake()
    return { ok: true, term: this.#term, firstIndex: this.#leadership.proposeConfChange(encodeConfChange(change, context)) }
  }

  /**
   * Takes the change of a committed entry: once for each, in the order of the log, in the same turn as the `applied` that covers it. Returns the
   * configuration that holds from now on.
   */
  applyConfChange(change: ConfChange): ConfState {
    const outcome = changeConf(this.#membership.conf, change)
    assert(outcome.ok, `a committed membership change cannot be applied: ${outcome.ok ? '' : outcome.reason}`)
    this.#enterMembership(outcome.conf)
    return outcome.conf
  }

  /**
   * A follower forgets whom it follows, as if it had not heard of its leader for an election timeout: it may grant votes at once. Term and election
   * clock go on. For a driver that knows that the leader is gone.
   */
  forgetLeader(): void {
    if (this.#role !== 'follower') return
    this.#forwarded.loseAll()
    this.#leader = NONE
    this.#quiet = false
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
    if (this.#role !== 'follower' || this.#leader === NONE) return false
    this.wake()
    this.#forwarded.ask(context, this.#leader, this.#term)
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
    if (this.#offeredBy !== NONE) this.#maybeTakeOffice()
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
    const reset = this.#following.installed(meta, this.#leader, this.#term)
    this.#enterMembership(meta.conf)
    this.#mustSync = true
    return reset
  }

  /** The offered snapshot could not be had, or is no longer wanted. The leader may offer another. */
  snapshotFailed(): void {
    this.#following.failed(this.#leader, this.#term)
  }

  /** Takes one message. One that is for another replica, of an older term or from a stranger does no harm. */
  step(message: Message): void {
    if (message.to !== this.#self || message.term < 1) return
    if (message.from === this.#self && message.type !== MessageType.VoteResponse) return
    if (this.#quiet) this.#maybeWakeBy(message)
    if (message.term < this.#term) this.#ballot.answerOlderTerm(message)
    else if (this.#promise.forbids(message)) return
    else if (message.term === this.#term || this.#enterNewerTerm(message)) this.#dispatch(message)
  }

  hasReady(): boolean {
    return (
      !this.#outbox.isEmpty ||
      this.#log.hasUnhanded ||
      this.#leadership?.hasWork === true ||
      this.#announced.commitMoved(this.#log.commit) ||
      this.#following.offer !== undefined ||
      !this.#reads.isEmpty ||
      this.#mustSync ||
      this.#hardStateMoved ||
      this.#softStateMoved
    )
  }

  ready(): Ready {
    this.#leadership?.flush()
    const { term, vote } = this.#ballot
    const { commit } = this.#log
    const hardState = this.#hardStateMoved ? { term, vote, commit } : undefined
    const softState = this.#softStateMoved ? { role: this.#role, leader: this.#leader, term } : undefined
    const entries = this.#log.handOut()
    const ready: Ready = {
      messages: this.#outbox.takeAtOnce(),
      messagesAfterAppend: this.#outbox.takeAfterAppend(),
      hardState,
      mustSync: this.#mustSync || entries.length > 0 || this.#announced.ballotMoved(term, vote),
      entries,
      snapshot: this.#following.offer,
      commit,
      readStates: this.#reads.takeStates(),
      lostReads: this.#reads.takeLost(),
      softState,
    }
    this.#announced.say(hardState, softState, commit)
    this.#mustSync = false
    this.#following.offerShown()
    return ready
  }

  // ---- terms ----

  get #term(): number {
    return this.#ballot.term
  }

  /** Returns false if the message is done with. */
  #enterNewerTerm(message: Message): boolean {
    switch (message.type) {
      case MessageType.PreVote:
        return !this.#heldByLease(message)
      case MessageType.PreVoteResponse:
        // A grant carries the term that was asked for, which nobody is in yet.
        if (!message.reject) return true
        break
      case MessageType.Vote:
        if (this.#heldByLease(message)) return false
        break
    }
    this.#becomeFollower(message.term, isFromLeader(message) ? message.from : NONE)
    return true
  }

  /** Whoever hears a leader helps nobody to replace it, so that a replica that was cut off does not disturb the others (thesis, 4.2.3). */
  #heldByLease(message: Message): boolean {
    const forced = message.context === 1
    if (forced || !this.#options.checkQuorum) return false
    return this.#leader !== NONE && (this.#leadership !== undefined || this.#timer.withinMinimum)
  }

  #dispatch(message: Message): void {
    switch (message.type) {
      case MessageType.PreVote:
      case MessageType.Vote:
        if (this.#ballot.answer(message, this.#leader)) this.#timer.reset()
        break
      case MessageType.PreVoteResponse:
      case MessageType.VoteResponse:
        this.#handleVoteResponse(message)
        break
      case MessageType.Append:
        this.#follow(message.from)
        // Entries tell changes of the membership, not what it was before them.
        if (this.#membership.isEmpty) this.#following.askForSnapshot(message)
        else this.#following.handleAppend(message)
        break
      case MessageType.Heartbeat:
        this.#follow(message.from)
        // Who still wants to hand its office over says so again when the heartbeat is answered.
        this.#offeredBy = NONE
        this.#following.handleHeartbeat(message)
        break
      case MessageType.Snapshot:
        this.#follow(message.from)
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
        if (message.from === this.#leader) this.#forwarded.handleResponse(message)
        break
      case MessageType.SnapshotStatus:
        this.#leadership?.handleSnapshotStatus(message)
        break
      case MessageType.Quiesce:
        this.#follow(message.from)
        this.#handleQuiesce(message)
        break
      case MessageType.QuiesceResponse:
        this.#leadership?.handleQuiesceResponse(message)
        break
      case MessageType.TimeoutNow:
        if (message.reject) this.#leadership?.handleTransferRefused(message)
        else this.#handleTimeoutNow(message)
        break
    }
  }

  // ---- roles ----

  /** A voter whose state machine is whole and not being replaced, that knows the voters as of what is committed, and that may. */
  get #promotable(): boolean {
    return (
      this.#mayCampaign &&
      this.#fit &&
      !this.#following.isInstalling &&
      this.#membership.isVoter(this.#self) &&
      !this.#log.hasUnappliedConfChange
    )
  }

  #becomeFollower(term: number, leader: ReplicaNumber): void {
    this.#leave('follower', leader)
    this.#ballot.termTo(term)
  }

  #becomePreCandidate(): void {
    this.#leave('preCandidate', NONE)
    this.#campaign = new Campaign(this.#self, MessageType.PreVote, this.#term + 1, this.#membership)
    this.#campaign.ask(this.#log, this.#outbox, false)
    // Nothing is promised by a pre-vote, so its own counts at once.
    this.#countVote(this.#campaign, this.#self, true)
  }

  /** `forced`: at the leader's own wish, so that no lease holds the votes back. */
  #becomeCandidate(forced = false): void {
    this.#leave('candidate', NONE)
    this.#ballot.stand()
    this.#campaign = new Campaign(this.#self, MessageType.Vote, this.#term, this.#membership)
    this.#campaign.ask(this.#log, this.#outbox, forced)
    // Its own vote counts only when it is durable, like everyone's.
    this.#outbox.sendAfterAppend(draftMessage(MessageType.VoteResponse, this.#self, this.#self, this.#term))
  }

  #becomeLeader(): void {
    this.#leave('leader', this.#self)
    this.#leadership = new Leadership(this.#options, this.#term, this.#log, this.#outbox, this.#reads, this.#membership)
  }

  #leave(role: Role, leader: ReplicaNumber): void {
    this.#leadership?.end()
    this.#leadership = undefined
    this.#forwarded.loseAll()
    this.#role = role
    this.#leader = leader
    this.#campaign = undefined
    this.#offeredBy = NONE
    this.#quiet = false
    this.#timer.reset()
  }

  // ---- elections ----

  #handleTimeoutNow(message: Message): void {
    if (this.#role !== 'follower') return
    this.#offeredBy = message.from
    this.#maybeTakeOffice()
  }

  /** The leader wants this replica to lead: no pre-vote, since nobody is disturbed who does not want to be. */
  #maybeTakeOffice(): void {
    if (this.#log.hasUnappliedConfChange) return
    const leader = this.#offeredBy
    this.#offeredBy = NONE
    if (this.#promotable) {
      this.#becomeCandidate(true)
    } else {
      const answer = draftMessage(MessageType.TimeoutNow, this.#self, leader, this.#term)
      answer.reject = true
      this.#outbox.send(answer)
    }
  }

  #handleVoteResponse(message: Message): void {
    this.#learnCommit(message)
    if (this.#campaign?.isAnsweredBy(message)) this.#countVote(this.#campaign, message.from, !message.reject)
  }

  /**
   * A committed entry of the answerer's that is in this log too is committed here as well. Else a group could be stuck: a leader whose removal is
   * committed, and who alone knows it, asks for no votes and has too long a log to give its own, and the others need it until they know.
   */
  #learnCommit({ index, logTerm }: Message): void {
    if (this.#leadership !== undefined || index <= this.#log.commit || this.#log.term(index) !== logTerm) return
    this.#log.commitTo(index)
    if (this.#campaign !== undefined && this.#log.hasUnappliedConfChange) this.#becomeFollower(this.#term, NONE)
  }

  #countVote(campaign: Campaign, from: ReplicaNumber, granted: boolean): void {
    const result = campaign.count(from, granted)
    if (result === 'lost') this.#becomeFollower(this.#term, NONE)
    else if (result === 'won' && this.#role === 'preCandidate') this.#becomeCandidate()
    else if (result === 'won') this.#becomeLeader()
  }

  // ---- membership ----

  #enterMembership(conf: ConfState): void {
    this.#membership = new Membership(conf)
    // Votes were asked of others.
    if (this.#campaign !== undefined) this.#becomeFollower(this.#term, NONE)
    if (this.#leadership === undefined) return
    this.#leadership.changeMembership(this.#membership)
    if (this.#membership.isVoter(this.#self) || !this.#options.stepDownOnRemoval) return
    this.#leadership.sayFarewell()
    this.#becomeFollower(this.#term, NONE)
  }

  // ---- following ----

  /** `leader` leads this term. */
  #follow(leader: ReplicaNumber): void {
    assert(this.#leadership === undefined, `replica ${leader} leads term ${this.#term}, which this replica leads`)
    assert(this.#leader === NONE || this.#leader === leader, `replicas ${this.#leader} and ${leader} both lead term ${this.#term}`)
    if (this.#role !== 'follower') this.#leave('follower', leader)
    this.#leader = leader
    this.#timer.reset()
    this.#promise.renew()
  }

  #handleQuiesce(message: Message): void {
    const wasQuiet = this.#quiet
    this.#quiet = this.#following.handleQuiesce(message, this.#fit && this.#forwarded.isEmpty)
    if (wasQuiet && !this.#quiet) this.#timer.reset()
  }

  /** The leader knows that it woke this replica; anybody else may have woken it alone, and then it asks the leader for heartbeats. */
  #maybeWakeBy(message: Message): void {
    if (leavesQuiet(message)) return
    if (this.#leadership === undefined && message.from === this.#leader) this.#quiet = false
    else this.wake()
  }

  // ---- what the next Ready says ----

  get #hardStateMoved(): boolean {
    return this.#announced.hardStateMoved(this.#term, this.#ballot.vote, this.#log.commit)
  }

  get #softStateMoved(): boolean {
    return this.#announced.softStateMoved(this.#role, this.#leader, this.#term)
  }
}

/** Only who leads the message's term sends it. */
function isFromLeader({ type }: Message): boolean {
  return type === MessageType.Append || type === MessageType.Heartbeat || type === MessageType.Snapshot || type === MessageType.Quiesce
}
