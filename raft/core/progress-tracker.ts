import type { Membership } from './membership.ts'
import { Progress } from './progress.ts'
import type { RaftLog } from './raft-log.ts'
import type { CoreOptions, ProgressStatus, ReplicaNumber } from './types.ts'

/** For a follower that fetches a snapshot and was not heard for so many election timeouts the log is not kept. */
const silentPeriodsMax = 30

/**
 * What a leader knows of all replicas of its group: the progress of each, and how far a quorum is. It has a progress for every replica of the
 * membership applied here, learners and the leader itself included, and for nobody else; what it says of a quorum is of that membership, in a
 * joint one of both halves.
 */
export class ProgressTracker {
  readonly #self: ReplicaNumber
  readonly #maxInflightBytes: number
  readonly #log: RaftLog
  #membership: Membership
  readonly #progress = new Map<ReplicaNumber, Progress>()
  /** All of them but the leader's own. */
  #followers: readonly Progress[] = []

  // Made once: the quorum asks through them at every acknowledgement.
  readonly #matchOf = (replica: ReplicaNumber): number => this.#progress.get(replica)?.match ?? 0
  readonly #confirmedRoundOf = (replica: ReplicaNumber): number =>
    replica === this.#self ? Number.POSITIVE_INFINITY : (this.#progress.get(replica)?.confirmedRound ?? 0)
  readonly #promisedRoundOf = (replica: ReplicaNumber): number =>
    replica === this.#self ? Number.POSITIVE_INFINITY : (this.#progress.get(replica)?.promisedRound ?? 0)
  readonly #activityOf = (replica: ReplicaNumber): number =>
    replica === this.#self || this.#progress.get(replica)?.active === true ? 1 : 0

  constructor(options: Pick<CoreOptions, 'self' | 'maxInflightBytes'>, log: RaftLog, membership: Membership) {
    this.#self = options.self
    this.#maxInflightBytes = options.maxInflightBytes
    this.#log = log
    this.#membership = membership
    for (const replica of membership.replicas) this.#add(replica)
    this.#followersChanged()
    this.selfStable()
  }

  get membership(): Membership {
    return this.#membership
  }

  /** Undefined: it does not belong to the group, as far as is applied here. */
  get(replica: ReplicaNumber): Progress | undefined {
    return this.#progress.get(replica)
  }

  get followers(): readonly Progress[] {
    return this.#followers
  }

  /** The applied membership is another: who came is probed, who went is forgotten. */
  enter(membership: Membership): void {
    this.#membership = membership
    for (const replica of this.#progress.keys()) if (!membership.replicas.includes(replica)) this.#progress.delete(replica)
    for (const replica of membership.replicas) {
      // It had no time to be heard in this period of the quorum check.
      if (!this.#progress.has(replica)) this.#add(replica).heard()
    }
    this.#followersChanged()
  }

  /** More of the leader's own log is durable. */
  selfStable(): void {
    this.#progress.get(this.#self)?.selfStableTo(this.#log.stableIndex)
  }

  /** A quorum durably agrees with the leader's log up to here. */
  get quorumMatch(): number {
    return this.#membership.quorum.index(this.#matchOf)
  }

  /** A quorum has confirmed all heartbeat rounds up to this; the leader counts as if it confirmed every one. */
  get confirmedRound(): number {
    return this.#membership.quorum.index(this.#confirmedRoundOf)
  }

  /** The same of rounds confirmed under the promise not to vote. */
  get promisedRound(): number {
    return this.#membership.quorum.index(this.#promisedRoundOf)
  }

  /** A quorum was heard since `forgetActivity`. */
  get quorumActive(): boolean {
    return this.#membership.quorum.index(this.#activityOf) >= 1
  }

  /** Begins a new period of the quorum check. */
  forgetActivity(): void {
    for (const peer of this.#progress.values()) peer.forgetActivity()
  }

  /** Every replica, learners included, durably agrees up to here. */
  matchedByAll(): number {
    let lowest = this.#log.lastIndex
    for (const peer of this.#progress.values()) lowest = Math.min(lowest, peer.match)
    return lowest
  }

  /** The lowest index of a snapshot that a follower which is not silent was offered and has not installed; undefined: there is none. */
  lowestPendingSnapshot(): number | undefined {
    let lowest: number | undefined
    for (const { pendingSnapshot, silentPeriods } of this.#followers) {
      if (pendingSnapshot !== undefined && silentPeriods < silentPeriodsMax)
        lowest = Math.min(lowest ?? pendingSnapshot.index, pendingSnapshot.index)
    }
    return lowest
  }

  status(): readonly ProgressStatus[] {
    return [...this.#progress.values()].map((peer) => {
      const status = peer.status(!this.#membership.isVoter(peer.replica))
      return peer.replica === this.#self ? { ...status, state: 'replicate', active: true } : status
    })
  }

  #add(replica: ReplicaNumber): Progress {
    const peer = new Progress(replica, this.#log.lastIndex + 1, this.#maxInflightBytes)
    this.#progress.set(replica, peer)
    return peer
  }

  #followersChanged(): void {
    this.#followers = [...this.#progress.values()].filter((peer) => peer.replica !== this.#self)
  }
}
