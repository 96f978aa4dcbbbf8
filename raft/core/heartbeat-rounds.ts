import type { ConfChangeGate } from './conf-change-gate.ts'
import { draftMessage, type Outbox } from './message.ts'
import type { Progress } from './progress.ts'
import type { ProgressTracker } from './progress-tracker.ts'
import type { RaftLog } from './raft-log.ts'
import type { ReadAnswers } from './read-answers.ts'
import { ReadOnly } from './read-only.ts'
import { type CoreOptions, type LeaseBasis, type Message, MessageType, type ReplicaNumber } from './types.ts'

interface RoundParts {
  readonly options: Pick<CoreOptions, 'self' | 'leases' | 'unsafe'>
  readonly term: number
  /** The index of this term's first entry: until it is committed the commit index may lag behind what earlier leaders committed. */
  readonly firstOwnIndex: number
  readonly log: RaftLog
  readonly outbox: Outbox
  readonly answers: ReadAnswers
  readonly tracker: ProgressTracker
  readonly confChanges: ConfChangeGate
}

/**
 * A leader's heartbeats, in rounds: the answers of a quorum to one say that nobody else led when it was sent. On that rest reads (thesis, 6.4) and,
 * with `leases`, the driver's lease. A round begins only where reads may be served at all, and confirms only reads that came before it.
 */
export class HeartbeatRounds implements LeaseBasis {
  readonly #options: RoundParts['options']
  readonly #term: number
  readonly #firstOwnIndex: number
  readonly #log: RaftLog
  readonly #outbox: Outbox
  readonly #answers: ReadAnswers
  readonly #tracker: ProgressTracker
  readonly #confChanges: ConfChangeGate
  readonly #reads = new ReadOnly()

  constructor(parts: RoundParts) {
    this.#options = parts.options
    this.#term = parts.term
    this.#firstOwnIndex = parts.firstOwnIndex
    this.#log = parts.log
    this.#outbox = parts.outbox
    this.#answers = parts.answers
    this.#tracker = parts.tracker
    this.#confChanges = parts.confChanges
  }

  /** Reads wait that the next round could take. */
  get isDue(): boolean {
    return this.#reads.hasWaiting && this.#canBegin
  }

  /** No read waits or is being confirmed. */
  get isIdle(): boolean {
    return this.#reads.isIdle
  }

  get lastRound(): number {
    return this.#reads.lastRound
  }

  get promisedRound(): number {
    return Math.min(this.#tracker.promisedRound, this.#reads.lastRound)
  }

  get safeIndex(): number | undefined {
    return this.#mayRead ? this.#log.commit : undefined
  }

  /** `replica`, this one or a follower, wants an index to read at, under a number of its own. */
  add(replica: ReplicaNumber, context: number): void {
    this.#reads.add(replica, context)
  }

  /** It is time for heartbeats. `quietly`: none without reads, for the followers are asked to be quiet. */
  beat(quietly: boolean): void {
    const extendsLease = this.#options.leases === true && !quietly && this.#canBegin
    // Reads that wait go with this heartbeat, which is then sent already.
    const sent = (this.isDue || extendsLease) && this.#begin()
    if (!quietly && !sent) this.send()
  }

  /** Reads that came in one turn leave with one round. */
  flush(): void {
    if (this.isDue) this.#begin()
  }

  /** Heartbeats that begin no round: they carry the last one again. */
  send(): void {
    for (const peer of this.#tracker.followers) {
      const message = draftMessage(MessageType.Heartbeat, this.#options.self, peer.replica, this.#term)
      // Beyond match the follower's log may differ from ours.
      message.commit = Math.min(peer.match, this.#log.commit)
      message.context = this.#reads.lastRound
      this.#outbox.send(message)
    }
  }

  handleHeartbeatResponse(peer: Progress, message: Message): void {
    if (message.context < 1) return
    peer.confirmRound(message.context, message.hintIndex === 1)
    this.confirm()
  }

  /** Answers the reads of all rounds that a quorum has confirmed, as the members are now. */
  confirm(): void {
    this.#confirmTo(this.#tracker.confirmedRound)
  }

  /** Nobody leads here any more. Reads forwarded by others are theirs to lose. */
  end(): void {
    for (const { replica, context } of this.#reads.unconfirmed()) if (replica === this.#options.self) this.#answers.lose(context)
  }

  /** An entry of this term is committed, and the membership applied here is the newest that is. */
  get #mayRead(): boolean {
    return this.#log.commit >= this.#firstOwnIndex && this.#confChanges.isNewestApplied
  }

  get #canBegin(): boolean {
    return this.#reads.hasRoom && this.#mayRead
  }

  /** Returns whether heartbeats have left. */
  #begin(): boolean {
    this.#reads.begin(this.#log.commit)
    const alone = this.#tracker.confirmedRound >= this.#reads.lastRound
    if (alone || this.#options.unsafe?.readWithoutQuorum === true) {
      this.#confirmTo(this.#reads.lastRound)
      return false
    }
    this.send()
    return true
  }

  #confirmTo(round: number): void {
    for (const { index, reads } of this.#reads.confirmTo(round)) {
      for (const { replica, context } of reads) {
        if (replica === this.#options.self) this.#answers.confirm(context, index)
        else this.#answerFollower(replica, context, index)
      }
    }
  }

  #answerFollower(replica: ReplicaNumber, context: number, index: number): void {
    const message = draftMessage(MessageType.ReadIndexResponse, this.#options.self, replica, this.#term)
    message.context = context
    message.index = index
    this.#outbox.send(message)
  }
}
