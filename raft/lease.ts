import type { Clock } from '../base/clock.ts'
import { type LeaseBasis, type Message, MessageType } from './core/types.ts'

/** A lease's part of the time in which a follower keeps its promise: the rest is for clocks that go at different speeds. */
const leasePart = 0.9
/** Rounds closer together than this part of a lease count as the first of them. */
const entriesMax = 32

interface SentRound {
  readonly round: number
  readonly sentMs: number
}

/**
 * How long a leader's lease is where a follower's promise holds for `electionTicks` ticks. The first tick after a leader was heard may come at
 * once, so that only the others, none of them ever early, are sure to be whole.
 */
export function leaseMs(electionTicks: number, tickMs: number): number {
  return leasePart * (electionTicks - 1) * tickMs
}

/**
 * A leader's lease: while it holds no other can have been elected, so that reads need no round of their own. It counts on the monotonic clock,
 * from before the heartbeats of a round left, once a quorum has promised, in answer to them, to elect nobody for an election timeout. Nothing is
 * remembered of a lease but when rounds left: whether it holds is worked out where it is used, from the promises and the membership of that
 * moment. See docs/decisions/0016-leases.md.
 */
export class Lease {
  readonly #clock: Clock
  readonly #durationMs: number
  #term = 0
  /** Of this term, oldest first. */
  #sent: SentRound[] = []
  /** The newest round that has left: its time is kept then or not at all. */
  #left = 0
  #isGivenUp = false

  constructor(clock: Clock, durationMs: number) {
    this.#clock = clock
    this.#durationMs = durationMs
  }

  /** To be called before `messages` leave, which this replica sends in `term`. */
  sending(term: number, office: LeaseBasis | undefined, messages: readonly Message[]): void {
    if (office === undefined) return
    if (term !== this.#term) {
      this.#term = term
      this.#sent = []
      this.#left = 0
      this.#isGivenUp = false
    }
    // Whoever is told to campaign is voted for in spite of all promises. The word may reach it late, and twice: there is no lease in this term any more.
    if (messages.some(({ type, reject }) => type === MessageType.TimeoutNow && !reject)) this.#isGivenUp = true
    if (office.lastRound === this.#left) return
    this.#left = office.lastRound
    const nowMs = this.#clock.monotonicMs()
    if (nowMs - (this.#sent.at(-1)?.sentMs ?? Number.NEGATIVE_INFINITY) < this.#durationMs / entriesMax) return
    this.#sent = this.#sent.filter(({ sentMs }) => nowMs - sentMs < this.#durationMs)
    this.#sent.push({ round: office.lastRound, sentMs: nowMs })
  }

  /** Where a read may be served that came before this call; undefined: there is no lease now. */
  index(term: number, office: LeaseBasis | undefined): number | undefined {
    if (office === undefined || term !== this.#term || this.#isGivenUp) return undefined
    const { promisedRound } = office
    const promised = this.#sent.findLast(({ round }) => round <= promisedRound)
    if (promised === undefined || this.#clock.monotonicMs() - promised.sentMs >= this.#durationMs) return undefined
    return office.safeIndex
  }
}
