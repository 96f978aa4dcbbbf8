const MiB = 1024 * 1024
/** Once it has come near it only follows for so long, for each mebibyte that it brought: what had little to bring goes on at once. */
const settleMsPerMiB = 100
const settleMsMost = 1500
const followMs = 50
/** A round that took longer than this was held up by something that its rest would not help. */
const restMsMost = 100

/** What became of a round of the catch-up. */
export interface ReplayRound {
  readonly bytes: number
  readonly tookMs: number
  /** Much is left behind it. */
  readonly isFar: boolean
  /** The lag falls from round to round. */
  readonly gains: boolean
  /** Little is left behind it, as of now: what was read ahead does not know. */
  readonly isNear: boolean
}

/**
 * When a target that catches up rests, so that others on its nodes have their turn. Replaying wants the log and the loop of three nodes, at the priority of
 * clients' calls: without rests every call to these nodes stands behind it for as long as it lasts. So a round is followed by a rest of its own length while
 * the lag falls all the same. Once near for the first time the target follows for a while, with longer rests: what replaying has left to do (flushes,
 * compactions, collections, code that is compiled) is done before the rounds for which clients wait.
 */
export class ReplayRests {
  /** By all rounds so far. */
  #bytes = 0
  /** When it has followed for long enough; undefined: it was never near. */
  #settledAtMs: number | undefined
  #restMs = 0

  /** How long it still is to follow only, ms. */
  settlesForMs(nowMs: number): number {
    return this.#settledAtMs === undefined ? 0 : Math.max(0, this.#settledAtMs - nowMs)
  }

  /** How long to rest before the next round, ms. `isAhead`: what it brings was asked for already. */
  nextMs(nowMs: number, isAhead: boolean): number {
    return isAhead ? this.#restMs : Math.max(this.#restMs, Math.min(followMs, this.settlesForMs(nowMs)))
  }

  ended(nowMs: number, { bytes, tookMs, isFar, gains, isNear }: ReplayRound): void {
    this.#bytes += bytes
    this.#restMs = isFar && gains ? Math.min(restMsMost, tookMs) : 0
    if (isNear) this.#settledAtMs ??= nowMs + Math.min(settleMsMost, (settleMsPerMiB * this.#bytes) / MiB)
  }
}
