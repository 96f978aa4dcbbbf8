import { SeededRandom } from '../../../base/random.ts'
import { initialConf } from '../../../raft/core/membership.ts'
import type { ConfChange, ConfStep, CoreOptions, Message } from '../../../raft/core/types.ts'
import { Invariants } from './invariants.ts'
import { bytes, TestReplica } from './test-replica.ts'

/** Replicas that the group does not begin with. */
const SPARES = 2
const NO_CONTEXT = new Uint8Array(0)

export interface Faults {
  /** A restarted replica has forgotten whom it voted for. */
  readonly forgetVotes?: boolean
  /** Votes and acknowledgements leave before they are durable. */
  readonly answerBeforeDurable?: boolean
  /** The group goes quiet where it rests, and its driver says all kinds of things of the leader's node. */
  readonly quiesce?: boolean
  /** Membership changes at this chance per step, of one voter each. */
  readonly singleChanges?: number
  readonly unsafe?: CoreOptions['unsafe']
}

/**
 * Replicas under a random schedule: messages are lost, doubled and reordered, also across restarts; restarts keep what was durable and a
 * random part of what was on its way; writes become durable late, and what is committed is applied late; logs are compacted and snapshots installed;
 * replicas come and go, one or several at once. After each step the invariants are checked from outside.
 */
export class RandomCluster {
  readonly random: SeededRandom
  readonly replicas: readonly TestReplica[]
  readonly faults: Faults
  readonly counts = { reads: 0, lostReads: 0, restarts: 0, snapshots: 0, transfers: 0, quiets: 0 }
  readonly invariants: Invariants
  #transit: Message[] = []
  readonly #size: number
  /** Chances per message, drawn per seed. */
  readonly #loss: number
  readonly #doubling: number
  readonly #crashes: number
  readonly #persistence: number
  /** Of proposing a membership change. */
  readonly #changes: number
  /** Of cutting off or restarting a leader. */
  readonly #churn: number
  /** Its messages are lost. */
  #cutOff = 0
  /** Its clock stands: a leader that was cut off does not know it. */
  #paused = 0

  #nextRead = 1
  #nextValue = 1

  constructor(seed: number, size: number, faults: Faults = {}) {
    this.random = new SeededRandom(seed)
    this.faults = faults
    this.#size = size
    this.#loss = this.random.below(3) === 0 ? 0 : this.random.next() * 0.3
    this.#doubling = this.random.next() * 0.2
    this.#crashes = this.random.next() * 0.006
    this.#churn = this.random.below(3) === 0 ? this.random.next() * 0.01 : 0
    this.#changes = faults.singleChanges ?? (this.random.below(4) === 0 ? 0 : this.random.next() * 0.06)
    const electionTicks = 8 + this.random.below(16)
    const maxAppendBytes = this.#oneOf([1, 100, 1000]) ?? 0
    const maxInflightBytes = this.#oneOf([1, 300, 10_000]) ?? 0
    this.#persistence = 0.1 + this.random.next() * 0.9
    const lazy = this.random.below(2) === 0
    const stepDownOnRemoval = this.random.below(4) > 0
    const members = initialConf(Array.from({ length: size }, (_, i) => i + 1))
    this.replicas = Array.from({ length: size + SPARES }, (_, i) => {
      const id = i + 1
      const options = {
        random: this.random.fork(),
        electionTicks,
        heartbeatTicks: 1 + this.random.below(2),
        maxAppendBytes,
        maxInflightBytes,
        stepDownOnRemoval,
        quiesce: faults.quiesce ?? false,
        unsafe: faults.unsafe ?? {},
      }
      return new TestReplica(id, { conf: id <= size ? members : initialConf([]), options, lazy })
    })
    this.invariants = new Invariants(this.replicas)
    for (const replica of this.replicas) {
      replica.onReady = (ready) => {
        this.invariants.checkReady(replica, ready)
        if (faults.answerBeforeDurable) this.#send(ready.messagesAfterAppend.filter(({ to }) => to !== replica.id))
      }
      replica.onApply = (store) => this.invariants.checkApplied(replica, store)
    }
  }

  /** `steps` for each replica that the group begins with. */
  run(steps: number): void {
    for (let i = 0; i < steps * this.#size; i++) {
      this.#act()
      for (const replica of this.replicas) this.invariants.check(replica)
    }
  }

  /** Nothing is asked for and nothing fails for `rounds`. */
  rest(rounds: number): void {
    this.#cutOff = 0
    for (let i = 0; i < rounds; i++) this.#calmRound()
    this.counts.quiets += this.replicas.filter(({ raft }) => raft.quiet).length
  }

  /** Without faults the group must elect a leader, commit, and agree: all that belong to it by then. */
  converge(): void {
    const target = this.#nextValue++
    this.#cutOff = 0
    let proposed = false
    for (let round = 0; round < 400; round++) {
      this.#calmRound()
      const [leader] = this.#leaders()
      if (leader === undefined) continue
      if (!proposed) proposed = leader.raft.propose([bytes(`last ${target}`)]).ok
      const { replicas, conf } = leader.raft.membership
      const agreed = replicas.every((id) => {
        const { applied } = this.#replica(id)
        return applied.index === leader.applied.index && applied.digest === leader.applied.digest
      })
      if (proposed && agreed && !conf.autoLeave && leader.applied.index === leader.raft.lastIndex) return
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
      for (const replica of this.replicas) this.invariants.check(replica)
    }
  }

  #replica(id: number): TestReplica {
    return this.replicas[id - 1] as TestReplica
  }

  #pick(): TestReplica {
    return this.#replica(1 + this.random.below(this.replicas.length))
  }

  /** Of the newest term first. */
  #leaders(): TestReplica[] {
    return this.replicas.filter(({ raft }) => raft.role === 'leader').sort((a, b) => b.raft.term - a.raft.term)
  }

  #oneOf<T>(values: readonly T[]): T | undefined {
    return values[this.random.below(Math.max(1, values.length))]
  }

  /** The leader of the newest term is cut off, with its clock, or restarted. */
  #unseat(): void {
    const [leader] = this.#leaders()
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
    if (this.random.next() < this.#changes) this.#change()
    this.#pick().apply(this.random.below(4))
    const choice = this.random.next()
    const replica = this.#pick()
    if (choice < 0.44) this.#deliverOne()
    else if (choice < 0.6) this.#takeReady()
    else if (choice < 0.6 + 0.2 * this.#persistence) this.#persist()
    else if (choice < 0.86) this.#tick(replica)
    else if (choice < 0.89) this.#propose()
    else if (choice < 0.915) this.#read(replica)
    else if (choice < 0.93) this.#compact(replica)
    else if (choice < 0.95) this.#install(replica)
    else if (choice < 0.96) replica.log.coldBelow = replica.log.firstIndex + this.random.below(10)
    else if (choice < 0.98) this.#load(replica)
    else if (choice < 0.983) this.#cutOneOff()
    else if (choice < 0.983 + this.#crashes) this.#restart(replica)
    else if (choice > 0.998) this.#transfer(replica.id)
    else if (choice > 0.995 && this.faults.quiesce === true) this.#nodeNews(replica)
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

  #takeReady(): void {
    const replica = this.#oneOf(this.replicas.filter(({ raft }) => raft.hasReady()))
    if (replica === undefined) return
    this.#send(replica.takeReady())
    this.#countReads(replica)
  }

  #persist(): void {
    const replica = this.#oneOf(this.replicas.filter(({ unpersisted }) => unpersisted > 0))
    if (replica !== undefined) this.#send(replica.persistOne())
  }

  #propose(): void {
    const leader = this.#oneOf(this.#leaders())
    if (leader === undefined) return
    const datas = Array.from({ length: 1 + this.random.below(3) }, () => bytes(`${this.#nextValue++}`))
    leader.raft.propose(datas)
  }

  #change(): void {
    const leader = this.#oneOf(this.#leaders())
    leader?.raft.proposeConfChange(this.#drawChange(leader), NO_CONTEXT)
  }

  #drawChange(leader: TestReplica): ConfChange {
    const single = this.faults.singleChanges !== undefined
    const steps: ConfStep[] = []
    if (!single && leader.raft.membership.conf.votersOutgoing.length > 0) return { transition: 'auto', steps }
    const count = single ? 1 : 1 + this.random.below(3)
    for (let i = 0; i < count; i++) {
      const choice = this.random.next()
      steps.push({ type: choice < 0.5 ? 'add-voter' : choice < 0.65 ? 'add-learner' : 'remove', replica: this.#pick().id })
    }
    const choice = this.random.below(4)
    return { transition: single || choice < 2 ? 'auto' : choice === 2 ? 'joint-implicit' : 'joint-explicit', steps }
  }

  /** Half of the reads go to the one of those that believe to lead that has done so longest: it may be wrong. */
  #read(any: TestReplica): void {
    const replica = this.random.below(2) === 0 ? (this.#leaders().at(-1) ?? any) : any
    const context = this.#nextRead++
    this.invariants.readBegins(context)
    if (!replica.raft.readIndex(context) && !replica.raft.forwardReadIndex(context)) this.invariants.readRefused(context)
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
    const source = this.#oneOf(sources)
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
    this.invariants.restarted(replica)
  }

  #countReads(replica: TestReplica): void {
    this.counts.reads += replica.readStates.length
    this.counts.lostReads += replica.lostReads.length
    replica.readStates = []
    replica.lostReads = []
  }
}
