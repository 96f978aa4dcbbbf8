import type { Clock, Timer } from '../base/clock.ts'

/** For so long a call waits for its shards, ms. */
const waitMs = 500
/** And for so long one that has members for other shards too: a little more than a move takes. */
const mixedWaitMs = 25
const waitingMax = 4096

interface Waiting {
  readonly isEarly: () => boolean
  readonly go: () => void
  readonly timer: Timer
}

/** Calls that came before their shards: the config has given the shards to this group, whose last commands of them are on their way. */
export class Arrivals {
  readonly #clock: Clock
  /** Groups here with shards that are being filled. */
  readonly #importing = new Set<string>()
  readonly #waiting = new Map<string, Set<Waiting>>()
  /** Groups in which a call has waited in vain for `mixedWaitMs`, and nothing has changed since: what takes so long must not keep other shards' calls. */
  readonly #late = new Set<string>()
  #count = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** False for almost all calls: nothing has to be looked at. */
  isImporting(group: string): boolean {
    return this.#importing.has(group)
  }

  /** Records of the group's shards changed. */
  changed(group: string, isImporting: boolean): void {
    if (isImporting) this.#importing.add(group)
    else this.#importing.delete(group)
    this.#late.delete(group)
    for (const waiting of [...(this.#waiting.get(group) ?? [])]) if (!waiting.isEarly()) this.#release(group, waiting)
  }

  /**
   * True: `go` is called when `isEarly` has become false, or it was waited long enough. False: too many wait, or it would be in vain. `isMixed`: the call has
   * members that are not early.
   */
  maybeWait(group: string, isEarly: () => boolean, isMixed: boolean, go: () => void): boolean {
    if (this.#count >= waitingMax || (isMixed && this.#late.has(group))) return false
    const timer = this.#clock.setTimer(isMixed ? mixedWaitMs : waitMs, () => {
      if (isMixed) this.#late.add(group)
      this.#release(group, waiting)
    })
    const waiting: Waiting = { isEarly, go, timer }
    const all = this.#waiting.get(group) ?? new Set()
    this.#waiting.set(group, all.add(waiting))
    this.#count++
    return true
  }

  #release(group: string, waiting: Waiting): void {
    const all = this.#waiting.get(group)
    if (all?.delete(waiting) !== true) return
    if (all.size === 0) this.#waiting.delete(group)
    this.#count--
    waiting.timer.cancel()
    waiting.go()
  }
}
