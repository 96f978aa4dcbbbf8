import type { Campaign } from './campaign.ts'
import type { ElectionTimer } from './election-timer.ts'
import type { Following } from './following.ts'
import { draftMessage, type Outbox } from './message.ts'
import type { RaftLog } from './raft-log.ts'
import type { Roles } from './roles.ts'
import { type CoreOptions, type Message, MessageType, NONE, type ReplicaNumber } from './types.ts'
import type { VotePromise } from './vote-promise.ts'

interface ElectionParts {
  readonly options: Pick<CoreOptions, 'self' | 'preVote'>
  readonly log: RaftLog
  readonly outbox: Outbox
  readonly roles: Roles
  readonly following: Following
  readonly timer: ElectionTimer
  readonly promise: VotePromise
}

/**
 * Whether and when this replica stands for election, and what comes of it. It stands only as a voter whose state machine is whole and not being
 * replaced, that knows the voters as of what is committed, and that may; by itself after a timeout, and not while its promise to a leader holds.
 */
export class Elections {
  readonly #self: ReplicaNumber
  readonly #preVote: boolean
  readonly #log: RaftLog
  readonly #outbox: Outbox
  readonly #roles: Roles
  readonly #following: Following
  readonly #timer: ElectionTimer
  readonly #promise: VotePromise
  /** The state machine has what its entries need. */
  #fit = true
  /** The driver wants it to, or has nothing against it. */
  #allowed = true

  constructor(parts: ElectionParts) {
    this.#self = parts.options.self
    this.#preVote = parts.options.preVote
    this.#log = parts.log
    this.#outbox = parts.outbox
    this.#roles = parts.roles
    this.#following = parts.following
    this.#timer = parts.timer
    this.#promise = parts.promise
  }

  get isFit(): boolean {
    return this.#fit
  }

  /** See `Raft.setFit`. */
  setFit(fit: boolean): void {
    this.#fit = fit
    if (!fit && this.#roles.role !== 'follower') this.#roles.stepDown()
  }

  /** See `Raft.allowCampaign`. */
  allow(allowed: boolean): void {
    this.#allowed = allowed
    if (!allowed && this.#roles.campaign !== undefined) this.#roles.stepDown()
  }

  /** For a replica that does not lead. */
  tick(): void {
    if (this.#timer.tick()) this.maybeCampaign()
  }

  maybeCampaign(): void {
    if (this.#roles.leadership !== undefined || !this.#promotable || this.#promise.holds) return
    if (this.#preVote) this.#preCampaign()
    else this.#campaign(false)
  }

  /** The leader wants this replica to lead. */
  handleTimeoutNow(message: Message): void {
    if (this.#roles.role !== 'follower') return
    this.#roles.offered(message.from)
    this.maybeTakeOffice()
  }

  /** If it is offered, and the voters are known for sure: no pre-vote, since nobody is disturbed who does not want to be. */
  maybeTakeOffice(): void {
    const leader = this.#roles.offeredBy
    if (leader === NONE || this.#log.hasUnappliedConfChange) return
    this.#roles.offerSettled()
    if (this.#promotable) {
      this.#campaign(true)
    } else {
      const answer = draftMessage(MessageType.TimeoutNow, this.#self, leader, this.#roles.term)
      answer.reject = true
      this.#outbox.send(answer)
    }
  }

  handleVoteResponse(message: Message): void {
    this.#learnCommit(message)
    const { campaign } = this.#roles
    if (campaign?.isAnsweredBy(message)) this.#count(campaign, message.from, !message.reject)
  }

  get #promotable(): boolean {
    return (
      this.#allowed &&
      this.#fit &&
      !this.#following.isInstalling &&
      this.#roles.membership.isVoter(this.#self) &&
      !this.#log.hasUnappliedConfChange
    )
  }

  #preCampaign(): void {
    const campaign = this.#roles.becomePreCandidate()
    campaign.ask(this.#log, this.#outbox)
    // Nothing is promised by a pre-vote, so its own counts at once.
    this.#count(campaign, this.#self, true)
  }

  /** `forced`: at the leader's own wish, so that no lease holds the votes back. */
  #campaign(forced: boolean): void {
    const campaign = this.#roles.becomeCandidate(forced)
    campaign.ask(this.#log, this.#outbox)
    // Its own vote counts only when it is durable, like everyone's.
    this.#outbox.sendAfterAppend(draftMessage(MessageType.VoteResponse, this.#self, this.#self, this.#roles.term))
  }

  #count(campaign: Campaign, from: ReplicaNumber, granted: boolean): void {
    const result = campaign.count(from, granted)
    if (result === 'lost') this.#roles.stepDown()
    else if (result === 'won' && this.#roles.role === 'preCandidate') this.#campaign(false)
    else if (result === 'won') this.#roles.becomeLeader()
  }

  /**
   * A committed entry of the answerer's that is in this log too is committed here as well. Else a group could be stuck: a leader whose removal is
   * committed, and who alone knows it, asks for no votes and has too long a log to give its own, and the others need it until they know.
   */
  #learnCommit({ index, logTerm }: Message): void {
    if (this.#roles.leadership !== undefined || index <= this.#log.commit || this.#log.term(index) !== logTerm) return
    this.#log.commitTo(index)
    if (this.#roles.campaign !== undefined && this.#log.hasUnappliedConfChange) this.#roles.stepDown()
  }
}
