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

  /** Nobody is known to belong to the group: this replica begins with a snapshot. */
  get isEmpty(): boolean {
    return this.replicas.length === 0
  }

  isVoter(replica: ReplicaNumber): boolean {
    return this.voters.includes(replica)
  }
}

/** The configuration of a group that has known no other. */
export function initialConf(voters: readonly ReplicaNumber[]): ConfState {
  return { voters, votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false }
}

function sortedUnion(a: readonly number[], b: readonly number[]): readonly number[] {
  return [...new Set([...a, ...b])].sort((x, y) => x - y)
}
