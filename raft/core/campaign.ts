import type { Membership } from './membership.ts'
import { draftMessage, type Outbox } from './message.ts'
import type { VoteResult } from './quorum.ts'
import type { RaftLog } from './raft-log.ts'
import { type Message, MessageType, type ReplicaNumber } from './types.ts'

/** One try to be elected, from asking the voters to the outcome. Given up when the replica hears of a leader, of a newer term, or of other voters. */
export class Campaign {
  readonly #self: ReplicaNumber
  readonly #type: typeof MessageType.PreVote | typeof MessageType.Vote
  readonly #term: number
  readonly #membership: Membership
  /** At the leader's own wish, so that no lease holds the votes back. */
  readonly isForced: boolean
  /** Who has answered, and what. */
  readonly #votes = new Map<ReplicaNumber, boolean>()

  /** `term` is the one to be elected in; with PreVote nobody is in it yet. */
  constructor(
    self: ReplicaNumber,
    type: typeof MessageType.PreVote | typeof MessageType.Vote,
    term: number,
    membership: Membership,
    isForced: boolean,
  ) {
    this.#self = self
    this.#type = type
    this.#term = term
    this.#membership = membership
    this.isForced = isForced
  }

  /** Asks all other voters. */
  ask(log: RaftLog, outbox: Outbox): void {
    for (const voter of this.#membership.voters) {
      if (voter === this.#self) continue
      const message = draftMessage(this.#type, this.#self, voter, this.#term)
      message.index = log.lastIndex
      message.logTerm = log.lastTerm
      message.context = this.isForced ? 1 : 0
      // A vote is asked for with a log and in a term that a crash cannot take back: else a grant that comes late could
      // elect, after a restart, a replica whose log is shorter than the one that was voted for.
      if (this.#type === MessageType.Vote) outbox.sendAfterAppend(message)
      else outbox.send(message)
    }
  }

  /** Whether `message`, the answer to a request for votes, answers this one. */
  isAnsweredBy(message: Message): boolean {
    const pre = message.type === MessageType.PreVoteResponse
    if (pre !== (this.#type === MessageType.PreVote) || !this.#membership.isVoter(message.from)) return false
    // A grant for an earlier pre-campaign says nothing about this one.
    return !pre || message.reject || message.term === this.#term
  }

  /** A replica's first answer counts. */
  count(from: ReplicaNumber, granted: boolean): VoteResult {
    if (!this.#votes.has(from)) this.#votes.set(from, granted)
    return this.#membership.quorum.vote(this.#votes)
  }
}
