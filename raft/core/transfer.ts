import { NONE, type ReplicaNumber } from './types.ts'

/**
 * A leader's wish to hand its office to another voter (thesis, 3.10). While it lasts nothing is proposed, so that the target can catch up;
 * it is given up after an election timeout, for the target may be dead.
 */
export class Transfer {
  readonly #timeoutTicks: number
  #target: ReplicaNumber = NONE
  #elapsed = 0
  /** The target was told to campaign. */
  #told = false

  constructor(timeoutTicks: number) {
    this.#timeoutTicks = timeoutTicks
  }

  /** NONE: no transfer is under way. */
  get target(): ReplicaNumber {
    return this.#target
  }

  /** A second wish for the same target does not lengthen the first. */
  begin(target: ReplicaNumber): void {
    if (target === this.#target) return
    this.#target = target
    this.#elapsed = 0
    this.#told = false
  }

  end(): void {
    this.#target = NONE
  }

  tick(): void {
    if (this.#target === NONE) return
    this.#elapsed++
    if (this.#elapsed >= this.#timeoutTicks) this.end()
  }

  /** Whether `replica`, which has everything, is to be told to campaign: once, until `tellAgain`. */
  maybeTell(replica: ReplicaNumber): boolean {
    if (replica !== this.#target || this.#told) return false
    this.#told = true
    return true
  }

  /** What the target was told may have been lost: it still answers as a follower. */
  tellAgain(replica: ReplicaNumber): void {
    if (replica === this.#target) this.#told = false
  }
}
