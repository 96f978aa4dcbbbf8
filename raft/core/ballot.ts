import { draftMessage, type Outbox } from './message.ts'
import type { RaftLog } from './raft-log.ts'
import { type Message, MessageType, NONE, type ReplicaNumber } from './types.ts'

/** The term, and whom this replica votes for in it: what it must never forget. */
export class Ballot {
  readonly #self: ReplicaNumber
  readonly #log: RaftLog
  readonly #outbox: Outbox
  /** Only rises. */
  #term: number
  /** In #term; never changed once it is not NONE. */
  #vote: ReplicaNumber

  constructor(self: ReplicaNumber, hardState: { readonly term: number; readonly vote: ReplicaNumber }, log: RaftLog, outbox: Outbox) {
    this.#self = self
    this.#log = log
    this.#outbox = outbox
    this.#term = hardState.term
    this.#vote = hardState.vote
  }

  get term(): number {
    return this.#term
  }

  get vote(): ReplicaNumber {
    return this.#vote
  }

  /** Enters `term`, if it is newer, with the vote free. */
  termTo(term: number): void {
    if (term <= this.#term) return
    this.#term = term
    this.#vote = NONE
  }

  /** Enters the next term as a candidate. */
  stand(): void {
    this.#term++
    this.#vote = this.#self
  }

  /**
   * Answers a request for a vote or pre-vote of this term or a later one that no lease holds off. Returns whether the vote is given; a pre-vote
   * promises nothing. `leader`: who is known to lead; whoever follows one gives no vote in its term.
   */
  answer(message: Message, leader: ReplicaNumber): boolean {
    const pre = message.type === MessageType.PreVote
    const free = this.#vote === message.from || (this.#vote === NONE && leader === NONE) || (pre && message.term > this.#term)
    const granted = free && this.#log.isUpToDate(message.index, message.logTerm)
    const type = pre ? MessageType.PreVoteResponse : MessageType.VoteResponse
    const answer = draftMessage(type, this.#self, message.from, granted ? message.term : this.#term)
    answer.reject = !granted
    answer.index = Math.min(this.#log.commit, message.index)
    answer.logTerm = this.#log.term(answer.index) ?? 0
    if (granted && !pre) {
      this.#vote = message.from
      this.#outbox.sendAfterAppend(answer)
      return true
    }
    this.#outbox.send(answer)
    return false
  }

  /** A message of an older term has no effect here, but who sent it learns of the newer one, lest it stays stuck. */
  answerOlderTerm(message: Message): void {
    const type = answerTypeOf(message)
    if (type === undefined) return
    const answer = draftMessage(type, this.#self, message.from, this.#term)
    answer.reject = true
    this.#outbox.send(answer)
  }
}

/** Undefined for answers, which nobody answers. */
function answerTypeOf(message: Message): MessageType | undefined {
  switch (message.type) {
    case MessageType.Append:
    case MessageType.Heartbeat:
    case MessageType.Snapshot:
    case MessageType.Quiesce:
      return MessageType.AppendResponse
    case MessageType.PreVote:
      return MessageType.PreVoteResponse
    case MessageType.Vote:
      return MessageType.VoteResponse
    default:
      return undefined
  }
}
