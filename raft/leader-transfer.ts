import type { Raft } from './core/raft.ts'
import { NONE } from './core/types.ts'

/** What became of the wish that `to` should lead. */
export type TransferOutcome =
  | { readonly kind: 'done' }
  /** gave-up: the target refused, did not answer in time, or another was elected. `leader`: replica number, 0 unknown. */
  | { readonly kind: 'refused'; readonly reason: 'not-leader' | 'not-a-voter' | 'gave-up' | 'stopped'; readonly leader: number }

/**
 * Leadership transfers from the wish to their outcome. From the begin of one until it is known who leads, what clients want is kept back (at
 * most for two election timeouts): it is then proposed here, or refused with the name of the new leader, or of the one that is being elected.
 */
export class LeaderTransfer {
  readonly #core: Raft
  readonly #timeoutTicks: number
  #waiting: { readonly to: number; readonly done: (outcome: TransferOutcome) => void }[] = []
  #begun = false
  #elapsed = 0

  constructor(core: Raft, electionTicks: number) {
    this.#core = core
    this.#timeoutTicks = 2 * electionTicks
  }

  /** Who leads is about to change, or has changed and is not known yet. */
  get underWay(): boolean {
    return this.#begun
  }

  /**
   * To whom clients may turn before it leads: this replica has voted for it, and it keeps back what comes until it knows whether it was elected.
   * NONE: nobody yet.
   */
  get heir(): number {
    const { role, leader, vote } = this.#core
    const isChosen = role === 'follower' && leader === NONE && this.#waiting.some(({ to }) => to === vote)
    return isChosen ? vote : NONE
  }

  /** `done` is called exactly once, perhaps within this call. */
  request(to: number, done: (outcome: TransferOutcome) => void): void {
    const result = this.#core.transferLeadership(to)
    if (result === 'leading') {
      done({ kind: 'done' })
      this.check()
    } else if (result === 'begun') {
      if (!this.#begun) this.#elapsed = 0
      this.#begun = true
      this.#waiting.push({ to, done })
    } else {
      done({ kind: 'refused', reason: result, leader: this.#core.leader })
    }
  }

  tick(): void {
    if (!this.#begun) return
    this.#elapsed++
    this.check()
  }

  /** Looks whether it is known how the transfer ended. */
  check(): void {
    if (!this.#begun) return
    const { role, leader, transferee } = this.#core
    if (role === 'leader' ? transferee !== NONE : leader === NONE && this.#elapsed < this.#timeoutTicks) return
    this.#end('gave-up')
  }

  stop(): void {
    this.#end('stopped')
  }

  #end(reason: 'gave-up' | 'stopped'): void {
    const waiting = this.#waiting
    this.#waiting = []
    this.#begun = false
    const { leader } = this.#core
    for (const { to, done } of waiting) {
      if (to === leader && reason !== 'stopped') done({ kind: 'done' })
      else done({ kind: 'refused', reason, leader })
    }
  }
}
