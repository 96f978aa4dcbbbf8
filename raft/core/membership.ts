import { Quorum } from './quorum.ts'
import type { ConfState, ReplicaNumber } from './types.ts'

/** One configuration of the group; a change makes a new one. */
export class Membership {
  readonly conf: ConfState
  readonly quorum: Quorum
  /** Of both halves of a joint configuration, each once, ascending. */
  readonly voters: readonly ReplicaNumber[]
  /** Voters and learners, each once, ascending. */
  readonly replicas: readonly ReplicaNumber[]

  constructor(conf: ConfState) {
    this.conf = conf
    this.quorum = new Quorum(conf)
    this.voters = sortedUnion(conf.voters, conf.votersOutgoing)
    this.replicas = sortedUnion(this.voters, conf.learners)
  }

  isVoter(replica: ReplicaNumber): boolean {
    return this.voters.includes(replica)
  }
}

function sortedUnion(a: readonly number[], b: readonly number[]): readonly number[] {
  return [...new Set([...a, ...b])].sort((x, y) => x - y)
}
