import { draftMessage, type Outbox } from './message.ts'
import type { ProgressTracker } from './progress-tracker.ts'
import type { RaftLog } from './raft-log.ts'
import { type CoreOptions, type Message, MessageType, type ReplicaNumber } from './types.ts'

/**
 * A leader's way to a quiet group (docs/decisions/0017-quiet-groups.md). After a rest of an election timeout it asks every follower; once
 * all have agreed nobody of the group ticks or sends until something wakes one of them. A follower agrees only where its log ends and is
 * committed exactly where the leader's does. Only liveness rests on this: a quiet replica votes, appends and commits by the same rules.
 */
export class Quiescence {
  readonly #self: ReplicaNumber
  readonly #restTicks: number
  /** An attempt that not all have agreed to by then is given up. */
  readonly #patienceTicks: number
  readonly #term: number
  readonly #log: RaftLog
  readonly #outbox: Outbox
  readonly #tracker: ProgressTracker
  /** A client wanted something since the last tick. */
  #stirred = false
  /** Ticks without traffic and with everything done. */
  #rested = 0
  /** Number of the newest attempt: an agreement to an earlier one counts for nothing. */
  #attempt = 0
  #asking = false
  readonly #agreed = new Set<ReplicaNumber>()

  constructor(options: Pick<CoreOptions, 'self' | 'electionTicks'>, term: number, log: RaftLog, outbox: Outbox, tracker: ProgressTracker) {
    this.#self = options.self
    this.#restTicks = options.electionTicks
    this.#patienceTicks = Math.ceil(options.electionTicks / 2)
    this.#term = term
    this.#log = log
    this.#outbox = outbox
    this.#tracker = tracker
  }

  /** Followers are being asked: who has agreed must hear nothing else, or it wakes. */
  get asking(): boolean {
    return this.#asking
  }

  /** All followers have agreed to be quiet. */
  get isAgreed(): boolean {
    return this.#asking && this.#tracker.followers.every((peer) => this.#agreed.has(peer.replica))
  }

  /** A client proposes or reads. */
  stir(): void {
    this.#stirred = true
  }

  /** `busy`: what the leader does beside its log is not done. */
  tick(busy: boolean): void {
    if (this.#stirred || busy || !this.#allIsEverywhere) {
      this.#stirred = false
      this.restart()
      return
    }
    this.#rested++
    if (this.#rested === this.#restTicks) this.#begin()
    else if (this.#rested >= this.#restTicks + this.#patienceTicks) this.restart()
  }

  /** Asks who has not agreed yet. */
  ask(): void {
    const { lastIndex, lastTerm, commit } = this.#log
    for (const { replica } of this.#tracker.followers) {
      if (this.#agreed.has(replica)) continue
      const message = draftMessage(MessageType.Quiesce, this.#self, replica, this.#term)
      message.index = lastIndex
      message.logTerm = lastTerm
      message.commit = commit
      message.context = this.#attempt
      this.#outbox.send(message)
    }
  }

  handleQuiesceResponse(message: Message): void {
    if (message.reject) this.restart()
    else if (this.#asking && message.context === this.#attempt) this.#agreed.add(message.from)
  }

  /** The rest begins anew. */
  restart(): void {
    this.#rested = 0
    this.#asking = false
    this.#agreed.clear()
  }

  /** Every entry is applied here, and every replica, all of them voters, durably has it and is told that it is committed. */
  get #allIsEverywhere(): boolean {
    const { lastIndex, commit, stableIndex, applied } = this.#log
    if (commit < lastIndex || stableIndex < lastIndex || applied < lastIndex) return false
    const { voters, votersOutgoing, learners } = this.#tracker.membership.conf
    if (votersOutgoing.length > 0 || learners.length > 0 || !voters.includes(this.#self)) return false
    return this.#tracker.matchedByAll() === lastIndex && this.#tracker.followers.every((peer) => peer.state === 'replicate')
  }

  #begin(): void {
    this.#attempt++
    this.#asking = true
  }
}

/** Whether a message that reaches a quiet replica leaves it quiet: it only says again what both know. */
export function leavesQuiet(message: Message): boolean {
  return message.type === MessageType.Quiesce || (message.type === MessageType.QuiesceResponse && !message.reject)
}
