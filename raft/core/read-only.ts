import type { ReadState } from './types.ts'

interface Round {
  readonly round: number
  /** The commit index when the round was sent. */
  readonly index: number
  readonly contexts: readonly number[]
}

export const NO_READ_STATES: readonly ReadState[] = []

/** Rounds beyond this wait for one to come back, so that a leader that was cut off does not collect them. */
const MAX_ROUNDS = 64

/**
 * A leader's reads (thesis, 6.4). Reads that wait when a heartbeat round is sent share it; a quorum's answer to a round confirms it and all
 * before it. A round confirms only reads that arrived before it was sent.
 */
export class ReadOnly {
  #waiting: number[] = []
  #rounds: Round[] = []
  #lastRound = 0
  #confirmed: ReadState[] = []

  /** The newest round sent; every heartbeat carries it, so that a lost one is tried again. */
  get lastRound(): number {
    return this.#lastRound
  }

  get canBegin(): boolean {
    return this.#waiting.length > 0 && this.#rounds.length < MAX_ROUNDS
  }

  /** No read waits, is being confirmed or was confirmed and not yet taken. */
  get isIdle(): boolean {
    return this.#waiting.length === 0 && this.#rounds.length === 0 && this.#confirmed.length === 0
  }

  get hasConfirmed(): boolean {
    return this.#confirmed.length > 0
  }

  add(context: number): void {
    this.#waiting.push(context)
  }

  begin(commit: number): void {
    this.#lastRound++
    this.#rounds.push({ round: this.#lastRound, index: commit, contexts: this.#waiting })
    this.#waiting = []
  }

  /** A quorum has confirmed all rounds up to this. */
  confirmTo(round: number): void {
    let done = 0
    for (const sent of this.#rounds) {
      if (sent.round > round) break
      for (const context of sent.contexts) this.#confirmed.push({ context, index: sent.index })
      done++
    }
    if (done > 0) this.#rounds.splice(0, done)
  }

  takeConfirmed(): readonly ReadState[] {
    if (this.#confirmed.length === 0) return NO_READ_STATES
    const taken = this.#confirmed
    this.#confirmed = []
    return taken
  }

  /** Contexts not yet confirmed. */
  unconfirmed(): readonly number[] {
    return [...this.#rounds.flatMap((round) => round.contexts), ...this.#waiting]
  }
}
