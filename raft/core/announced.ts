import type { HardState, ReplicaNumber, Role, SoftState } from './types.ts'

/** What the last Ready said of a replica: the next one says what has moved since. */
export class Announced {
  #hardState: HardState
  #softState: SoftState
  /** Applying was told to go on up to here. */
  #commit: number

  constructor(hardState: HardState, softState: SoftState, commit: number) {
    this.#hardState = hardState
    this.#softState = softState
    this.#commit = commit
  }

  hardStateMoved(term: number, vote: ReplicaNumber, commit: number): boolean {
    return this.ballotMoved(term, vote) || this.#hardState.commit !== commit
  }

  /** What a crash must not take back. */
  ballotMoved(term: number, vote: ReplicaNumber): boolean {
    return this.#hardState.term !== term || this.#hardState.vote !== vote
  }

  softStateMoved(role: Role, leader: ReplicaNumber, term: number): boolean {
    const said = this.#softState
    return said.role !== role || said.leader !== leader || said.term !== term
  }

  commitMoved(commit: number): boolean {
    return this.#commit < commit
  }

  /** Undefined: as before. */
  say(hardState: HardState | undefined, softState: SoftState | undefined, commit: number): void {
    if (hardState !== undefined) this.#hardState = hardState
    if (softState !== undefined) this.#softState = softState
    this.#commit = commit
  }
}
