import { sleep } from '../base/clock.ts'
import type { DiskSpace } from '../base/disk-space.ts'
import { DataDirectoryMismatch } from '../base/errors.ts'
import type { Seams } from '../base/seams.ts'
import { type Listener, unaryRoute } from '../base/transport.ts'
import { ControllerClient } from '../proto/controller-client.ts'
import { OstrakaError } from '../proto/errors.ts'
import { protocolVersion } from '../proto/limits.ts'
import { pb } from '../proto/messages.ts'
import { nodeMethods } from '../proto/methods.ts'
import { DataDirectory } from '../raft/data-directory.ts'
import { checkFormedPeers, formController, helloRoute } from '../raft/formation.ts'
import { LateReplica } from '../raft/late-replica.ts'
import { Memberships } from '../raft/memberships.ts'
import { openHost, openSpace } from '../raft/open-host.ts'
import { advertisedAddresses, type ProcessSettings, type RunningProcess } from '../raft/process.ts'
import type { RaftHost } from '../raft/raft-host.ts'
import type { Replica } from '../raft/replica.ts'
import { replicaStatus } from '../raft/replica-status.ts'
import { firstStanding } from '../raft/standing.ts'
import { transferLeader } from '../raft/transfer-request.ts'
import { admission } from './admission.ts'
import { memtableBytes, openConfigStateMachine } from './config-database.ts'
import type { ConfigResult, ConfigState } from './config-state.ts'
import { type ConfigStateMachine, checkShardCount } from './config-state-machine.ts'
import { type ControllerMembers, controllerGroup } from './controller-members.ts'
import { ControllerServer } from './controller-server.ts'

const heartbeatEveryMs = 500
const heartbeatTimeoutMs = 1000
const registerTimeoutMs = 10_000
/** For handing over, and for what waits to be answered: together less than the five seconds of a signal. */
const handOverMs = 2000
const closeGraceMs = 2000
const group = controllerGroup

export interface ControllerSettings extends ProcessSettings {
  /** All controllers, this one included. */
  readonly peers: readonly { readonly id: string; readonly address: string }[]
  /** Shard count to form a cluster with. */
  readonly shards: number
  /** Spreads the leaders of the groups over the nodes. */
  readonly balanceLeaders: boolean
  /** How long who leads and who lives must have been the same before it does; the simulator makes it short. Default: 10 s. */
  readonly leadersSettledMs?: number
}

export interface RunningController extends RunningProcess {
  /** What this controller has applied. The simulator's observers look at it. */
  readonly state: ConfigState | undefined
  /** Undefined until it takes part. The simulator's observers look at it, too. */
  readonly replica: Replica<ConfigResult> | undefined
}

/**
 * Starts a controller: recovers its log and opens its port. Taking part waits in the background until all peers of a first start have been
 * heard. Throws what keeps it from starting: DataDirectoryMismatch, CorruptionError, a listen error.
 */
export async function startController(
  settings: ControllerSettings,
  seams: Seams,
  onFatal: (error: Error) => void,
): Promise<RunningController> {
  if (!settings.peers.some(({ id }) => id === settings.id))
    throw new DataDirectoryMismatch(`--peers does not name ${settings.id}: add it with its own address`)
  const directory = await DataDirectory.open(seams.fileSystem, seams.random, settings.data, 'controller', settings.id)
  const process = new ControllerProcess(settings, seams, directory, onFatal)
  try {
    await process.start()
  } catch (error) {
    await process.close()
    throw error
  }
  return process
}

class ControllerProcess implements RunningController {
  readonly #settings: ControllerSettings
  readonly #seams: Seams
  readonly #directory: DataDirectory
  readonly #onFatal: (error: Error) => void
  #client: ControllerClient | undefined
  #space: DiskSpace | undefined
  #host: RaftHost | undefined
  #replica: Replica<ConfigResult> | undefined
  #stateMachine: ConfigStateMachine | undefined
  #server: ControllerServer | undefined
  #memberships: Memberships | undefined
  #listener: Listener | undefined
  /** The host owns the state machine, and closes it. */
  #handedOver = false
  /** Addresses of controllers, by id, as they were when this one registered: while it has yet to catch up its log does not say. */
  readonly #told = new Map<string, string>()
  #closed = false

  constructor(settings: ControllerSettings, seams: Seams, directory: DataDirectory, onFatal: (error: Error) => void) {
    this.#settings = settings
    this.#seams = seams
    this.#directory = directory
    this.#onFatal = onFatal
  }

  async start(): Promise<void> {
    const { clock, random, fileSystem, executor, transport, logger } = this.#seams
    const { peers } = this.#settings
    const resolve = (id: string) => this.#addressOf(id)
    const number = await this.#admitted()
    if (this.#closed) return
    const space = await openSpace(this.#settings, this.#seams, memtableBytes)
    this.#space = space
    // It offers no reads by a lease, so nobody need promise what one rests on.
    const settings = { ...this.#settings, readMode: 'linearizable' as const }
    const host = await openHost(settings, this.#seams, this.#directory, space, resolve, this.#onFatal)
    this.#host = host
    const { formed } = this.#directory
    const ids = (formed.length > 0 ? formed : peers).map(({ id }) => id).sort()
    const first = firstStanding(new Map(ids.map((id, i) => [i + 1, id])))
    const stateMachine = await openConfigStateMachine({
      fileSystem,
      executor,
      clock,
      logger,
      folder: this.#directory.replicaFolder(group, number),
      first,
      shardCount: this.#settings.shards,
      space,
      onFailure: (error) => host.fail(error),
    })
    this.#stateMachine = stateMachine
    // Who the members are only the log tells, once they are others than at first.
    const isOfFormation = number <= ids.length && stateMachine.state.controllerMembers.version === 0
    if (isOfFormation) checkFormedPeers(this.#directory, peers)
    const late = new LateReplica<ConfigResult>(group, number, first.conf, (callback) => clock.soon(callback))
    const { balanceLeaders, leadersSettledMs } = this.#settings
    const parts = { replica: late, stateMachine, clock, random, logger, peers, balanceLeaders, leadersSettledMs }
    this.#server = new ControllerServer(parts)
    const own = [
      unaryRoute(nodeMethods.status, (request) => this.status(request)),
      unaryRoute(nodeMethods.transferLeader, (request) => this.transferLeader(request)),
    ]
    this.#listener = await transport.listen(this.#settings.listen, [
      helloRoute(this.#directory, () => joiningPeers(stateMachine.state.controllerMembers)),
      ...host.routes(),
      ...own,
      ...this.#server.routes(),
    ])
    this.#watch(this.#takePart(host, stateMachine, late))
  }

  get addresses() {
    return this.#listener?.addresses ?? []
  }

  get state(): ConfigState | undefined {
    return this.#stateMachine?.state
  }

  get replica(): Replica<ConfigResult> | undefined {
    return this.#replica
  }

  async status(request: pb.v1.NodeStatusRequest.$Properties): Promise<pb.v1.NodeStatusReply> {
    const reply = new pb.v1.NodeStatusReply({ id: this.#settings.id })
    if (this.#replica === undefined || this.#host === undefined || this.#stateMachine === undefined) return reply
    const status = replicaStatus(this.#replica, this.#host)
    status.configNumber = this.#stateMachine.state.configNumber
    if (request.hash) {
      const { index, hash } = await this.#stateMachine.stateHash()
      status.hashIndex = index
      status.stateHash = hash
    }
    reply.replicas = [status]
    return reply
  }

  transferLeader(request: pb.v1.TransferLeaderRequest.$Properties): Promise<pb.v1.TransferLeaderReply> {
    return transferLeader(this.#host, request)
  }

  ready(): boolean {
    return !this.#closed && this.#replica !== undefined && this.#replica.leader !== 0
  }

  async close(onUnneeded?: () => void): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#host?.handOver(handOverMs)
    if (this.#host?.leadsNothing !== false) onUnneeded?.()
    this.#client?.close()
    this.#memberships?.close()
    this.#server?.close()
    await this.#listener?.close(closeGraceMs)
    await this.#space?.close()
    await this.#host?.close()
    if (!this.#handedOver) await this.#stateMachine?.close()
  }

  /** What runs in the background must not fail unnoticed; once the process closes its end is no matter. */
  #watch(background: Promise<void>): void {
    background.catch((error: unknown) => {
      if (!this.#closed) this.#onFatal(error instanceof Error ? error : new Error(String(error)))
    })
  }

  /** Becomes a voter of the controllers' group once that is safe. */
  async #takePart(host: RaftHost, stateMachine: ConfigStateMachine, late: LateReplica<ConfigResult>): Promise<void> {
    const { clock, logger, random, transport } = this.#seams
    const peers = this.#peers()
    await formController({ directory: this.#directory, peers, transport, clock, logger, cancelled: () => this.#closed })
    if (this.#closed) return
    this.#handedOver = true
    const replica: Replica<ConfigResult> = await host.start({
      group,
      replica: late.replica,
      stateMachine,
      onSoftState: () => {
        this.#server?.roleChanged()
        this.#memberships?.check()
      },
      onMembers: () => this.#memberships?.check(),
    })
    this.#replica = replica
    late.attach(replica)
    this.#server?.roleChanged()
    this.#memberships = this.#openMemberships(replica, stateMachine)
    stateMachine.onChange(() => {
      this.#watch(this.#learnCluster(stateMachine))
      host.expectMembers(group, nodesOf(stateMachine.state.controllerMembers))
      this.#memberships?.check()
    })
    host.expectMembers(group, nodesOf(stateMachine.state.controllerMembers))
    await this.#learnCluster(stateMachine)
    this.#client = new ControllerClient({ transport, clock, random, logger, addresses: peers.map(({ address }) => address) })
    this.#watch(this.#registerAndBeat(replica, this.#client))
  }

  #openMemberships(replica: Replica<ConfigResult>, stateMachine: ConfigStateMachine): Memberships {
    return new Memberships({
      clock: this.#seams.clock,
      logger: this.#seams.logger,
      electionTimeoutMs: this.#settings.electionTimeoutMs,
      wanted: () => {
        const { version, members } = stateMachine.state.controllerMembers
        return version === 0 ? undefined : { members, number: version }
      },
      hosted: () => [{ replica }],
      report: (report) => this.#server?.reportControllers(report) ?? Promise.resolve(),
      onFatal: this.#onFatal,
    })
  }

  /** Waits until it is known under which number this controller takes part. */
  async #admitted(): Promise<number> {
    const { clock, logger, random, transport } = this.#seams
    const { peers, id } = this.#settings
    const others = peers.filter((peer) => peer.id !== id).map(({ address }) => address)
    const first = others.length > 0 ? others : peers.map(({ address }) => address)
    const client = new ControllerClient({ transport, clock, random, logger, addresses: first })
    try {
      return await admission({ directory: this.#directory, peers, transport, clock, logger, client, cancelled: () => this.#closed })
    } finally {
      client.close()
    }
  }

  /**
   * Where a controller is reached: as it registered, or as --peers says, which need not name one that is being replaced. Either may be old, so where
   * they differ one and then the other is tried, until one answers.
   */
  #addressOf(id: string): string | undefined {
    const given = this.#settings.peers.find((peer) => peer.id === id)?.address
    const registered = this.state?.controllers.get(id)?.entry.addresses[0]?.address ?? this.#told.get(id)
    if (given === undefined || registered === undefined || given === registered) return given ?? registered
    return this.#seams.random.below(2) === 0 ? given : registered
  }

  /** All controllers by id: that order gives the replica numbers. This one is reached where it listens, also on a port that it was not told. */
  #peers(): { id: string; address: string }[] {
    const own = advertisedAddresses(this.addresses, this.#settings.advertise)[0]?.address
    const peers = this.#settings.peers.map(({ id, address }) => ({ id, address: id === this.#settings.id ? (own ?? address) : address }))
    return peers.sort((a, b) => (a.id < b.id ? -1 : 1))
  }

  /** What the first leader has decided binds this controller: the shard count, and the cluster's id, by which peers of another are refused. */
  async #learnCluster(stateMachine: ConfigStateMachine): Promise<void> {
    const { state } = stateMachine
    checkShardCount(state, this.#settings.shards)
    if (state.clusterId.length > 0) await this.#directory.joinCluster(state.clusterId)
  }

  /** Controllers are known to each other and to `status` as nodes are: by registration and heartbeats. */
  async #registerAndBeat(replica: Replica<ConfigResult>, client: ControllerClient): Promise<void> {
    const { id, pid, http, advertise } = this.#settings
    const nonce = this.#directory.nonce
    let registered = false
    while (!this.#closed) {
      try {
        if (!registered) {
          const addresses = advertisedAddresses(this.addresses, advertise)
          const request = { id, controller: true, nonce, addresses, pid, http, clusterId: this.#directory.clusterId, protocolVersion }
          const { controllers } = await client.register(request, { timeoutMs: registerTimeoutMs })
          for (const entry of controllers) this.#told.set(entry.id, entry.addresses[0]?.address ?? '')
          registered = true
        }
        const leader = this.#host?.nodeOf(group, replica.leader) ?? ''
        const groups = [{ group, term: replica.term, leader }]
        await client.heartbeat({ id, nonce, groups, controller: true }, { timeoutMs: heartbeatTimeoutMs })
      } catch (error) {
        if (!(error instanceof OstrakaError)) throw error
        if (error.code === 'LOST') throw new DataDirectoryMismatch(error.message)
        this.#seams.logger.debug({ error: error.message }, 'no controller leads yet')
      }
      await sleep(this.#seams.clock, heartbeatEveryMs)
    }
  }
}

function joiningPeers({ members }: ControllerMembers): { id: string; replica: number }[] {
  return members.filter(({ state }) => state === 'joining').map(({ node, replica }) => ({ id: node, replica }))
}

function nodesOf({ members }: ControllerMembers): ReadonlyMap<number, string> {
  return new Map(members.map(({ replica, node }) => [replica, node]))
}
