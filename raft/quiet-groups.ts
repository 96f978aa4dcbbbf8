import { pb } from '../proto/messages.ts'
import { NONE } from './core/types.ts'
import type { NodeLiveness } from './node-liveness.ts'

/** A replica of this node, as far as its quiet goes. */
export interface QuietableReplica {
  readonly replica: number
  readonly quiet: boolean
  readonly leader: number
  readonly term: number
  readonly conf: { readonly voters: readonly number[] }
  wake(silentTicks: number): void
  leaderLost(leader: number, delayTicks: number): void
}

export interface QuietGroupsOptions {
  readonly liveness: NodeLiveness
  readonly electionTicks: number
  readonly heartbeatTicks: number
  /** By group. */
  replicas(): Iterable<readonly [string, QuietableReplica]>
  /** Undefined: not known. */
  nodeOf(group: string, replica: number): string | undefined
}

/**
 * What stands in for the heartbeats of quiet groups (docs/decisions/0017-quiet-groups.md). Nodes say in their beats for how many groups a beat
 * stands; where two do not agree, or one is not heard or broke its streams, the groups concerned wake and go on by their own heartbeats and timers.
 */
export class QuietGroups {
  readonly #options: QuietGroupsOptions
  /** By node, as of the last `count`. */
  readonly #counts = new Map<string, NodeCount>()
  /** Beats in a row in which that node and this one counted other groups. */
  readonly #disagreements = new Map<string, number>()
  /** So many are no message under way any more. */
  readonly #disagreementsMax: number

  constructor(options: QuietGroupsOptions) {
    this.#options = options
    this.#disagreementsMax = Math.max(2, Math.floor(options.electionTicks / options.heartbeatTicks / 3))
  }

  /** What a beat for `node` says: as it was at the last `count`. */
  beatFor(node: string): pb.v1.NodeBeat {
    const { led, followed } = this.#counts.get(node) ?? nothing
    return new pb.v1.NodeBeat({ led: led.toWire(), followed: followed.toWire() })
  }

  /** Counts the quiet groups shared with each node, in one pass for all of them: a process does this for each beat over all its groups, also at rest. */
  count(): void {
    this.#counts.clear()
    for (const [group, replica] of this.#options.replicas()) {
      if (!replica.quiet) continue
      const { leader, term, conf } = replica
      if (leader !== replica.replica) {
        this.#countOf(this.#options.nodeOf(group, leader))?.followed.add(group, leader, term)
        continue
      }
      for (const voter of conf.voters) {
        if (voter !== leader) this.#countOf(this.#options.nodeOf(group, voter))?.led.add(group, leader, term)
      }
    }
  }

  /** `node` has said what it counts. */
  heard(node: string, beat: pb.v1.NodeBeat): void {
    if (this.#agrees(node, beat)) {
      this.#disagreements.delete(node)
      return
    }
    const count = (this.#disagreements.get(node) ?? 0) + 1
    this.#disagreements.set(node, count)
    if (count >= this.#disagreementsMax) this.wakeWith(node)
  }

  /** What was counted for the last beat is seldom out of date, and where it is this counts again. */
  #agrees(node: string, beat: pb.v1.NodeBeat): boolean {
    const agrees = () => {
      const { led, followed } = this.#counts.get(node) ?? nothing
      return followed.is(beat.led) && led.is(beat.followed)
    }
    if (agrees()) return true
    this.count()
    return agrees()
  }

  #countOf(node: string | undefined): NodeCount | undefined {
    if (node === undefined) return undefined
    let count = this.#counts.get(node)
    if (count === undefined) {
      count = { led: new QuietSum(), followed: new QuietSum() }
      this.#counts.set(node, count)
    }
    return count
  }

  /** `node` may not be what it was: every quiet group wakes whose leader and follower are there and here. */
  wakeWith(node: string): void {
    const { liveness, nodeOf, replicas } = this.#options
    this.#disagreements.delete(node)
    for (const [group, replica] of replicas()) {
      if (!replica.quiet) continue
      const { leader, conf } = replica
      if (leader !== replica.replica) {
        if (nodeOf(group, leader) === node) replica.wake(liveness.silentTicks(node))
      } else if (conf.voters.some((voter) => nodeOf(group, voter) === node)) {
        replica.wake(0)
      }
    }
  }

  /**
   * The process of `node` has ended: its streams broke, and it takes no new ones. Who followed a leader there campaigns without waiting for the
   * timer, one after the other, the first from the leader's number on; so they seldom stand against each other, and others begin with other groups.
   */
  lost(node: string): void {
    const { electionTicks } = this.#options
    const stepTicks = Math.max(2, Math.ceil(electionTicks / 20))
    for (const replica of this.#followersOf(node)) {
      const { leader, conf } = replica
      replica.leaderLost(leader, 1 + stepTicks * rankBehind(leader, replica.replica, conf.voters))
    }
  }

  /** Whether a replica here follows a leader on `node`. */
  isLedFrom(node: string): boolean {
    return !this.#followersOf(node).next().done
  }

  *#followersOf(node: string): Generator<QuietableReplica> {
    for (const [group, replica] of this.#options.replicas()) {
      const { leader } = replica
      if (leader !== NONE && leader !== replica.replica && this.#options.nodeOf(group, leader) === node) yield replica
    }
  }
}

/** The place of `replica` among `voters`, counted from behind `leader` and round: 0, 1, … */
function rankBehind(leader: number, replica: number, voters: readonly number[]): number {
  const others = voters.filter((voter) => voter !== leader)
  const distance = (voter: number) => (voter > leader ? voter - leader : voter - leader + 2 ** 32)
  return others.filter((voter) => distance(voter) < distance(replica)).length
}

/** A set of (group, leader, term) as a count and a sum of well-mixed hashes: the order does not matter, and unlike sets hardly agree. */
class QuietSum {
  #count = 0
  #digest = 0
  #last: string | undefined

  /** Once for a group, though two of its voters may be on the node. */
  add(group: string, leader: number, term: number): void {
    if (group === this.#last) return
    this.#last = group
    let hash = 0x811c9dc5
    for (let i = 0; i < group.length; i++) hash = mix(hash ^ group.charCodeAt(i))
    hash = mix(hash ^ leader)
    hash = mix(hash ^ (term >>> 0))
    this.#count++
    this.#digest = (this.#digest + hash) >>> 0
  }

  toWire(): pb.v1.QuietGroups {
    return new pb.v1.QuietGroups({ count: this.#count, digest: this.#digest })
  }

  is(other: pb.v1.QuietGroups.$Properties | null | undefined): boolean {
    return (other?.count ?? 0) === this.#count && (other?.digest ?? 0) === this.#digest
  }
}

/** Quiet groups with a leader here and a follower on that node, and the other way round. */
interface NodeCount {
  readonly led: QuietSum
  readonly followed: QuietSum
}

const nothing: NodeCount = { led: new QuietSum(), followed: new QuietSum() }

/** Every bit of the result depends on every bit of `value`. */
function mix(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}
