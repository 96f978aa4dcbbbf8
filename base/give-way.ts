/** What a thread may do between two rests, ms. */
export const workMs = 2
/** Where others want the processors: of one it has a third then, about. */
const restMs = 4
/** Where nobody does: no longer than it takes to see that. */
const probeMs = 0.1
/** Who wakes later than this had to wait for a processor. */
const lateMs = 1

export interface GiveWaySeams {
  monotonicMs(): number
  /** Blocks this thread. */
  wait(ms: number): void
}

/**
 * Keeps a background thread from filling processors that others want. A low priority does not: such a thread still has its share while others wait, each of its turns may have to end before theirs begins, and
 * what it reads displaces what they work on. Whether there are others it tells by how late it wakes from its rests: on a machine with a processor to spare it works on.
 */
export class GiveWay {
  readonly #seams: GiveWaySeams
  #isWanted = false

  constructor(seams: GiveWaySeams) {
    this.#seams = seams
  }

  /** To be called whenever the thread has worked for `workMs`. */
  rest(): void {
    const ms = this.#isWanted ? restMs : probeMs
    const startedMs = this.#seams.monotonicMs()
    this.#seams.wait(ms)
    this.#isWanted = this.#seams.monotonicMs() - startedMs - ms > lateMs
  }
}
