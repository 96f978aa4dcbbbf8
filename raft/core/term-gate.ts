import type { Ballot } from './ballot.ts'
import type { ElectionTimer } from './election-timer.ts'
import type { Roles } from './roles.ts'
import { type Message, MessageType, NONE } from './types.ts'
import type { VotePromise } from './vote-promise.ts'

/**
 * Which messages are handled, by their term (Raft, 5.1), and which newer terms are entered. What is admitted is of this replica's term, which the
 * message may have raised; only what is said before an election, a PreVote or a granted PreVoteResponse, may name a term that nobody is in yet.
 */
export class TermGate {
  readonly #checkQuorum: boolean
  readonly #ballot: Ballot
  readonly #roles: Roles
  readonly #timer: ElectionTimer
  readonly #promise: VotePromise

  /** `checkQuorum`: who hears a leader refuses votes. */
  constructor(checkQuorum: boolean, ballot: Ballot, roles: Roles, timer: ElectionTimer, promise: VotePromise) {
    this.#checkQuorum = checkQuorum
    this.#ballot = ballot
    this.#roles = roles
    this.#timer = timer
    this.#promise = promise
  }

  /** Returns false if the message is done with. */
  admit(message: Message): boolean {
    const { term } = this.#ballot
    if (message.term < term) {
      this.#ballot.answerOlderTerm(message)
      return false
    }
    if (this.#promise.forbids(message)) return false
    return message.term === term || this.#admitNewer(message)
  }

  #admitNewer(message: Message): boolean {
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
    this.#roles.becomeFollower(message.term, isFromLeader(message) ? message.from : NONE)
    return true
  }

  /** Whoever hears a leader helps nobody to replace it, so that a replica that was cut off does not disturb the others (thesis, 4.2.3). */
  #heldByLease(message: Message): boolean {
    const forced = message.context === 1
    if (forced || !this.#checkQuorum) return false
    return this.#roles.leader !== NONE && (this.#roles.leadership !== undefined || this.#timer.withinMinimum)
  }
}

/** Only who leads the message's term sends it. */
function isFromLeader({ type }: Message): boolean {
  return type === MessageType.Append || type === MessageType.Heartbeat || type === MessageType.Snapshot || type === MessageType.Quiesce
}
