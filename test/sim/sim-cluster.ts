/** A whole cluster on simulated machines: controllers, nodes and clients are the code of production on seeded seams. */
import { must } from '../../base/assert.ts'
import { CorruptionError, DataDirectoryMismatch } from '../../base/errors.ts'
import type { JobRegistry } from '../../base/executor.ts'
import { asDiskError, exitCode, failureOf } from '../../cli/exit-code.ts'
import { Client } from '../../client/client.ts'
import type { ReadMode } from '../../client/types.ts'
import type { ConfigState } from '../../controller/config-state.ts'
import { type RunningController, startController } from '../../controller/controller-process.ts'
import { ControllerClient } from '../../proto/controller-client.ts'
import type { RunningProcess } from '../../raft/process.ts'
import type { UnsafeRaft } from '../../raft/raft-host.ts'
import type { Replica } from '../../raft/replica.ts'
import { groupName } from '../../raft/replica-status.ts'
import type { HostedReplica } from '../../shardserver/group-host.ts'
import { shardJobs } from '../../shardserver/jobs.ts'
import type { MigrationBreak } from '../../shardserver/migration-break.ts'
import { type RunningShardServer, startShardServer } from '../../shardserver/shard-server.ts'
import type { DamageTarget } from './disk-nemesis.ts'
import { endMsMax, FaultAtlas } from './fault-atlas.ts'
import type { NemesisTarget } from './nemesis.ts'
import type { ReplicaPlaces } from './raft-checker.ts'
import type { ClockOptions } from './sim-clock.ts'
import type { FailedOperation, SimDisk } from './sim-disk.ts'
import { SimNetwork } from './sim-network.ts'
import { SimProcess } from './sim-process.ts'
import type { World } from './world.ts'

export interface SimClusterOptions {
  readonly controllers: number
  readonly nodes: number
  readonly groups: number
  /** Names of the nodes of each group, in the order of the groups; all nodes hold all groups if not given. */
  readonly placement?: readonly (readonly string[])[]
  readonly shards: number
  readonly electionTimeoutMs?: number
  /** Small memtables bring flushes and compactions into a short run. */
  readonly memtableBytes?: number
  readonly snapshotLogBytes?: number
  /** As fast as it goes if not given. */
  readonly snapshotBytesPerSecond?: number
  readonly maxMigrations?: number
  /** As fast as it goes if not given. */
  readonly migrationBytesPerSecond?: number
  /** Off if not given: many runs are about who leads. */
  readonly balanceLeaders?: boolean
  /** Before leaders are balanced. As in production if not given. */
  readonly leadersSettledMs?: number
  /** Of the nodes. Default: 'linearizable'. */
  readonly readMode?: 'linearizable' | 'lease'
  /** The clock of a machine, in place of one that drifts. */
  readonly clockOf?: (name: string) => ClockOptions
  /** What a paused process's clock does, whatever the pause says. */
  readonly pausedClocks?: 'frozen' | 'running'
  readonly unsafe?: UnsafeRaft
  readonly breaks?: ReadonlySet<MigrationBreak>
  /** Monotonic clocks run at rates from 1 - this to 1 + this. */
  readonly clockDrift?: number
  /** A deliberate break: all disks answer syncs and do nothing. */
  readonly lyingDisks?: boolean
  /** A server meets what it cannot live with, and no damage was done to it. Not given: the run fails. */
  readonly onFatal?: (name: string, error: Error) => void
}

const jobs: JobRegistry = shardJobs
const controllerPort = 7400
const closeMs = 5000
/** After which a process that ended by itself is started again. */
const restartMs = 500
const nodePort = 7410

interface Machine {
  process: SimProcess
  /** It comes back with an empty disk. */
  isWiped?: boolean
  /** Asked to end while its disk was full: what waits for room is told that it is over. */
  isClosingFull?: boolean
  running: { readonly node: RunningShardServer } | { readonly controller: RunningController } | undefined
}

export class SimCluster implements NemesisTarget, ReplicaPlaces {
  readonly atlas: FaultAtlas
  readonly names: readonly string[]
  readonly controllerNames: readonly string[]
  readonly nodeNames: readonly string[]
  readonly groupNames: readonly string[]
  readonly network: SimNetwork
  onReplica: ReplicaPlaces['onReplica'] = undefined
  readonly #world: World
  readonly #options: SimClusterOptions
  readonly #maxAppendBytes: number
  readonly #machines = new Map<string, Machine>()
  /** Processes that have said why they end. */
  readonly #ended = new WeakSet<SimProcess>()
  readonly #lists = new WeakMap<object, readonly Replica<unknown>[]>()

  constructor(world: World, options: SimClusterOptions) {
    this.#world = world
    this.#options = options
    this.network = new SimNetwork(world)
    // In some worlds an append carries one entry, so that entries arrive apart.
    this.#maxAppendBytes = world.random.next() < 0.5 ? 1 : 1024 * 1024
    this.controllerNames = numbered('c', options.controllers)
    this.nodeNames = numbered('n', options.nodes)
    this.groupNames = numbered('g', options.groups)
    this.names = [...this.controllerNames, ...this.nodeNames]
    this.atlas = new FaultAtlas([this.controllerNames, ...this.groupNames.map((_, group) => options.placement?.[group] ?? this.nodeNames)])
    const { clockDrift = 0, lyingDisks = false } = options
    for (const name of this.names) {
      const clock = options.clockOf?.(name) ?? (clockDrift === 0 ? {} : { rate: 1 + clockDrift * (2 * world.random.next() - 1) })
      const process = new SimProcess(world, {
        name,
        network: this.network,
        jobs,
        clock,
        ...(lyingDisks ? { disk: { lyingSync: true } } : {}),
      })
      this.#machines.set(name, { process, running: undefined })
      this.#start(name)
    }
  }

  get controllerAddresses(): string[] {
    return this.controllerNames.map((name) => `${name}:${controllerPort}`)
  }

  disk(name: string): SimDisk {
    return this.#machine(name).process.disk
  }

  isAlive(name: string): boolean {
    return this.#machine(name).process.alive
  }

  kill(name: string): void {
    if (this.atlas.losesAcknowledged(name, this.#world.nowMs)) this.#wipe(name)
    else this.#machine(name).process.kill()
  }

  powerLoss(name: string): void {
    if (this.atlas.losesAcknowledged(name, this.#world.nowMs)) this.#wipe(name)
    else this.#machine(name).process.powerLoss()
  }

  restart(name: string): void {
    const machine = this.#machine(name)
    machine.process = machine.process.restart(machine.isWiped ? { disk: {} } : {})
    machine.isWiped = false
    machine.isClosingFull = false
    machine.running = undefined
    this.#start(name)
  }

  mayRevive(name: string): boolean {
    return !this.atlas.isLost(name)
  }

  /** Disks and clocks may be harmed. */
  readonly damage: DamageTarget = {
    disk: (name) => this.disk(name),
    jumpWall: (name, byMs) => this.#machine(name).process.clock.jumpWall(byMs),
    mayDamage: (name) => this.atlas.mayDamage(name),
    damaged: (name, what, lies) => {
      const atMs = this.#world.nowMs
      this.atlas.damage(name, what, atMs, lies)
      this.#world.log({ atMs, process: name, level: 'warn', fields: {}, message: `its disk is damaged: ${what}` })
    },
    wipe: (name) => {
      if (this.isAlive(name)) this.#wipe(name)
      else this.#emptied(name)
    },
  }

  /** The server closes; what has not closed after as long as a process has for it is killed. */
  shutDown(name: string, done: () => void): void {
    const machine = this.#machine(name)
    const { process } = machine
    machine.isClosingFull = isFull(process.disk)
    const end = () => {
      if (!process.alive) return
      process.kill()
      done()
    }
    const running = this.running(name)
    if (running === undefined) end()
    else running.close().then(end, (error: Error) => process.alive && this.#fatal(name, process, error))
    this.#world.schedule(closeMs, undefined, `${name} is ended`, end)
  }

  /** Asked where each group is led; the answer is nobody's business. */
  transferTo(name: string): void {
    const ask = (leader: string | undefined, group: string) => {
      const running = leader === undefined ? undefined : this.running(leader)
      running?.transferLeader({ group, node: name }).catch((error: Error) => this.#world.fail(error))
    }
    if (this.controllerNames.includes(name)) {
      ask(this.controllerLeader(), 'controller')
      return
    }
    for (const { replica } of this.hosted(name)) ask(this.groupLeader(replica.group), groupName(replica.group))
  }

  pause(name: string, durationMs: number, clock: 'frozen' | 'running' = 'frozen'): void {
    this.#machine(name).process.pause(durationMs, this.#options.pausedClocks ?? clock)
  }

  /** `pick`, from 0 to 1, says of which group. */
  leader(pick: number): string | undefined {
    const leaders = new Map<string, { readonly name: string; readonly term: number }>()
    for (const name of this.names) {
      for (const { group, role, term } of this.replicas(name)) {
        if (role === 'leader' && term > (leaders.get(group)?.term ?? -1)) leaders.set(group, { name, term })
      }
    }
    const groups = [...leaders.keys()].sort()
    return leaders.get(groups[Math.floor(pick * groups.length)] ?? '')?.name
  }

  /** The running server on `name`; undefined while it starts or is dead. */
  running(name: string): RunningProcess | undefined {
    const { process, running } = this.#machine(name)
    if (!process.alive || running === undefined) return undefined
    return 'node' in running ? running.node : running.controller
  }

  /** The replicas that run on node `name`. */
  hosted(name: string): readonly HostedReplica[] {
    const { process, running } = this.#machine(name)
    return process.alive && running !== undefined && 'node' in running ? running.node.hosted() : []
  }

  /** All Raft replicas that run on machine `name`, a controller's included; none on a client's. */
  replicas(name: string): readonly Replica<unknown>[] {
    const machine = this.#machines.get(name)
    if (machine?.running === undefined || !machine.process.alive) return nobody
    if ('node' in machine.running) return this.#replicasOf(machine.running.node.hosted())
    const replica = machine.running.controller.replica as Replica<unknown> | undefined
    return replica === undefined ? nobody : this.#listOf(replica, () => [replica])
  }

  #replicasOf(hosted: readonly HostedReplica[]): readonly Replica<unknown>[] {
    return this.#listOf(hosted, () => hosted.map(({ replica }) => replica as Replica<unknown>))
  }

  /** Lists are asked for after each event: each is made once. */
  #listOf(key: object, make: () => readonly Replica<unknown>[]): readonly Replica<unknown>[] {
    let list = this.#lists.get(key)
    if (list === undefined) this.#lists.set(key, (list = make()))
    return list
  }

  /** What controller `name` has applied. */
  controllerState(name: string): ConfigState | undefined {
    const { process, running } = this.#machine(name)
    return process.alive && running !== undefined && 'controller' in running ? running.controller.state : undefined
  }

  /** Of the controllers that believe to lead, the one in the newest term. */
  controllerLeader(): string | undefined {
    let leader: string | undefined
    let newest = -1
    for (const name of this.controllerNames) {
      const replica = this.#controllerReplica(name)
      if (replica?.role !== 'leader' || replica.term <= newest) continue
      leader = name
      newest = replica.term
    }
    return leader
  }

  /** Of the nodes whose replica of `group` (uid) believes to lead, the one in the newest term. */
  groupLeader(group: string): string | undefined {
    let leader: string | undefined
    let newest = -1
    for (const name of this.nodeNames) {
      const replica = this.hosted(name).find((hosted) => hosted.replica.group === group)?.replica
      if (replica?.role !== 'leader' || replica.term <= newest) continue
      leader = name
      newest = replica.term
    }
    return leader
  }

  /** Every machine runs, and every group that it hosts has a leader; but for those whose disks are damaged. */
  get isReady(): boolean {
    return this.isReadyWithout([])
  }

  /** The same but for the machines in `but`. */
  isReadyWithout(but: readonly string[]): boolean {
    return this.names.every((name) => but.includes(name) || this.atlas.isDamaged(name) || this.running(name)?.ready() === true)
  }

  /** Makes the groups, their replicas on all nodes, and waits until every shard is served. */
  async form(): Promise<void> {
    const process = new SimProcess(this.#world, { name: 'admin', network: this.network })
    const admin = this.#controllerClient(process)
    const groups = this.groupNames.map((name) => ({ name, weight: 1, members: this.members(name) }))
    await this.#world.settle(admin.join({ groups, once: true, author: 'simulator' }, { timeoutMs: 30_000 }), 60_000)
    await this.#world.settle(this.#allServed(process), 60_000)
    admin.close()
    process.kill()
  }

  /** The nodes that hold group `name`, as a join names them. */
  members(name: string): { node: string; address: string }[] {
    const nodes = this.#options.placement?.[this.groupNames.indexOf(name)] ?? this.nodeNames
    return nodes.map((node) => this.member(node))
  }

  /** A node as a change of members names it. */
  member(node: string): { node: string; address: string } {
    return { node, address: `${node}:${nodePort}` }
  }

  /** An admin on a machine of its own. */
  admin(name: string): ControllerClient {
    return this.#controllerClient(new SimProcess(this.#world, { name, network: this.network }))
  }

  #controllerClient({ transport, clock, random, logger }: SimProcess): ControllerClient {
    return new ControllerClient({ transport, clock, random, logger, addresses: this.controllerAddresses })
  }

  /** A client on a machine of its own. */
  client(name: string, deadlineMs: number, read: ReadMode = 'linearizable'): Client {
    const process = new SimProcess(this.#world, { name, network: this.network })
    const { transport, clock, random, logger } = process
    return new Client({ transport, clock, random, logger, controllers: this.controllerAddresses, deadlineMs, read })
  }

  async #allServed(process: SimProcess): Promise<void> {
    for (;;) {
      let served = 0
      for (const name of this.nodeNames) {
        const status = await this.running(name)?.status({})
        for (const replica of status?.replicas ?? []) {
          if (replica.role === 'leader') served += (replica.shards ?? []).filter(({ state }) => state === 'serving').length
        }
      }
      if (served === this.#options.shards) return
      await new Promise<void>((resolve) => process.schedule(100, 'ask again', resolve))
    }
  }

  #start(name: string): void {
    const machine = this.#machine(name)
    const { process } = machine
    process.disk.onFailed = (failed) => this.#diskFailed(name, process, failed)
    process.onDeath(() => this.atlas.processEnded(name))
    const onFatal = (error: Error) => {
      if (process.alive) this.#fatal(name, process, error)
    }
    this.#open(name, process, onFatal).then((running) => {
      machine.running = running
    }, onFatal)
  }

  async #open(name: string, process: SimProcess, onFatal: (error: Error) => void): Promise<NonNullable<Machine['running']>> {
    const isController = this.controllerNames.includes(name)
    const {
      electionTimeoutMs = 500,
      memtableBytes = 64 * 1024,
      snapshotLogBytes = 256 * 1024,
      snapshotBytesPerSecond,
      unsafe,
      breaks,
    } = this.#options
    const settings = {
      id: name,
      listen: [{ name: 'default', address: `${name}:${isController ? controllerPort : nodePort}` }],
      advertise: [],
      data: 'data',
      pid: process.incarnation,
      http: '',
      electionTimeoutMs,
      heartbeatMs: electionTimeoutMs / 10,
      snapshotLogBytes,
      snapshotBytesPerSecond,
      memtableBytes,
      blockCacheBytes: 1024 * 1024,
      diskReserveBytes: 64 * 1024,
      readMode: isController ? ('linearizable' as const) : (this.#options.readMode ?? 'linearizable'),
      maxAppendBytes: this.#maxAppendBytes,
      onReplica: (replica: Replica<unknown>) => this.onReplica?.(process, replica),
      ...(unsafe === undefined ? {} : { unsafe }),
    }
    if (!isController) {
      const { maxMigrations = 2, migrationBytesPerSecond } = this.#options
      const own = {
        ...settings,
        controllers: this.controllerAddresses,
        maxMigrations,
        ...(migrationBytesPerSecond === undefined ? {} : { migrationBytesPerSecond }),
        ...(breaks === undefined ? {} : { breaks }),
      }
      return { node: await startShardServer(own, process, onFatal) }
    }
    const peers = this.controllerNames.map((id) => ({ id, address: `${id}:${controllerPort}` }))
    const { shards, balanceLeaders = false, leadersSettledMs } = this.#options
    const own = { ...settings, peers, shards, balanceLeaders, ...(leadersSettledMs === undefined ? {} : { leadersSettledMs }) }
    return { controller: await startController(own, process, onFatal) }
  }

  #controllerReplica(name: string): Replica<unknown> | undefined {
    const { process, running } = this.#machine(name)
    return process.alive && running !== undefined && 'controller' in running
      ? (running.controller.replica as Replica<unknown> | undefined)
      : undefined
  }

  /** A sync that failed is final: its process must end. What else fails it may live with, or not. */
  #diskFailed(name: string, process: SimProcess, { kind, path, fault }: FailedOperation): void {
    const isSync = kind === 'sync' || kind === 'syncFolder'
    if (fault === 'ENOSPC' && !isSync) return
    this.atlas.diskFailed(name, this.#world.nowMs)
    if (!isSync) return
    this.#world.schedule(endMsMax, undefined, `${name} must have ended`, () => {
      if (!process.alive || this.#ended.has(process)) return
      this.#world.fail(new Error(`${name} runs on ${endMsMax} ms after its ${kind} of ${path} failed`))
    })
  }

  /** Its process ends with the code of a disk error, and for a reason: one of its operations has failed. That its disk is full is none, but where it was to end anyway. */
  #endsOverDisk(name: string, error: Error): boolean {
    if (failureOf(asDiskError(error)).exitCode !== exitCode.diskError) return false
    return this.atlas.mayEnd(name, this.#world.nowMs) || this.#machine(name).isClosingFull === true
  }

  /** What ends a real process. One whose disk failed is started again; one that has met damage is lost, until it is replaced. */
  #fatal(name: string, process: SimProcess, error: Error): void {
    this.#ended.add(process)
    const { onFatal } = this.#options
    const isDisk = onFatal === undefined && this.#endsOverDisk(name, error)
    const isRefused = error instanceof CorruptionError || error instanceof DataDirectoryMismatch
    const isDamage = isRefused && this.atlas.isDamaged(name)
    if (isDisk || isDamage) {
      this.#world.log({
        atMs: this.#world.nowMs,
        process: name,
        level: 'warn',
        fields: { error: error.message },
        message: 'the process ends',
      })
      if (isDamage) this.atlas.lose(name)
      this.kill(name)
      if (isDisk)
        this.#world.schedule(
          restartMs,
          undefined,
          `${name} is started again`,
          () => !this.isAlive(name) && process === this.#machine(name).process && this.restart(name),
        )
    } else if (onFatal === undefined) this.#world.fail(error)
    else onFatal(name, error)
  }

  #wipe(name: string): void {
    this.#machine(name).process.powerLoss()
    this.#emptied(name)
  }

  #emptied(name: string): void {
    this.#machine(name).isWiped = true
    this.atlas.wiped(name, this.#world.nowMs)
  }

  #machine(name: string): Machine {
    return must(this.#machines.get(name), `a machine ${name}`)
  }
}

const nobody: readonly Replica<unknown>[] = []

function isFull({ quotaBytes }: SimDisk): boolean {
  return quotaBytes !== Number.POSITIVE_INFINITY
}

function numbered(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${i + 1}`)
}
