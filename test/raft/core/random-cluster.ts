import { SeededRandom } from '../../../base/random.ts'
import type { CoreOptions, Message, Ready } from '../../../raft/core/types.ts'
import { bytes, conf, type Store, TestReplica } from './test-replica.ts'

export interface Faults {
  /** A restarted replica has forgotten whom it voted for. */
  readonly forgetVotes?: boolean
  /** Votes and acknowledgements leave before they are durable. */
  readonly answerBeforeDurable?: boolean
  /** The group goes quiet where it rests, and its driver says all kinds of things of the leader's node. */
  readonly quiesce?: boolean
  readonly unsafe?: CoreOptions['unsafe']
}

/**
 * Replicas under a random schedule: messages are lost, doubled and reordered, also across restarts; restarts keep what was durable and a
 * random part of what was on its way; writes become durable late; logs are compacted and snapshots installed. After each step the
 * invariants of Raft are checked from outside (Raft, Figure 3). Throws on the first that is broken.
 */
export class RandomCluster {
  readonly random: SeededRandom
  readonly replicas: readonly TestReplica[]
  readonly faults: Faults
  readonly counts = { committed: 0, leaders: 0, reads: 0, lostReads: 0, restarts: 0, snapshots: 0, transfers: 0, quiets: 0 }
  #transit: Message[] = []
  /** Chances per message, drawn per seed. */
  readonly #loss: number
  readonly #doubling: number
  readonly #crashes: number
  readonly #persistence: number
  /** Of cutting off or restarting a leader. */
  readonly #churn: number
  /** Its messages are lost. */
  #cutOff = 0
  /** Its clock stands: a leader that was cut off does not know it. */
  #paused = 0

  // What the checkers remember.
  readonly #leaderOf = new Map<number, number>()
  readonly #entryOf = new Map<string, { data: string; termBefore: number }>()
  readonly #committedTerm: number[] = [0]
  readonly #digestAt = new Map<number, number>()
  readonly #lastCommit: number[] = []
  readonly #lastTerm: number[] = []
  readonly #reads = new Map<number, number>()
  #nextRead = 1
  #nextValue = 1

  constructor(seed: number, size: number, faults: Faults = {}) {
    this.random = new SeededRandom(seed)
    this.faults = faults
    this.#loss = this.random.below(3) === 0 ? 0 : this.random.next() * 0.3
    this.#doubling = this.random.next() * 0.2
    this.#crashes = this.random.next() * 0.01
    this.#churn = this.random.below(3) === 0 ? this.random.next() * 0.01 : 0
    const electionTicks = 3 + this.random.below(4)
    const maxAppendBytes = this.#oneOf([1, 100, 1000])
    const maxInflightBytes = this.#oneOf([1, 300, 10_000])
    this.#persistence = 0.1 + this.random.next() * 0.9
    const ids = Array.from({ length: size }, (_, i) => i + 1)
    const members = conf(ids)
    this.replicas = ids.map((id) => {
      const options = {
        random: this.random.fork(),
        electionTicks,
        heartbeatTicks: 1 + this.random.below(2),
        maxAppendBytes,
        maxInflightBytes,
        quiesce: faults.quiesce ?? false,
        unsafe: faults.unsafe ?? {},
      }
      const replica = new TestReplica(id, { conf: members, options })
      replica.onReady = (ready) => this.#checkReady(replica, ready)
      replica.onApply = (store) => this.#checkApplied(replica, store)
      this.#lastCommit[id] = 0
      this.#lastTerm[id] = 0
      return replica
    })
  }

  run(steps: number): void {
    for (let i = 0; i < steps; i++) {
      this.#act()
      for (const replica of this.replicas) this.#checkReplica(replica)
    }
  }

  /** Nothing is asked for and nothing fails for `rounds`. */
  rest(rounds: number): void {
    this.#cutOff = 0
    for (let i = 0; i < rounds; i++) this.#calmRound()
    this.counts.quiets += this.replicas.filter(({ raft }) => raft.quiet).length
  }

  /** Without faults the group must elect a leader, commit, agree and answer a read. */
  converge(): void {
    const target = this.#nextValue++
    this.#cutOff = 0
    let proposed = false
    for (let round = 0; round < 400; round++) {
      this.#calmRound()
      const leader = this.replicas.find(({ raft }) => raft.role === 'leader')
      if (leader !== undefined && !proposed) proposed = leader.raft.propose([bytes(`last ${target}`)]).ok
      const [first] = this.replicas
      const agreed = this.replicas.every(({ applied }) => applied.index === first?.applied.index && applied.digest === first.applied.digest)
      if (
        proposed &&
        agreed &&
        leader !== undefined &&
        leader.raft.commit === leader.raft.lastIndex &&
        leader.applied.index === leader.raft.commit
      ) {
        return
      }
    }
    throw new Error(
      `no convergence: ${this.replicas.map(({ raft, applied }) => `${raft.role} term ${raft.term} applied ${applied.index} of ${raft.lastIndex}`).join('; ')}`,
    )
  }

  #calmRound(): void {
    for (const replica of this.replicas) {
      replica.raft.tick()
      if (replica.log.wanted) this.#load(replica)
      if (replica.offered !== undefined) this.#install(replica)
      this.#transit.push(...replica.drain())
    }
    for (let i = 0; i < 20 && this.#transit.length > 0; i++) {
      const batch = this.#transit
      this.#transit = []
      for (const message of batch) this.#transit.push(...this.#replica(message.to).step(message))
      for (const replica of this.replicas) this.#checkReplica(replica)
    }
  }

  #replica(id: number): TestReplica {
    return this.replicas[id - 1] as TestReplica
  }

  #pick(): TestReplica {
    return this.#replica(1 + this.random.below(this.replicas.length))
  }

  #oneOf(values: readonly number[]): number {
    return values[this.random.below(values.length)] as number
  }

  /** The leader of the newest term is cut off, with its clock, or restarted. */
  #unseat(): void {
    const leaders = this.replicas.filter(({ raft }) => raft.role === 'leader').sort((a, b) => b.raft.term - a.raft.term)
    const [leader] = leaders
    if (leader === undefined) return
    if (this.random.below(2) === 0) {
      this.#cutOff = leader.id
      this.#paused = leader.id
    } else {
      this.#restart(leader)
    }
  }

  #act(): void {
    if (this.random.next() < this.#churn) this.#unseat()
    const choice = this.random.next()
    const replica = this.#pick()
    if (choice < 0.36) this.#deliverOne()
    else if (choice < 0.5) this.#takeReady(replica)
    else if (choice < 0.5 + 0.25 * this.#persistence) this.#persist(replica)
    else if (choice < 0.8) this.#tick(replica)
    else if (choice < 0.86) this.#propose()
    else if (choice < 0.91) this.#read(replica)
    else if (choice < 0.93) this.#compact(replica)
    else if (choice < 0.95) this.#install(replica)
    else if (choice < 0.96) replica.log.coldBelow = replica.log.firstIndex + this.random.below(10)
    else if (choice < 0.98) this.#load(replica)
    else if (choice < 0.983) this.#cutOneOff()
    else if (choice < 0.983 + this.#crashes) this.#restart(replica)
    else if (choice > 0.996) this.#transfer(replica.id)
    else if (choice > 0.993 && this.faults.quiesce === true) this.#nodeNews(replica)
  }

  /** What a driver says of the leader's node: it was silent for a while, or its process is gone; true or not, safety does not rest on it. */
  #nodeNews({ raft }: TestReplica): void {
    if (this.random.below(2) === 0) raft.wake(this.random.below(10))
    else raft.leaderLost(raft.leader, 1 + this.random.below(3))
  }

  #tick(replica: TestReplica): void {
    if (replica.id !== this.#paused || this.random.below(20) === 0) replica.raft.tick()
  }

  #cutOneOff(): void {
    // A leader that was cut off stays so until others had the time to elect another.
    if (this.#paused !== 0 && this.random.below(4) !== 0) return
    this.#cutOff = this.random.below(this.replicas.length + 1)
    this.#paused = 0
  }

  #deliverOne(): void {
    if (this.#transit.length === 0) return
    const at = this.random.below(Math.min(this.#transit.length, 1 + this.random.below(20)))
    const message = this.#transit[at] as Message
    if (this.random.next() >= this.#doubling) this.#transit.splice(at, 1)
    if (this.random.next() < this.#loss || message.from === this.#cutOff || message.to === this.#cutOff) return
    this.#replica(message.to).raft.step(message)
  }

  #transfer(to: number): void {
    for (const { raft } of this.replicas) if (raft.transferLeadership(to) === 'begun') this.counts.transfers++
  }

  #send(messages: readonly Message[]): void {
    this.#transit.push(...messages)
    if (this.#transit.length > 500) this.#transit.splice(0, 250)
  }

  #takeReady(replica: TestReplica): void {
    if (replica.raft.hasReady()) this.#send(replica.takeReady())
    this.#countReads(replica)
  }

  #persist(replica: TestReplica): void {
    this.#send(replica.persistOne())
  }

  #propose(): void {
    const leaders = this.replicas.filter(({ raft }) => raft.role === 'leader')
    const leader = leaders[this.random.below(Math.max(1, leaders.length))]
    if (leader === undefined) return
    const datas = Array.from({ length: 1 + this.random.below(3) }, () => bytes(`${this.#nextValue++}`))
    leader.raft.propose(datas)
  }

  /** Half of the reads go to the one of those that believe to lead that has done so longest: it may be wrong. */
  #read(any: TestReplica): void {
    const leaders = this.replicas.filter(({ raft }) => raft.role === 'leader').sort((a, b) => a.raft.term - b.raft.term)
    const replica = this.random.below(2) === 0 ? (leaders[0] ?? any) : any
    const committed = Math.max(...this.replicas.map(({ raft }) => raft.commit), this.#committedTerm.length - 1)
    const context = this.#nextRead++
    if (replica.raft.readIndex(context) || replica.raft.forwardReadIndex(context)) this.#reads.set(context, committed)
  }

  #compact(replica: TestReplica): void {
    const pins = replica.raft.progress().map(({ pendingSnapshot }) => pendingSnapshot || Number.POSITIVE_INFINITY)
    if (this.random.below(2) === 0 && Math.min(...pins) < replica.applied.index) return
    replica.compact(replica.applied.index)
  }

  #install(replica: TestReplica): void {
    const meta = replica.offered
    if (meta === undefined) return
    const sources = this.replicas.filter((other) => other !== replica && other.applied.index >= meta.index)
    const source = sources[this.random.below(Math.max(1, sources.length))]
    if (source === undefined || this.random.below(4) === 0) {
      replica.offered = undefined
      replica.raft.snapshotFailed()
      return
    }
    this.counts.snapshots++
    replica.install(source.applied)
  }

  #load(replica: TestReplica): void {
    replica.log.load()
    replica.raft.entriesLoaded()
  }

  #restart(replica: TestReplica): void {
    this.#countReads(replica)
    this.counts.restarts++
    const forgetVotes = this.faults.forgetVotes === true
    replica.restart(this.random.below(replica.unpersisted + 1), (hardState) => (forgetVotes ? { ...hardState, vote: 0 } : hardState))
    replica.readStates = []
    replica.lostReads = []
    this.#lastCommit[replica.id] = replica.raft.commit
    this.#lastTerm[replica.id] = replica.raft.term
  }

  // ---- checkers ----

  #checkReplica(replica: TestReplica): void {
    const { raft, id } = replica
    ensure(raft.commit >= (this.#lastCommit[id] as number), `replica ${id}: commit fell to ${raft.commit}`)
    ensure(raft.term >= (this.#lastTerm[id] as number), `replica ${id}: term fell to ${raft.term}`)
    ensure(raft.commit <= raft.lastIndex, `replica ${id}: commit ${raft.commit} behind the last entry ${raft.lastIndex}`)
    this.#lastCommit[id] = raft.commit
    this.#lastTerm[id] = raft.term
    if (raft.role === 'leader') this.#checkLeader(replica)
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
      ensure(
        index < raft.lastIndex,
        `leader completeness: the leader of term ${raft.term} ends at ${raft.lastIndex}, committed is ${this.#committedTerm.length - 1}`,
      )
      const term = replica.log.term(index)
      if (term === undefined) continue
      ensure(
        term === this.#committedTerm[index],
        `leader completeness: the leader of term ${raft.term} has term ${term} at ${index}, committed is ${this.#committedTerm[index]}`,
      )
    }
  }

  #checkReady(replica: TestReplica, ready: Ready): void {
    let before = ready.entries[0] === undefined ? 0 : (replica.log.term(ready.entries[0].index - 1) as number)
    for (const entry of ready.entries) {
      const key = `${entry.index}/${entry.term}`
      const data = entry.data.join()
      const known = this.#entryOf.get(key)
      ensure(known === undefined || (known.data === data && known.termBefore === before), `log matching: two entries ${key}`)
      if (known === undefined) this.#entryOf.set(key, { data, termBefore: before })
      before = entry.term
    }
    if (this.faults.answerBeforeDurable) this.#send(ready.messagesAfterAppend.filter(({ to }) => to !== replica.id))
    for (const { context, index } of ready.readStates) {
      const atLeast = this.#reads.get(context)
      ensure(atLeast !== undefined, `read ${context} answered twice or never asked`)
      ensure(index >= atLeast, `stale read: ${context} may be read at ${index}, committed before it was ${atLeast}`)
      this.#reads.delete(context)
    }
    for (const context of ready.lostReads) ensure(this.#reads.delete(context), `read ${context} lost twice or never asked`)
  }

  #countReads(replica: TestReplica): void {
    this.counts.reads += replica.readStates.length
    this.counts.lostReads += replica.lostReads.length
    replica.readStates = []
    replica.lostReads = []
  }

  #checkApplied(replica: TestReplica, store: Store): void {
    const known = this.#digestAt.get(store.index)
    ensure(known === undefined || known === store.digest, `state machine safety: replica ${replica.id} differs at ${store.index}`)
    this.#digestAt.set(store.index, store.digest)
    if (store.index < this.#committedTerm.length) return
    this.#committedTerm[store.index] = store.term
    this.counts.committed = store.index
  }
}

function ensure(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(what)
}
