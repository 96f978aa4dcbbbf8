import type { Ballot } from './ballot.ts'
import type { Following } from './following.ts'
import type { Outbox } from './message.ts'
import type { RaftLog } from './raft-log.ts'
import type { ReadAnswers } from './read-answers.ts'
import type { Roles } from './roles.ts'
import { type HardState, NONE, type Ready, type SoftState } from './types.ts'

interface ReadyParts {
  readonly hardState: HardState
  readonly log: RaftLog
  readonly outbox: Outbox
  readonly reads: ReadAnswers
  readonly following: Following
  readonly ballot: Ballot
  readonly roles: Roles
}

/** Makes Readys: each says what has gathered since the one before, and what has moved since it was last said. */
export class ReadyMaker {
  readonly #log: RaftLog
  readonly #outbox: Outbox
  readonly #reads: ReadAnswers
  readonly #following: Following
  readonly #ballot: Ballot
  readonly #roles: Roles
  /** As last said. */
  #hardState: HardState
  #softState: SoftState
  /** Applying was told to go on up to here. */
  #commit: number
  #mustSync = false

  constructor(parts: ReadyParts) {
    this.#log = parts.log
    this.#outbox = parts.outbox
    this.#reads = parts.reads
    this.#following = parts.following
    this.#ballot = parts.ballot
    this.#roles = parts.roles
    this.#hardState = parts.hardState
    this.#softState = { role: 'follower', leader: NONE, term: parts.hardState.term }
    this.#commit = parts.log.applied
  }

  /** Whatever the next Ready says, it must be durable before what came of it may leave. */
  requireSync(): void {
    this.#mustSync = true
  }

  /** Whether the next Ready would say anything. */
  get hasNews(): boolean {
    return (
      !this.#outbox.isEmpty ||
      this.#log.hasUnhanded ||
      this.#roles.leadership?.hasWork === true ||
      this.#commit < this.#log.commit ||
      this.#following.offer !== undefined ||
      !this.#reads.isEmpty ||
      this.#mustSync ||
      this.#hardStateMoved ||
      this.#softStateMoved
    )
  }

  make(): Ready {
    this.#roles.leadership?.flush()
    const { term, vote } = this.#ballot
    const { commit } = this.#log
    const { role, leader } = this.#roles
    const hardState = this.#hardStateMoved ? { term, vote, commit } : undefined
    const softState = this.#softStateMoved ? { role, leader, term } : undefined
    const entries = this.#log.handOut()
    const ready: Ready = {
      messages: this.#outbox.takeAtOnce(),
      messagesAfterAppend: this.#outbox.takeAfterAppend(),
      hardState,
      mustSync: this.#mustSync || entries.length > 0 || this.#ballotMoved,
      entries,
      snapshot: this.#following.offer,
      commit,
      readStates: this.#reads.takeStates(),
      lostReads: this.#reads.takeLost(),
      softState,
    }
    if (hardState !== undefined) this.#hardState = hardState
    if (softState !== undefined) this.#softState = softState
    this.#commit = commit
    this.#mustSync = false
    this.#following.offerShown()
    return ready
  }

  get #hardStateMoved(): boolean {
    return this.#ballotMoved || this.#hardState.commit !== this.#log.commit
  }

  /** What a crash must not take back. */
  get #ballotMoved(): boolean {
    const { term, vote } = this.#ballot
    return this.#hardState.term !== term || this.#hardState.vote !== vote
  }

  get #softStateMoved(): boolean {
    const said = this.#softState
    return said.role !== this.#roles.role || said.leader !== this.#roles.leader || said.term !== this.#ballot.term
  }
}
