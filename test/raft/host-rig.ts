/** Replicas of a counter over the real host, log and messenger, on simulated machines. */
import { expect } from 'vitest'
import { must } from '../../base/assert.ts'
import { utf8, utf8Text } from '../../base/bytes.ts'
import { crc32 } from '../../base/checksum.ts'
import { type FileSystem, readFile, replaceFile } from '../../base/file-system.ts'
import type { Entry } from '../../raft/core/types.ts'
import { DataDirectory } from '../../raft/data-directory.ts'
import { RaftHost } from '../../raft/raft-host.ts'
import type { Replica } from '../../raft/replica.ts'
import { type Standing, standBehind } from '../../raft/standing.ts'
import { type ExportedSnapshot, SnapshotNeeded, type StateMachine } from '../../raft/state-machine.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'
import { firstOf } from './standings.ts'

export const group = 'g1@1'

/** Counts entries; what is durable lives in `kept`, over restarts. */
export class Machine implements StateMachine<number> {
  readonly kept: { durable: Standing }
  onDurable: (() => void) | undefined = undefined
  standing: Standing
  closed = 0
  flushes = 0
  flushFailure: Error | undefined
  applyFailure: Error | undefined
  /** While set, `apply` waits. */
  gate: Promise<void> | undefined

  readonly #fileSystem: FileSystem
  installs = 0
  /** The entry that cannot be applied; 0: none. */
  lacks = 0

  constructor(kept: { durable: Standing }, fileSystem: FileSystem) {
    this.kept = kept
    this.#fileSystem = fileSystem
    this.standing = kept.durable
  }

  get applied(): number {
    return this.standing.index
  }

  get durable(): Standing {
    return this.kept.durable
  }

  apply(entries: readonly Entry[]): readonly number[] | Promise<readonly number[]> {
    if (this.applyFailure !== undefined) throw this.applyFailure
    const at = entries.findIndex(({ index }) => index === this.lacks)
    if (at >= 0) throw new SnapshotNeeded(this.lacks, 'the test says so')
    expect(entries[0]?.index).toBe(this.applied + 1)
    this.standing = entries.reduce(standBehind, this.standing)
    const results = entries.map(({ index }) => index)
    return this.gate === undefined ? results : this.gate.then(() => results)
  }

  async flush(): Promise<void> {
    this.flushes++
    if (this.flushFailure !== undefined) throw this.flushFailure
    this.kept.durable = this.standing
    this.onDurable?.()
  }

  async exportSnapshot(folder: string): Promise<ExportedSnapshot> {
    const meta = this.standing
    const bytes = utf8(`stands at ${meta.index}`)
    await this.#fileSystem.makeFolder(folder)
    await replaceFile(this.#fileSystem, `${folder}/count`, bytes)
    return { meta, description: utf8('a count'), files: [{ name: 'count', size: bytes.length, checksum: crc32(bytes) }] }
  }

  async installSnapshot({ meta, description }: ExportedSnapshot, folder: string): Promise<void> {
    expect(utf8Text(description)).toBe('a count')
    expect(utf8Text(await readFile(this.#fileSystem, `${folder}/count`))).toBe(`stands at ${meta.index}`)
    this.installs++
    expect(meta.index).toBeGreaterThanOrEqual(this.lacks)
    this.standing = meta
    this.kept.durable = meta
    this.onDurable?.()
  }

  async close(): Promise<void> {
    this.closed++
  }
}

export class Node {
  readonly name: string
  readonly number: number
  readonly #rig: Rig
  readonly kept: { durable: Standing }
  readonly fatal: Error[] = []
  /** Faults of the replica's own. */
  readonly stopped: Error[] = []
  process: SimProcess
  host: RaftHost | undefined
  replica: Replica<number> | undefined
  machine: Machine | undefined

  constructor(rig: Rig, name: string) {
    this.#rig = rig
    this.name = name
    this.number = rig.names.indexOf(name) + 1
    this.kept = { durable: firstOf(rig.voters) }
    this.process = new SimProcess(rig.world, { name, network: rig.network })
  }

  async open(): Promise<void> {
    const { fileSystem, random, clock, transport, logger } = this.process
    const directory = await DataDirectory.open(fileSystem, random, 'data', 'server', this.name)
    this.host = await RaftHost.open({
      fileSystem,
      random,
      clock,
      transport,
      logger,
      directory,
      electionTimeoutMs: 500,
      heartbeatMs: 50,
      snapshotLogBytes: 20_000,
      retiresDamaged: true,
      resolve: (node) => `${node}:1`,
      onFatal: (error) => this.fatal.push(error),
    })
    await transport.listen([{ name: 'default', address: `${this.name}:1` }], this.host.routes())
  }

  async start(): Promise<void> {
    const host = must(this.host, 'an open host')
    this.machine = new Machine(this.kept, this.process.fileSystem)
    this.replica = await host.start<number>({
      group,
      replica: this.number,
      stateMachine: this.machine,
      onSoftState: () => {},
      onStopped: (error) => this.stopped.push(error),
    })
  }

  async run(): Promise<void> {
    await this.#rig.world.settle(this.open())
    await this.#rig.world.settle(this.start())
  }

  async again(how: 'kill' | 'powerLoss' = 'kill'): Promise<void> {
    this.process[how]()
    this.process = this.process.restart()
    await this.run()
  }

  /** Proposes; the answer comes to stand in the result. */
  propose(bytes = 10): { outcome: string } {
    const result = { outcome: 'waits' }
    must(this.replica, 'a replica').propose(new Uint8Array(bytes), (outcome) => {
      expect(result.outcome).toBe('waits')
      result.outcome = outcome.kind === 'refused' ? outcome.reason : outcome.kind
    })
    return result
  }

  read(): { outcome: string } {
    const result = { outcome: 'waits' }
    must(this.replica, 'a replica').readIndex((outcome) => {
      expect(result.outcome).toBe('waits')
      result.outcome = outcome.kind === 'refused' ? outcome.reason : outcome.kind
    })
    return result
  }
}

export class Rig {
  readonly world = new World({ seed: 11 })
  readonly network = new SimNetwork(this.world)
  readonly names: readonly string[]
  readonly voters: number
  readonly nodes: readonly Node[]

  /** The first group's voters are n1, n2, …; others come later. */
  constructor(voters: number, others = 0) {
    this.voters = voters
    this.names = Array.from({ length: voters + others }, (_, i) => `n${i + 1}`)
    this.nodes = this.names.map((name) => new Node(this, name))
  }

  async run(): Promise<void> {
    for (const node of this.nodes.slice(0, this.voters)) await node.run()
    await this.leader()
  }

  async leader(): Promise<Node> {
    const find = () =>
      this.nodes.find(({ replica, process }) => process.alive && replica?.role === 'leader' && replica.applied === replica.log.lastIndex)
    await this.world.runUntil(() => find() !== undefined, 10_000)
    return must(find(), 'a leader')
  }

  async fill(leader: Node, bytes: number): Promise<void> {
    const result = leader.propose(bytes)
    await this.world.runUntil(() => result.outcome !== 'waits')
    expect(result.outcome).toBe('applied')
  }
}
