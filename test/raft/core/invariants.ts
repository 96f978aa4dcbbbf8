import type { ConfState, Ready } from '../../../raft/core/types.ts'
import type { Store, TestReplica } from './test-replica.ts'

/**
 * What must hold of a group at every moment (Raft, Figure 3; thesis, 4), checked from outside by what is durable and what was said, never by what the core
 * counts for itself. Throws on the first that is broken.
 */
export class Invariants {
  readonly #replicas: readonly TestReplica[]
  readonly counts = { committed: 0, leaders: 0, changes: 0, jointChanges: 0 }
  readonly #leaderOf = new Map<number, number>()
  readonly #entryOf = new Map<string, { data: string; termBefore: number }>()
  readonly #committedTerm: number[] = [0]
  readonly #appliedAt = new Map<number, Store>()
  readonly #lastCommit: number[] = []
  readonly #lastTerm: number[] = []
  /** That each replica had since it was last checked. */
  readonly #confs: ConfState[][] = []
  readonly #reads = new Map<number, number>()

  constructor(replicas: readonly TestReplica[]) {
    this.#replicas = replicas
    for (const replica of replicas) this.restarted(replica)
  }

  restarted({ id, raft }: TestReplica): void {
    this.#lastCommit[id] = raft.commit
    this.#lastTerm[id] = raft.term
    this.#confs[id] = [raft.membership.conf]
  }

  /** After whatever happened to `replica`. */
  check(replica: TestReplica): void {
    const { raft, id } = replica
    const lastCommit = this.#lastCommit[id] as number
    ensure(raft.commit >= lastCommit, `replica ${id}: commit fell to ${raft.commit}`)
    ensure(raft.term >= (this.#lastTerm[id] as number), `replica ${id}: term fell to ${raft.term}`)
    ensure(raft.commit <= raft.lastIndex, `replica ${id}: commit ${raft.commit} behind the last entry ${raft.lastIndex}`)
    if (raft.role === 'leader') {
      this.#checkLeader(replica)
      // What is of an older term it may have learned to be committed before it was elected.
      if (raft.commit > lastCommit && replica.log.term(raft.commit) === raft.term) this.#checkQuorum(replica)
    }
    this.#lastCommit[id] = raft.commit
    this.#lastTerm[id] = raft.term
    if ((this.#confs[id] as ConfState[]).length > 1) this.#confs[id] = [raft.membership.conf]
  }

  checkReady(replica: TestReplica, ready: Ready): void {
    let before = ready.entries[0] === undefined ? 0 : (replica.log.term(ready.entries[0].index - 1) as number)
    for (const entry of ready.entries) {
      const key = `${entry.index}/${entry.term}`
      const data = entry.data.join()
      const known = this.#entryOf.get(key)
      ensure(known === undefined || (known.data === data && known.termBefore === before), `log matching: two entries ${key}`)
      if (known === undefined) this.#entryOf.set(key, { data, termBefore: before })
      before = entry.term
    }
    for (const { context, index } of ready.readStates) {
      const atLeast = this.#reads.get(context)
      ensure(atLeast !== undefined, `read ${context} answered twice or never asked`)
      ensure(index >= atLeast, `stale read: ${context} may be read at ${index}, committed before it was ${atLeast}`)
      this.#reads.delete(context)
    }
    for (const context of ready.lostReads) ensure(this.#reads.delete(context), `read ${context} lost twice or never asked`)
  }

  checkApplied(replica: TestReplica, store: Store): void {
    const confs = this.#confs[replica.id] as ConfState[]
    if (store.conf !== confs.at(-1)) confs.push(store.conf)
    const known = this.#appliedAt.get(store.index)
    ensure(known === undefined || known.digest === store.digest, `state machine safety: replica ${replica.id} differs at ${store.index}`)
    ensure(known === undefined || equalConfs(known.conf, store.conf), `membership: replica ${replica.id} differs at ${store.index}`)
    if (known === undefined) this.#appliedFirst(store)
    if (store.index < this.#committedTerm.length) return
    this.#committedTerm[store.index] = store.term
    this.counts.committed = store.index
  }

  /** `context` is being asked for. */
  readBegins(context: number): void {
    const committed = Math.max(...this.#replicas.map(({ raft }) => raft.commit), this.#committedTerm.length - 1)
    this.#reads.set(context, committed)
  }

  /** It was not taken. */
  readRefused(context: number): void {
    this.#reads.delete(context)
  }

  #appliedFirst(store: Store): void {
    this.#appliedAt.set(store.index, store)
    const before = this.#appliedAt.get(store.index - 1)?.conf
    if (before === undefined || equalConfs(before, store.conf)) return
    this.counts.changes++
    if (store.conf.votersOutgoing.length > 0) this.counts.jointChanges++
    ensure(overlap(before, store.conf), `quorum overlap: ${JSON.stringify(before)} and ${JSON.stringify(store.conf)}`)
  }

  #checkLeader(replica: TestReplica): void {
    const { raft, id } = replica
    const known = this.#leaderOf.get(raft.term)
    ensure(known === undefined || known === id, `election safety: replicas ${known} and ${id} both lead term ${raft.term}`)
    if (known !== undefined) return
    this.#leaderOf.set(raft.term, id)
    this.counts.leaders++
    // All that the log holds is in its view or, if it came in this turn, still in the core's tail; the view is enough for older terms.
    for (let index = replica.log.firstIndex; index < this.#committedTerm.length; index++) {
      const committed = this.#committedTerm[index] as number
      if (committed >= raft.term) break
      ensure(
        index < raft.lastIndex,
        `leader completeness: the leader of term ${raft.term} ends at ${raft.lastIndex}, committed is ${this.#committedTerm.length - 1}`,
      )
      const term = replica.log.term(index)
      ensure(
        term === undefined || term === committed,
        `leader completeness: the leader of term ${raft.term} has term ${term} at ${index}, committed is ${committed}`,
      )
    }
  }

  /** What a leader calls committed is durable on a quorum of the voters that it knows. */
  #checkQuorum({ raft, id, log }: TestReplica): void {
    const { commit } = raft
    const holders = new Set<number>()
    for (const other of this.#replicas) {
      if (other.log.durableFirstIndex > commit || other.log.durableTerm(commit) === log.term(commit)) holders.add(other.id)
    }
    const confs = this.#confs[id] as ConfState[]
    ensure(
      confs.some((conf) => isQuorum(conf, holders)),
      `commit: the leader of term ${raft.term} commits ${commit}, which is durable on ${[...holders]} of ${JSON.stringify(confs)}`,
    )
  }
}

/** Two disjoint sets of replicas are never quorums, the one before and the other after. */
function overlap(before: ConfState, after: ConfState): boolean {
  const all = [...new Set([...before.voters, ...before.votersOutgoing, ...after.voters, ...after.votersOutgoing])]
  for (let bits = 0; bits < 1 << all.length; bits++) {
    const set = new Set(all.filter((_, i) => (bits & (1 << i)) !== 0))
    const rest = new Set(all.filter((replica) => !set.has(replica)))
    if (isQuorum(before, set) && isQuorum(after, rest)) return false
  }
  return true
}

function isQuorum({ voters, votersOutgoing }: ConfState, set: ReadonlySet<number>): boolean {
  const isMajority = (half: readonly number[]) => half.filter((replica) => set.has(replica)).length * 2 > half.length
  return isMajority(voters) && (votersOutgoing.length === 0 || isMajority(votersOutgoing))
}

function equalConfs(a: ConfState, b: ConfState): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

function ensure(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(what)
}
