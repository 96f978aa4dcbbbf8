/** Three replicas of a map over the real driver, log and messenger, on simulated machines: the smallest thing that Raft can replicate. */
import { must } from '../../base/assert.ts'
import { utf8, utf8Text } from '../../base/bytes.ts'
import type { Entry } from '../../raft/core/types.ts'
import { DataDirectory } from '../../raft/data-directory.ts'
import { RaftHost, type UnsafeRaft } from '../../raft/raft-host.ts'
import type { Replica } from '../../raft/replica.ts'
import { firstStanding } from '../../raft/standing.ts'
import type { StateMachine } from '../../raft/state-machine.ts'
import type { NemesisTarget } from './nemesis.ts'
import { RaftChecker, type ReplicaPlaces } from './raft-checker.ts'
import type { DiskOptions } from './sim-disk.ts'
import { SimNetwork } from './sim-network.ts'
import { SimProcess } from './sim-process.ts'
import type { World } from './world.ts'

export const group = 'map@1'
const names = ['r1', 'r2', 'r3'] as const
const port = 7000
const handOverMs = 2000

export type Command = { readonly put: string; readonly value: string }

/** Holds everything in memory and nothing durably: after a start the whole log is applied again. */
class MapMachine implements StateMachine<string | undefined> {
  readonly durable = firstStanding(new Map(names.map((name, i) => [i + 1, name])))
  onDurable: (() => void) | undefined = undefined
  readonly map = new Map<string, string>()

  apply(entries: readonly Entry[]): readonly (string | undefined)[] {
    return entries.map((entry) => {
      if (entry.data.length === 0) return undefined
      const { put, value } = JSON.parse(utf8Text(entry.data)) as Command
      this.map.set(put, value)
      return value
    })
  }

  async flush(): Promise<void> {}

  /** Nothing is durable, so no log is truncated, and nobody needs a snapshot. */
  exportSnapshot(): Promise<never> {
    throw new Error('a snapshot of a map was asked for')
  }

  installSnapshot(): Promise<never> {
    throw new Error('a map was to be replaced')
  }

  async close(): Promise<void> {}
}

interface Member {
  process: SimProcess
  host: RaftHost | undefined
  replica: Replica<string | undefined> | undefined
  machine: MapMachine | undefined
}

export class MapCluster implements NemesisTarget, ReplicaPlaces {
  readonly names = names
  readonly network: SimNetwork
  readonly checker: RaftChecker
  onReplica: ReplicaPlaces['onReplica'] = undefined
  readonly #world: World
  readonly #unsafe: UnsafeRaft | undefined
  readonly #maxAppendBytes: number
  readonly #members = new Map<string, Member>()

  /** `disks`: by name; an ordinary one where none is given. */
  constructor(world: World, unsafe?: UnsafeRaft, disks: Readonly<Record<string, DiskOptions>> = {}) {
    this.#world = world
    this.#unsafe = unsafe
    this.network = new SimNetwork(world)
    // In some worlds an append carries one entry, so that entries arrive apart.
    this.#maxAppendBytes = world.random.next() < 0.5 ? 1 : 1024 * 1024
    for (const name of names) {
      const process = new SimProcess(world, { name, network: this.network, disk: disks[name] ?? {} })
      this.#members.set(name, { process, host: undefined, replica: undefined, machine: undefined })
      this.#start(name)
    }
    this.checker = new RaftChecker(world, this)
    this.checker.start()
  }

  isAlive(name: string): boolean {
    return this.#member(name).process.alive
  }

  kill(name: string): void {
    this.#member(name).process.kill()
  }

  powerLoss(name: string): void {
    this.#member(name).process.powerLoss()
  }

  restart(name: string): void {
    const member = this.#member(name)
    member.process = member.process.restart()
    member.host = undefined
    member.replica = undefined
    this.#start(name)
  }

  shutDown(name: string, done: () => void): void {
    const { process, host } = this.#member(name)
    const end = () => {
      if (!process.alive) return
      process.kill()
      done()
    }
    if (host === undefined) end()
    else host.handOver(handOverMs).then(end, (error: Error) => this.#world.fail(error))
  }

  transferTo(name: string): void {
    const leader = this.leader()
    if (leader !== undefined) this.replica(leader)?.transferLeadership(names.indexOf(name as (typeof names)[number]) + 1, () => {})
  }

  pause(name: string, durationMs: number): void {
    this.#member(name).process.pause(durationMs)
  }

  /** The replica on `name`, if it is started. */
  replica(name: string): Replica<string | undefined> | undefined {
    return this.#member(name).replica
  }

  leader(): string | undefined {
    let leader: string | undefined
    let newest = 0
    for (const name of names) {
      const replica = this.isAlive(name) ? this.replica(name) : undefined
      if (replica?.role !== 'leader' || replica.term <= newest) continue
      leader = name
      newest = replica.term
    }
    return leader
  }

  /** Proposes on `name`; `done` learns whether it is applied (true), certainly not (false), or not known. */
  put(name: string, key: string, value: string, done: (outcome: 'applied' | 'refused' | 'unknown') => void): void {
    const { replica, process } = this.#member(name)
    if (replica === undefined || !process.alive) {
      done('refused')
      return
    }
    process.onDeath(() => done('unknown'))
    replica.propose(utf8(JSON.stringify({ put: key, value })), (outcome) => {
      done(outcome.kind === 'applied' ? 'applied' : outcome.kind === 'refused' ? 'refused' : 'unknown')
    })
  }

  get(name: string, key: string, done: (outcome: { value: string | undefined } | undefined) => void): void {
    const { replica, machine, process } = this.#member(name)
    if (replica === undefined || machine === undefined || !process.alive) {
      done(undefined)
      return
    }
    process.onDeath(() => done(undefined))
    replica.readIndex((outcome) => done(outcome.kind === 'ready' ? { value: machine.map.get(key) } : undefined))
  }

  contents(name: string): ReadonlyMap<string, string> {
    return must(this.#member(name).machine, 'a started replica').map
  }

  #start(name: string): void {
    const member = this.#member(name)
    const { process } = member
    this.#open(process).then(
      ({ host, replica, machine }) => {
        if (!process.alive) return
        member.host = host
        member.replica = replica
        member.machine = machine
      },
      (error) => this.#world.fail(error),
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
      electionTimeoutMs: 500,
      heartbeatMs: 50,
      snapshotLogBytes: Number.POSITIVE_INFINITY,
      retiresDamaged: true,
      resolve: (node) => `${node}:${port}`,
      onFatal: (error) => this.#world.fail(error),
      onReplica: (replica) => this.onReplica?.(process, replica),
      maxAppendBytes: this.#maxAppendBytes,
      ...(this.#unsafe === undefined ? {} : { unsafe: this.#unsafe }),
    })
    await transport.listen([{ name: 'default', address: `${name}:${port}` }], host.routes())
    const machine = new MapMachine()
    const replica: Replica<string | undefined> = await host.start({
      group,
      replica: names.indexOf(name as (typeof names)[number]) + 1,
      stateMachine: machine,
      onSoftState: () => {},
    })
    return { host, replica, machine }
  }

  #member(name: string): Member {
    return must(this.#members.get(name), `a machine ${name}`)
  }
}
