const MiB = 1024 * 1024
/** For so long a target that has come near only follows, for each mebibyte that was brought: where little was it goes on at once. */
const settleMsPerMiB = 100
const settleMsMost = 1500
/** Between two rounds in which it only follows. */
const followMs = 50
/** Behind one round. */
const restMsMost = 100
/** Behind all of them: what is written meanwhile has to be brought, too. */
const restsMsMost = 3000
/** A round and its rest bring the lag down by this part of what the round brought, or there is no rest behind the next one. */
const fairShare = 0.25

/** What became of a round of the catch-up. */
export interface ReplayRound {
  readonly bytes: number
  /** How long the entry took, without what the source took to answer. */
  readonly replayMs: number
  /** Entries that it brought, and that were left behind it as of when they were asked for. */
  readonly records: number
  readonly lag: number
  /** Much is left behind it. */
  readonly isFar: boolean
  /** What is behind it was brought before: the lag, as of when that was asked for, says nothing. */
  readonly isHeld: boolean
  /** The source is asked to slow its writers down. */
  readonly slows: boolean
  /** Little is left behind it, as of now: what was read ahead does not know. */
  readonly isNear: boolean
}

/**
 * When a target that catches up rests, so that others on its nodes have their turn. Replaying wants the log and the loop of three nodes, at the priority of
 * clients' calls: without rests every call to these nodes stands behind it for as long as it lasts. So a replay is followed by a rest of its own length, for three
 * seconds in all, while the lag falls well all the same. Once near for the first time the target follows for a while, with longer rests: what replaying has left
 * to do (flushes, compactions, collections, code that is compiled) is done before the rounds for which clients wait.
 */
export class ReplayRests {
  /** By all rounds so far. */
  #bytes = 0
  /** Behind the last round. */
  #lag = Number.POSITIVE_INFINITY
  #restedMs = 0
  /** When it has followed for long enough; undefined: it was never near. */
  #settledAtMs: number | undefined
  #restMs = 0

  /** How long it still is to follow only, ms. */
  settlesForMs(nowMs: number): number {
    return this.#settledAtMs === undefined ? 0 : Math.max(0, this.#settledAtMs - nowMs)
  }

  /** How long to rest before the next round, ms, which it does then. `isAhead`: what it brings was asked for already. */
  nextMs(nowMs: number, isAhead: boolean): number {
    return isAhead ? this.#restMs : Math.max(this.#restMs, Math.min(followMs, this.settlesForMs(nowMs)))
  }

  /** Whether there was a rest before the round that is under way because of the one before it. */
  get hasRested(): boolean {
    return this.#restMs > 0
  }

  ended(nowMs: number, { bytes, replayMs, records, lag, isFar, isHeld, slows, isNear }: ReplayRound): void {
    this.#bytes += bytes
    const gains = isHeld || this.#lag - lag >= fairShare * records
    this.#lag = isHeld ? Number.POSITIVE_INFINITY : lag
    const rests = (isFar || isHeld) && gains && !slows
    this.#restMs = rests ? Math.min(restMsMost, replayMs, restsMsMost - this.#restedMs) : 0
    this.#restedMs += this.#restMs
    // Who came near only because writers wait goes on at once: they would wait for longer, or it would fall behind again.
    const settleMs = slows ? 0 : Math.min(settleMsMost, (settleMsPerMiB * this.#bytes) / MiB)
    if (isNear) this.#settledAtMs ??= nowMs + settleMs
  }
}
