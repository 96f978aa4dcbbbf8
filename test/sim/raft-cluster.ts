/**
 * Servers of one Raft group on simulated machines, three to seven of them, over the real driver, log and messenger: what the scenarios of MIT's Raft
 * lab need. A server that is cut off is alive and hears nobody; one that has crashed lost what its disk had not synced.
 */
import { must } from '../../base/assert.ts'
import { utf8 } from '../../base/bytes.ts'
import type { SeededRandom } from '../../base/random.ts'
import type { Route } from '../../base/transport.ts'
import { pb } from '../../proto/messages.ts'
import { raftMethods } from '../../proto/methods.ts'
import { MessageType } from '../../raft/core/types.ts'
import { DataDirectory } from '../../raft/data-directory.ts'
import { RaftHost } from '../../raft/raft-host.ts'
import type { Replica } from '../../raft/replica.ts'
import { firstStanding } from '../../raft/standing.ts'
import { ListMachine } from './list-machine.ts'
import { RaftChecker, type ReplicaPlaces } from './raft-checker.ts'
import { type LinkConditions, SimNetwork } from './sim-network.ts'
import { SimProcess } from './sim-process.ts'
import type { World } from './world.ts'

const group = 'list@1'
const port = 7000
/** Of the lab's harness: what an election may take before a test gives up on it. */
export const electionMs = 1000
const electionTimeoutMs = 500
const heartbeatMs = 50

/** Each message is late by up to 27 ms; one in ten is lost, on the way there and on the way back. */
export const unreliable: Partial<LinkConditions> = { leastDelayMs: 0, mostDelayMs: 27, lossProbability: 0.1 }
/** Two of three questions are answered up to 2.2 s late, since they or their answers were: later ones overtake them. */
export const longReordering: Partial<LinkConditions> = { reorderProbability: 0.4, reorderMs: 2200 }

export interface RaftClusterOptions {
  readonly size: number
  /** Bytes to which a log grows before what was applied is made durable to free it. */
  readonly snapshotLogBytes?: number
}

/** What went over the network between servers. */
export interface Traffic {
  /** Requests: votes, appends, heartbeats, offers of snapshots; their answers are not counted, as in a count of calls. */
  requests: number
  bytes: number
}

interface Server {
  process: SimProcess
  host: RaftHost | undefined
  replica: Replica<undefined> | undefined
  machine: ListMachine | undefined
  /** Snapshots put in place in earlier lives. */
  installsBefore: number
}

export class RaftCluster implements ReplicaPlaces {
  readonly names: readonly string[]
  readonly network: SimNetwork
  readonly traffic: Traffic = { requests: 0, bytes: 0 }
  readonly world: World
  readonly random: SeededRandom
  readonly checker: RaftChecker
  onReplica: ReplicaPlaces['onReplica'] = undefined
  readonly #options: RaftClusterOptions
  readonly #servers = new Map<string, Server>()
  readonly #cutOff = new Set<string>()

  constructor(world: World, options: RaftClusterOptions) {
    this.world = world
    this.random = world.random.fork()
    this.#options = options
    this.network = new SimNetwork(world)
    this.names = Array.from({ length: options.size }, (_, i) => `s${i + 1}`)
    for (const name of this.names) {
      const process = new SimProcess(world, { name, network: this.network })
      this.#servers.set(name, { process, host: undefined, replica: undefined, machine: undefined, installsBefore: 0 })
      this.#start(name)
    }
    this.checker = new RaftChecker(world, this)
    this.checker.start()
  }

  // ---- servers ----

  isAlive(name: string): boolean {
    return this.#server(name).process.alive
  }

  isConnected(name: string): boolean {
    return !this.#cutOff.has(name)
  }

  /** While it runs. */
  replica(name: string): Replica<undefined> | undefined {
    const { process, replica } = this.#server(name)
    return process.alive ? replica : undefined
  }

  /** What `name` has applied, as of its newest life. */
  values(name: string): ReadonlyMap<number, string> {
    return this.#server(name).machine?.values ?? new Map()
  }

  /** Snapshots that `name` has put in place, in all its lives. */
  installs(name: string): number {
    const { installsBefore, machine } = this.#server(name)
    return installsBefore + (machine?.installs ?? 0)
  }

  /** Half of all crashes are a loss of power: what was not synced is lost, in part. */
  crash(name: string): void {
    const { process } = this.#server(name)
    if (this.random.next() < 0.5) process.kill()
    else process.powerLoss()
  }

  restart(name: string): void {
    const server = this.#server(name)
    if (server.process.alive) return
    server.process = server.process.restart()
    server.host = undefined
    server.replica = undefined
    server.installsBefore = this.installs(name)
    server.machine = undefined
    this.#start(name)
  }

  disconnect(...names: readonly string[]): void {
    for (const name of names) {
      this.#cutOff.add(name)
      this.network.isolate(name, this.random.next() < 0.5 ? 'stall' : 'refuse')
    }
  }

  connect(...names: readonly string[]): void {
    for (const name of names) this.#cutOff.delete(name)
    for (const a of names) {
      for (const b of this.names) {
        if (a === b || this.#cutOff.has(b)) continue
        this.network.mend(a, b)
        this.network.mend(b, a)
      }
    }
  }

  // ---- who leads ----

  /** Of the servers that are connected and believe to lead. */
  leaders(): { readonly name: string; readonly term: number }[] {
    return this.names.flatMap((name) => {
      const replica = this.isConnected(name) ? this.replica(name) : undefined
      return replica?.role === 'leader' ? [{ name, term: replica.term }] : []
    })
  }

  /** The leader of the newest term. Two in one term are the checker's business. */
  newestLeader(): string | undefined {
    return this.leaders().sort((a, b) => b.term - a.term)[0]?.name
  }

  /** A leader that is connected, once there is one. */
  async leader(): Promise<string> {
    await this.world.runUntil(() => this.newestLeader() !== undefined, 10 * electionMs)
    return must(this.newestLeader(), 'a leader')
  }

  others(...names: readonly string[]): string[] {
    return this.names.filter((name) => !names.includes(name))
  }

  // ---- values ----

  /** Proposes at `name`, if that leads. Returns whether it might have taken it. */
  start(name: string, value: string): boolean {
    const replica = this.replica(name)
    if (replica?.role !== 'leader') return false
    replica.propose(utf8(value), () => {})
    return true
  }

  /** How many servers have applied `value`. */
  countApplied(value: string): number {
    return this.names.filter((name) => [...this.values(name).values()].includes(value)).length
  }

  /** Proposes at whoever leads, again after 2 s, until `servers` of them have applied `value`; fails after 10 s. Returns its place in the list of values. */
  async commit(value: string, servers: number): Promise<number> {
    let next = this.world.nowMs
    const attempt = () => {
      if (this.countApplied(value) >= servers) return true
      const name = this.newestLeader()
      if (this.world.nowMs >= next && name !== undefined && this.start(name, value)) next = this.world.nowMs + 2000
      return false
    }
    await this.world.runUntil(attempt, 10_000)
    const holder = must(
      this.names.find((name) => [...this.values(name).values()].includes(value)),
      'one that has it',
    )
    return [...this.values(holder).values()].indexOf(value) + 1
  }

  /**
   * Waits until all servers hold the same list and nothing is under way. Returns it, each value once, where it came first: whoever proposes again may have
   * it there twice.
   */
  async converge(): Promise<readonly string[]> {
    const lists = () => this.names.map((name) => [...this.values(name)].join())
    await this.world.runUntil(() => {
      const replicas = this.names.map((name) => this.replica(name))
      const [first] = replicas
      return (
        first !== undefined &&
        replicas.every((one) => one !== undefined && one.applied === first.applied && one.log.lastIndex === one.applied) &&
        new Set(lists()).size === 1
      )
    }, 20_000)
    return [...new Set(this.values('s1').values())]
  }

  logBytes(name: string): number {
    return this.replica(name)?.log.bytes ?? 0
  }

  #start(name: string): void {
    const server = this.#server(name)
    const { process } = server
    this.#open(process).then(
      ({ host, replica, machine }) => {
        if (!process.alive) return
        server.host = host
        server.replica = replica
        server.machine = machine
      },
      (error) => this.world.fail(error),
    )
  }

  async #open(process: SimProcess) {
    const { clock, random, fileSystem, transport, logger, name } = process
    const directory = await DataDirectory.open(fileSystem, random, 'data', 'server', name)
    const host = await RaftHost.open({
      clock,
      random,
      fileSystem,
      transport,
      logger,
      directory,
      electionTimeoutMs,
      heartbeatMs,
      snapshotLogBytes: this.#options.snapshotLogBytes ?? Number.POSITIVE_INFINITY,
      retiresDamaged: true,
      resolve: (node) => `${node}:${port}`,
      onFatal: (error) => this.world.fail(error),
      onReplica: (replica) => this.onReplica?.(process, replica),
    })
    await transport.listen([{ name: 'default', address: `${name}:${port}` }], host.routes().map(this.#counted))
    const machine = await ListMachine.open(fileSystem, 'list', firstStanding(new Map(this.names.map((node, i) => [i + 1, node]))))
    const replica: Replica<undefined> = await host.start({
      group,
      replica: this.names.indexOf(name) + 1,
      stateMachine: machine,
      onSoftState: () => {},
    })
    return { host, replica, machine }
  }

  /** Peers receive on streams that they dialled: what is written to them is what a server sends. */
  readonly #counted = (route: Route): Route => {
    if (!('accept' in route) || route.method !== raftMethods.receive) return route
    return {
      ...route,
      accept: (stream, context) => {
        const counting = {
          write: (frame: pb.v1.RaftFrame) => {
            this.#count(frame)
            return stream.write(frame)
          },
          end: () => stream.end(),
          get closed() {
            return stream.closed
          },
        }
        return route.accept(counting, context)
      },
    }
  }

  #count(frame: pb.v1.RaftFrame): void {
    this.traffic.bytes += pb.v1.RaftFrame.encode(frame).finish().length
    for (const message of frame.messages) if (isRequest(message as pb.v1.RaftMessage)) this.traffic.requests++
  }

  #server(name: string): Server {
    return must(this.#servers.get(name), `a server ${name}`)
  }
}

const requestTypes = new Set<number>([
  MessageType.PreVote,
  MessageType.Vote,
  MessageType.Append,
  MessageType.Heartbeat,
  MessageType.Snapshot,
  MessageType.TimeoutNow,
])

function isRequest({ type }: pb.v1.RaftMessage): boolean {
  return requestTypes.has(type)
}
