import type { ConfState, ReplicaNumber } from './types.ts'

export type VoteResult = 'won' | 'lost' | 'pending'

/** The largest number that more than half of `voters` have reached. No voters: Infinity, so that the other half of a joint quorum decides. */
export function majorityIndex(voters: readonly ReplicaNumber[], reached: (replica: ReplicaNumber) => number): number {
  const count = voters.length
  if (count === 0) return Number.POSITIVE_INFINITY
  // Groups are small: insertion into a sorted array beats anything cleverer.
  const ascending: number[] = []
  for (let i = 0; i < count; i++) {
    const value = reached(voters[i] as ReplicaNumber)
    let at = ascending.length
    while (at > 0 && (ascending[at - 1] as number) > value) at--
    ascending.splice(at, 0, value)
  }
  return ascending[count - (count >> 1) - 1] as number
}

/** The outcome of a vote among `voters`; who is not in `votes` may still vote. No voters: won, so that the other half decides. */
export function majorityVote(voters: readonly ReplicaNumber[], votes: ReadonlyMap<ReplicaNumber, boolean>): VoteResult {
  let granted = 0
  let missing = 0
  for (const voter of voters) {
    const vote = votes.get(voter)
    if (vote === undefined) missing++
    else if (vote) granted++
  }
  const needed = voters.length === 0 ? 0 : (voters.length >> 1) + 1
  if (granted >= needed) return 'won'
  return granted + missing >= needed ? 'pending' : 'lost'
}

/** A majority of each of two sets of voters; the second is empty outside a joint configuration (thesis, 4.3). */
export class Quorum {
  readonly #incoming: readonly ReplicaNumber[]
  readonly #outgoing: readonly ReplicaNumber[]

  constructor(conf: Pick<ConfState, 'voters' | 'votersOutgoing'>) {
    this.#incoming = conf.voters
    this.#outgoing = conf.votersOutgoing
  }

  /** The largest number that a quorum has reached. */
  index(reached: (replica: ReplicaNumber) => number): number {
    return Math.min(majorityIndex(this.#incoming, reached), majorityIndex(this.#outgoing, reached))
  }

  vote(votes: ReadonlyMap<ReplicaNumber, boolean>): VoteResult {
    const incoming = majorityVote(this.#incoming, votes)
    const outgoing = majorityVote(this.#outgoing, votes)
    if (incoming === outgoing) return incoming
    return incoming === 'lost' || outgoing === 'lost' ? 'lost' : 'pending'
  }
}
