import type { Random } from '../../base/random.ts'
import { draftMessage, type Outbox } from './message.ts'
import type { ReadAnswers } from './read-answers.ts'
import { type Message, MessageType, type ReplicaNumber } from './types.ts'

interface Forwarded {
  /** The driver's. */
  readonly context: number
  elapsedTicks: number
}

interface ForwardingOptions {
  readonly self: ReplicaNumber
  readonly electionTicks: number
  readonly heartbeatTicks: number
  readonly random: Random
}

/**
 * Reads for which a follower asks its leader for an index. The question goes again under the same number until it is answered: whichever of
 * them is answered was asked after the read came. An election timeout without an answer, or another leader or term, loses the read.
 */
export class ForwardedReads {
  readonly #options: ForwardingOptions
  readonly #outbox: Outbox
  readonly #answers: ReadAnswers
  /** By the number under which the leader was asked. */
  readonly #pending = new Map<number, Forwarded>()
  /** Begins anywhere, so that an answer to this replica's former life answers nothing of this one. */
  #next: number

  constructor(options: ForwardingOptions, outbox: Outbox, answers: ReadAnswers) {
    this.#options = options
    this.#outbox = outbox
    this.#answers = answers
    this.#next = 1 + Math.floor(options.random.next() * 2 ** 52)
  }

  get isEmpty(): boolean {
    return this.#pending.size === 0
  }

  ask(context: number, leader: ReplicaNumber, term: number): void {
    const number = this.#next++
    this.#pending.set(number, { context, elapsedTicks: 0 })
    this.#send(number, leader, term)
  }

  tick(leader: ReplicaNumber, term: number): void {
    for (const [number, read] of this.#pending) {
      read.elapsedTicks++
      if (read.elapsedTicks >= this.#options.electionTicks) {
        this.#pending.delete(number)
        this.#answers.lose(read.context)
      } else if (read.elapsedTicks % (2 * this.#options.heartbeatTicks) === 0) this.#send(number, leader, term)
    }
  }

  /** An answer of the present leader in the present term. */
  handleResponse(message: Message): void {
    const read = this.#pending.get(message.context)
    if (read === undefined) return
    this.#pending.delete(message.context)
    this.#answers.confirm(read.context, message.index)
  }

  /** Who was asked is no longer known to lead. */
  loseAll(): void {
    for (const { context } of this.#pending.values()) this.#answers.lose(context)
    this.#pending.clear()
  }

  #send(number: number, leader: ReplicaNumber, term: number): void {
    const message = draftMessage(MessageType.ReadIndex, this.#options.self, leader, term)
    message.context = number
    this.#outbox.send(message)
  }
}
