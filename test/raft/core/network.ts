import type { Message, MessageType } from '../../../raft/core/types.ts'
import { conf, type ReplicaSetup, TestReplica } from './test-replica.ts'

/** Replicas that hear each other at once, in order, except where the test cuts them. */
export class Network {
  readonly replicas: readonly TestReplica[]
  readonly #cut = new Set<string>()
  readonly #ignored = new Set<MessageType>()
  readonly delivered: Message[] = []

  constructor(replicas: readonly TestReplica[]) {
    this.replicas = replicas
  }

  static of(count: number, setup: ReplicaSetup | ((id: number) => ReplicaSetup) = {}): Network {
    const ids = Array.from({ length: count }, (_, i) => i + 1)
    return new Network(ids.map((id) => new TestReplica(id, { conf: conf(ids), ...(typeof setup === 'function' ? setup(id) : setup) })))
  }

  get(id: number): TestReplica {
    const replica = this.replicas.find((candidate) => candidate.id === id)
    if (replica === undefined) throw new Error(`no replica ${id}`)
    return replica
  }

  get leader(): TestReplica {
    const leaders = this.replicas.filter(({ raft }) => raft.role === 'leader')
    const newest = leaders.sort((a, b) => b.raft.term - a.raft.term)[0]
    if (newest === undefined) throw new Error('no leader')
    return newest
  }

  cut(a: number, b: number): void {
    this.#cut.add(`${a}-${b}`).add(`${b}-${a}`)
  }

  /** From `from` to `to` only. */
  cutOneWay(from: number, to: number): void {
    this.#cut.add(`${from}-${to}`)
  }

  isolate(id: number): void {
    for (const other of this.replicas) if (other.id !== id) this.cut(id, other.id)
  }

  ignore(type: MessageType): void {
    this.#ignored.add(type)
  }

  heal(): void {
    this.#cut.clear()
    this.#ignored.clear()
  }

  /** Delivers these and all that comes of them, until nothing moves. */
  deliver(messages: readonly Message[] = []): void {
    const queue = [...messages]
    for (const replica of this.replicas) queue.push(...replica.drain())
    for (let message = queue.shift(); message !== undefined; message = queue.shift()) {
      if (this.#cut.has(`${message.from}-${message.to}`) || this.#ignored.has(message.type)) continue
      const to = this.replicas.find((replica) => replica.id === message.to)
      if (to === undefined) continue
      this.delivered.push(message)
      queue.push(...to.step(message))
    }
  }

  campaign(id: number): void {
    this.get(id).raft.campaign()
    this.deliver()
  }

  /** Ticks all replicas, or those given. */
  tick(count = 1, ids: readonly number[] = this.replicas.map((replica) => replica.id)): void {
    for (let i = 0; i < count; i++) {
      for (const id of ids) {
        this.get(id).raft.tick()
        this.deliver()
      }
    }
  }

  /** Ticks until some replica leads that all reachable ones follow. */
  elect(): TestReplica {
    for (let i = 0; i < 200; i++) {
      if (this.replicas.some(({ raft }) => raft.role === 'leader')) break
      this.tick()
    }
    return this.leader
  }

  propose(id: number, ...texts: string[]): boolean {
    const encoder = new TextEncoder()
    const result = this.get(id).raft.propose(texts.map((value) => encoder.encode(value)))
    this.deliver()
    return result.ok
  }
}
