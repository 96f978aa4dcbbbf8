import type { ReplicaNumber } from './types.ts'

/** A read of the leader's own, or one that a follower has forwarded. */
export interface PendingRead {
  readonly replica: ReplicaNumber
  /** A number of that replica's. */
  readonly context: number
}

export interface ReadRound {
  readonly round: number
  /** The commit index when the round was sent. */
  readonly index: number
  readonly reads: readonly PendingRead[]
}

const NO_ROUNDS: readonly ReadRound[] = []

/** Rounds beyond this wait for one to come back, so that a leader that was cut off does not collect them. */
const MAX_ROUNDS = 64

/**
 * A leader's reads (thesis, 6.4). Reads that wait when a heartbeat round is sent share it; a quorum's answer to a round confirms it and all
 * before it. A round confirms only reads that arrived before it was sent.
 */
export class ReadOnly {
  #waiting: PendingRead[] = []
  #rounds: ReadRound[] = []
  #lastRound = 0

  /** The newest round sent; every heartbeat carries it, so that a lost one is tried again. */
  get lastRound(): number {
    return this.#lastRound
  }

  get hasWaiting(): boolean {
    return this.#waiting.length > 0
  }

  /** No read waits or is being confirmed. */
  get isIdle(): boolean {
    return this.#waiting.length === 0 && this.#rounds.every(({ reads }) => reads.length === 0)
  }

  get hasRoom(): boolean {
    return this.#rounds.length < MAX_ROUNDS
  }

  /** One that waits already is not added again: a follower repeats what may have been lost. */
  add(replica: ReplicaNumber, context: number): void {
    if (this.#waiting.some((read) => read.replica === replica && read.context === context)) return
    this.#waiting.push({ replica, context })
  }

  begin(commit: number): void {
    this.#lastRound++
    this.#rounds.push({ round: this.#lastRound, index: commit, reads: this.#waiting })
    this.#waiting = []
  }

  /** A quorum has confirmed all rounds up to this. Returns those that were not confirmed before. */
  confirmTo(round: number): readonly ReadRound[] {
    let done = 0
    while (done < this.#rounds.length && (this.#rounds[done] as ReadRound).round <= round) done++
    return done === 0 ? NO_ROUNDS : this.#rounds.splice(0, done)
  }

  /** Not yet confirmed. */
  unconfirmed(): readonly PendingRead[] {
    return [...this.#rounds.flatMap(({ reads }) => reads), ...this.#waiting]
  }
}
