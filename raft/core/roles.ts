import { assert } from '../../base/assert.ts'
import type { Ballot } from './ballot.ts'
import { Campaign } from './campaign.ts'
import type { ElectionTimer } from './election-timer.ts'
import type { Following } from './following.ts'
import type { ForwardedReads } from './forwarded-reads.ts'
import { Leadership } from './leadership.ts'
import { Membership } from './membership.ts'
import type { Outbox } from './message.ts'
import { leavesQuiet } from './quiescence.ts'
import type { RaftLog } from './raft-log.ts'
import type { ReadAnswers } from './read-answers.ts'
import { type ConfState, type CoreOptions, type Message, MessageType, NONE, type ReplicaNumber, type Role } from './types.ts'
import type { VotePromise } from './vote-promise.ts'

interface RoleParts {
  readonly options: CoreOptions
  readonly log: RaftLog
  readonly outbox: Outbox
  readonly reads: ReadAnswers
  readonly forwarded: ForwardedReads
  readonly following: Following
  readonly ballot: Ballot
  readonly timer: ElectionTimer
  readonly promise: VotePromise
}

/**
 * Which role a replica has in its group, whom it follows, and how one role becomes another. `leadership` is there exactly while it leads, then it
 * is its own leader; `campaign` exactly while it is a (pre-)candidate, then nobody is. What belongs to a role ends with it: reads that wait
 * for an answer, an offer of the office, the quiet; and the election timer begins anew.
 */
export class Roles {
  readonly #parts: RoleParts
  readonly #self: ReplicaNumber
  #membership: Membership
  #role: Role = 'follower'
  #leader: ReplicaNumber = NONE
  #leadership: Leadership | undefined
  #campaign: Campaign | undefined
  #offeredBy: ReplicaNumber = NONE
  #quiet = false

  constructor(parts: RoleParts) {
    this.#parts = parts
    this.#self = parts.options.self
    this.#membership = new Membership(parts.options.conf)
  }

  get role(): Role {
    return this.#role
  }

  /** NONE: nobody is known to lead. */
  get leader(): ReplicaNumber {
    return this.#leader
  }

  get leadership(): Leadership | undefined {
    return this.#leadership
  }

  get campaign(): Campaign | undefined {
    return this.#campaign
  }

  /** As of what is applied here. */
  get membership(): Membership {
    return this.#membership
  }

  get term(): number {
    return this.#parts.ballot.term
  }

  // ---- changes of role ----

  /** Of `term`, or of this one, if that is newer. `leader`: who is known to lead it. */
  becomeFollower(term: number, leader: ReplicaNumber): void {
    this.#leave('follower', leader)
    this.#parts.ballot.termTo(term)
  }

  /** No office, no candidacy and no leader any more, in the same term. */
  stepDown(): void {
    this.#leave('follower', NONE)
  }

  becomePreCandidate(): Campaign {
    this.#leave('preCandidate', NONE)
    this.#campaign = new Campaign(this.#self, MessageType.PreVote, this.term + 1, this.#membership, false)
    return this.#campaign
  }

  becomeCandidate(isForced: boolean): Campaign {
    this.#leave('candidate', NONE)
    this.#parts.ballot.stand()
    this.#campaign = new Campaign(this.#self, MessageType.Vote, this.term, this.#membership, isForced)
    return this.#campaign
  }

  becomeLeader(): void {
    this.#leave('leader', this.#self)
    const { options, log, outbox, reads } = this.#parts
    this.#leadership = new Leadership(options, this.term, log, outbox, reads, this.#membership)
  }

  #leave(role: Role, leader: ReplicaNumber): void {
    this.#leadership?.end()
    this.#leadership = undefined
    this.#parts.forwarded.loseAll()
    this.#role = role
    this.#leader = leader
    this.#campaign = undefined
    this.#offeredBy = NONE
    this.#quiet = false
    this.#parts.timer.reset()
  }

  /** The configuration applied here is another. A leader that it does not name says farewell. */
  enterMembership(conf: ConfState): void {
    this.#membership = new Membership(conf)
    // Votes were asked of others.
    if (this.#campaign !== undefined) this.stepDown()
    if (this.#leadership === undefined) return
    this.#leadership.changeMembership(this.#membership)
    if (this.#membership.isVoter(this.#self) || !this.#parts.options.stepDownOnRemoval) return
    this.#leadership.sayFarewell()
    this.stepDown()
  }

  // ---- following ----

  /** `leader` leads this term, and was heard now. */
  follow(leader: ReplicaNumber): void {
    assert(this.#leadership === undefined, `replica ${leader} leads term ${this.term}, which this replica leads`)
    assert(this.#leader === NONE || this.#leader === leader, `replicas ${this.#leader} and ${leader} both lead term ${this.term}`)
    if (this.#role !== 'follower') this.#leave('follower', leader)
    this.#leader = leader
    this.#parts.timer.reset()
    this.#parts.promise.renew()
  }

  /** See `Raft.forgetLeader`. */
  forgetLeader(): void {
    if (this.#role !== 'follower') return
    this.#parts.forwarded.loseAll()
    this.#leader = NONE
    this.#quiet = false
  }

  /** The leader that told this follower to campaign, since its last heartbeat; NONE: none did, or that is settled. */
  get offeredBy(): ReplicaNumber {
    return this.#offeredBy
  }

  offered(leader: ReplicaNumber): void {
    this.#offeredBy = leader
  }

  /** It was taken, or refused, or is no longer meant. */
  offerSettled(): void {
    this.#offeredBy = NONE
  }

  // ---- quiet ----

  /** Neither ticks nor sends until it is woken. A leader: all its followers have said the same. */
  get quiet(): boolean {
    return this.#quiet
  }

  /** All followers of this leader have agreed. */
  becomeQuiet(): void {
    this.#quiet = true
  }

  /** The leader wants the group to be quiet. `ready`: as far as this follower has nothing under way beside its log. */
  handleQuiesce(message: Message, ready: boolean): void {
    const wasQuiet = this.#quiet
    this.#quiet = this.#parts.following.handleQuiesce(message, ready)
    if (wasQuiet && !this.#quiet) this.#parts.timer.reset()
  }

  /** See `Raft.wake`. */
  wake(silentTicks: number): void {
    if (!this.#quiet) return
    this.#quiet = false
    if (this.#leadership !== undefined) {
      this.#leadership.wake()
    } else {
      this.#parts.timer.resume(silentTicks)
      this.#parts.promise.tick(silentTicks)
      if (this.#leader !== NONE) this.#parts.following.sayQuiet(this.#leader, this.term, 0, false)
    }
  }

  /** The leader knows that it woke this replica; anybody else may have woken it alone, and then it asks the leader for heartbeats. */
  maybeWakeBy(message: Message): void {
    if (!this.#quiet || leavesQuiet(message)) return
    if (this.#leadership === undefined && message.from === this.#leader) this.#quiet = false
    else this.wake(0)
  }
}
