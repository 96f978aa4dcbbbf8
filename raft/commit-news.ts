import type { Clock, Timer } from '../base/clock.ts'
import { type Message, MessageType, type ReplicaNumber } from './core/types.ts'
import type { Envelope } from './message-codec.ts'

/** So long news waits for a message that brings it along. A follower applies so much later at most, for which nobody waits who writes. */
const waitMs = 10

interface News {
  readonly message: Message
  readonly envelope: Envelope
}

export interface CommitNewsOptions {
  readonly clock: Pick<Clock, 'setTimer'>
  send(group: string, message: Message, envelope: Envelope): void
}

/**
 * Holds back Appends without entries. Each commit makes one for every follower, as does each answer to a heartbeat while entries are under way, and
 * each is answered; but the next entries tell the same, and in a group that is written to they come within a few milliseconds. To Raft this is a
 * network that takes a little longer. One timer for all groups: what had to wait leaves in one frame.
 */
export class CommitNews {
  readonly #options: CommitNewsOptions
  readonly #waiting = new Map<string, Map<ReplicaNumber, News>>()
  #timer: Timer | undefined

  constructor(options: CommitNewsOptions) {
    this.#options = options
  }

  /** Sends `message`, now or, if it is such news, soon. */
  send(group: string, message: Message, envelope: Envelope): void {
    if (message.mayWait) {
      this.#hold(group, message, envelope)
      return
    }
    const waiting = this.#waiting.get(group)
    const news = waiting?.get(message.to)
    if (waiting !== undefined && news !== undefined && message.type !== MessageType.Heartbeat) {
      waiting.delete(message.to)
      // Whatever else it is may rest on the news.
      if (message.type !== MessageType.Append) this.#options.send(group, news.message, news.envelope)
    }
    this.#options.send(group, message, envelope)
  }

  /** What waits leaves: the group's replica goes. */
  flush(group: string): void {
    const waiting = this.#waiting.get(group)
    this.#waiting.delete(group)
    for (const { message, envelope } of waiting?.values() ?? []) this.#options.send(group, message, envelope)
  }

  /** What waits leaves. */
  flushAll(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    for (const group of [...this.#waiting.keys()]) this.flush(group)
  }

  /** Nothing leaves any more. */
  close(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#waiting.clear()
  }

  #hold(group: string, message: Message, envelope: Envelope): void {
    let waiting = this.#waiting.get(group)
    if (waiting === undefined) this.#waiting.set(group, (waiting = new Map()))
    waiting.set(message.to, { message, envelope })
    this.#timer ??= this.#options.clock.setTimer(waitMs, () => this.flushAll())
  }
}
