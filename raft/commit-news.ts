import type { Clock, Timer } from '../base/clock.ts'
import { type Message, MessageType, type ReplicaNumber } from './core/types.ts'
import { type Envelope, messageBytes } from './message-codec.ts'

/** So long news waits for entries, and so close upon each other must those before it have come. */
const waitMs = 10
/** Longer ones take their time on the way: news does not wait for them. */
const shortBytes = 64 * 1024

/** What is known of one replica that a leader here sends to. */
interface Receiver {
  /** When the newest entries left for it, and those before them, ms. */
  entriesAtMs: number
  entriesBeforeAtMs: number
  news: { readonly message: Message; readonly envelope: Envelope } | undefined
}

export interface CommitNewsOptions {
  readonly clock: Pick<Clock, 'setTimer' | 'monotonicMs'>
  send(group: string, message: Message, envelope: Envelope): void
}

/**
 * Holds back Appends without entries, where entries follow each other closely. Each commit makes one for every follower, as does each answer to a
 * heartbeat while entries are under way, and each is answered; but the next entries tell the same a few milliseconds later. To Raft this is a network
 * that takes a little longer. One timer for all groups: what had to wait leaves in one frame. docs/decisions/0040.
 */
export class CommitNews {
  readonly #options: CommitNewsOptions
  readonly #receivers = new Map<string, Map<ReplicaNumber, Receiver>>()
  #timer: Timer | undefined

  constructor(options: CommitNewsOptions) {
    this.#options = options
  }

  /** Sends `message`, now or, if it is such news, soon. */
  send(group: string, message: Message, envelope: Envelope): void {
    const receiver = this.#receivers.get(group)?.get(message.to)
    if (message.mayWait) {
      if (receiver !== undefined && (receiver.news !== undefined || this.#isBusy(receiver))) {
        receiver.news = { message, envelope }
        this.#timer ??= this.#options.clock.setTimer(waitMs, () => this.#timeIsOver())
        return
      }
    } else if (message.type === MessageType.Append && message.entries.length > 0) {
      if (receiver?.news !== undefined && messageBytes(message) > shortBytes) this.#tell(group, receiver)
      this.#entriesLeave(group, message.to, receiver)
    } else if (receiver?.news !== undefined && message.type !== MessageType.Heartbeat) {
      // It may rest on the news.
      this.#tell(group, receiver)
    }
    this.#options.send(group, message, envelope)
  }

  /** What waits leaves: some of the group's replicas go, or the one here. */
  flush(group: string): void {
    for (const receiver of this.#receivers.get(group)?.values() ?? []) this.#tell(group, receiver)
    this.#receivers.delete(group)
  }

  /** What waits leaves. */
  flushAll(): void {
    for (const group of [...this.#receivers.keys()]) this.flush(group)
  }

  /** Nothing leaves any more. */
  close(): void {
    this.#timer?.cancel()
    this.#receivers.clear()
  }

  #isBusy({ entriesBeforeAtMs }: Receiver): boolean {
    return this.#options.clock.monotonicMs() - entriesBeforeAtMs <= waitMs
  }

  #entriesLeave(group: string, to: ReplicaNumber, receiver: Receiver | undefined): void {
    const nowMs = this.#options.clock.monotonicMs()
    if (receiver !== undefined) {
      receiver.entriesBeforeAtMs = receiver.entriesAtMs
      receiver.entriesAtMs = nowMs
      receiver.news = undefined
      return
    }
    let receivers = this.#receivers.get(group)
    if (receivers === undefined) this.#receivers.set(group, (receivers = new Map()))
    receivers.set(to, { entriesAtMs: nowMs, entriesBeforeAtMs: Number.NEGATIVE_INFINITY, news: undefined })
  }

  #tell(group: string, receiver: Receiver): void {
    const { news } = receiver
    receiver.news = undefined
    if (news !== undefined) this.#options.send(group, news.message, news.envelope)
  }

  #timeIsOver(): void {
    this.#timer = undefined
    for (const [group, receivers] of this.#receivers) for (const receiver of receivers.values()) this.#tell(group, receiver)
  }
}
