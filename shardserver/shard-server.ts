import { sleep } from '../base/clock.ts'
import type { DiskSpace } from '../base/disk-space.ts'
import { DataDirectoryMismatch } from '../base/errors.ts'
import type { Seams } from '../base/seams.ts'
import { type Listener, unaryRoute } from '../base/transport.ts'
import { BlockCache, MemtableBudget, TableFiles } from '../lsm/index.ts'
import { ConfigWatcher } from '../proto/config-watcher.ts'
import { ControllerClient, type RegisterOutcome } from '../proto/controller-client.ts'
import { OstrakaError } from '../proto/errors.ts'
import { protocolVersion } from '../proto/limits.ts'
import type { pb } from '../proto/messages.ts'
import { nodeMethods } from '../proto/methods.ts'
import { DataDirectory } from '../raft/data-directory.ts'
import { helloRoute } from '../raft/formation.ts'
import { Memberships } from '../raft/memberships.ts'
import { openHost, openSpace } from '../raft/open-host.ts'
import { Pace } from '../raft/pace.ts'
import { advertisedAddresses, type ProcessSettings, type RunningProcess } from '../raft/process.ts'
import type { RaftHost } from '../raft/raft-host.ts'
import { maybeTransferLeader, transferLeader } from '../raft/transfer-request.ts'
import { compactReplicas } from './compact.ts'
import { GroupHost, type HostedReplica } from './group-host.ts'
import { Heartbeats } from './heartbeats.ts'
import { KvServer } from './kv-server.ts'
import { MigrationBook } from './migration/book.ts'
import { Migrations } from './migration/migrations.ts'
import type { MigrationNode } from './migration/node.ts'
import { Peers } from './migration/peers.ts'
import type { MigrationBreak } from './migration-break.ts'
import { nodeStatus } from './node-status.ts'

/** How often a start says that no controller answers. It goes on asking: controllers may start later, or have lost their majority for a while. */
const registerTimeoutMs = 10_000
/** For telling that the members of a group are those wanted; it is told again. */
const reportTimeoutMs = 2000
/** For handing over, for what still waits then, and for connections to end: together, with `lingerMs` and the parting of the messenger, less than the five seconds of a signal. */
const handOverMs = 2000
const answerMs = 500
const closeGraceMs = 1500
/** New leaders do not get all the first calls and, at the same moment, the end of this node's connections and what it writes while closing. */
const lingerMs = 200
/** Of all groups together. */
const openTablesMax = 1000
const noBreaks: ReadonlySet<MigrationBreak> = new Set()

export interface ShardServerSettings extends ProcessSettings {
  /** HOST:PORT of the controllers. */
  readonly controllers: readonly string[]
  /** Shards' migrations that copy at once, in each direction. */
  readonly maxMigrations: number
  /** Of all copies into this node together, and of all out of it; undefined: as fast as it goes. They give way to clients. */
  readonly migrationBytesPerSecond?: number
  /** Deliberate breaks, for proving that the simulator catches them. Never set otherwise. */
  readonly breaks?: ReadonlySet<MigrationBreak>
}

export interface RunningShardServer extends RunningProcess {
  /** The replicas that run here. The simulator's observers look at them. */
  hosted(): readonly HostedReplica[]
}

/**
 * Starts a node: recovers its log, opens its port, registers with the controllers, starts its replicas, then follows the config. Throws what
 * keeps it from starting: DataDirectoryMismatch, CorruptionError, a listen error. That no controller answers does not: it waits for one.
 */
export async function startShardServer(
  settings: ShardServerSettings,
  seams: Seams,
  onFatal: (error: Error) => void,
): Promise<RunningShardServer> {
  const directory = await DataDirectory.open(seams.fileSystem, seams.random, settings.data, 'server', settings.id)
  const server = new ShardServer(settings, seams, directory, onFatal)
  try {
    await server.start()
  } catch (error) {
    await server.close()
    throw error
  }
  return server
}

class ShardServer implements RunningShardServer {
  readonly #settings: ShardServerSettings
  readonly #seams: Seams
  readonly #directory: DataDirectory
  readonly #onFatal: (error: Error) => void
  readonly #client: ControllerClient
  readonly #watcher: ConfigWatcher
  #space: DiskSpace | undefined
  #host: RaftHost | undefined
  #groups: GroupHost | undefined
  #kv: KvServer | undefined
  #migrations: Migrations | undefined
  #memberships: Memberships | undefined
  #heartbeats: Heartbeats | undefined
  #listener: Listener | undefined
  #closed = false

  constructor(settings: ShardServerSettings, seams: Seams, directory: DataDirectory, onFatal: (error: Error) => void) {
    this.#settings = settings
    this.#seams = seams
    this.#directory = directory
    this.#onFatal = onFatal
    const { transport, clock, random, logger } = seams
    this.#client = new ControllerClient({ transport, clock, random, logger, addresses: settings.controllers })
    this.#watcher = new ConfigWatcher({ transport, clock, random, logger, addresses: settings.controllers, migrations: true })
  }

  async start(): Promise<void> {
    const { clock, transport, logger } = this.#seams
    const resolve = (node: string) => this.#watcher.directory.peerAddressOf(node)
    const space = await openSpace(this.#settings, this.#seams, this.#settings.memtableBytes)
    this.#space = space
    const host = await openHost(this.#settings, this.#seams, this.#directory, space, resolve, this.#onFatal)
    this.#host = host
    const groups = this.#openGroups(host, space)
    this.#groups = groups
    const memberships = this.#openMemberships(groups)
    this.#memberships = memberships
    const moves = { sourceOf: (group: string, shard: number) => this.#migrations?.sourceOf(group, shard) }
    const kv = new KvServer({ clock, logger, hosts: groups, host, space, moves, watcher: this.#watcher })
    this.#kv = kv
    const migrations = this.#openMigrations(host, groups, kv, space)
    this.#migrations = migrations
    const routes = [
      helloRoute(this.#directory),
      ...host.routes(),
      ...kv.routes(),
      ...migrations.routes(),
      unaryRoute(nodeMethods.status, (request) => this.status(request)),
      unaryRoute(nodeMethods.transferLeader, (request) => this.transferLeader(request)),
      unaryRoute(nodeMethods.compact, (request) => compactReplicas(this.#directory.id, groups, request)),
    ]
    this.#listener = await transport.listen(this.#settings.listen, routes)
    const { config, removedGroups, removedReplicas } = await this.#register()
    // What was removed must not serve, nor vote, not even for a moment.
    for (const group of removedGroups) await groups.remove(group)
    for (const { group, replica } of removedReplicas) await groups.removeReplica(group, replica)
    await groups.follow(config)
    this.#watcher.onChange(() => {
      const newest = this.#watcher.config
      if (newest !== undefined) groups.followLater(newest)
      migrations.check()
      memberships.check()
    })
    this.#watcher.start()
    this.#heartbeats = this.#beginHeartbeats(host, groups, kv, migrations)
  }

  get addresses() {
    return this.#listener?.addresses ?? []
  }

  hosted(): readonly HostedReplica[] {
    return this.#groups?.all() ?? []
  }

  status(request: pb.v1.NodeStatusRequest.$Properties): Promise<pb.v1.NodeStatusReply> {
    const parts = { id: this.#directory.id, groups: this.#groups, host: this.#host, loads: this.#kv?.loads, clock: this.#seams.clock }
    return nodeStatus({ ...parts, configNumber: this.#watcher.config?.number ?? 0 }, request)
  }

  transferLeader(request: pb.v1.TransferLeaderRequest.$Properties): Promise<pb.v1.TransferLeaderReply> {
    return transferLeader(this.#host, request)
  }

  ready(): boolean {
    const groups = this.#groups
    return !this.#closed && groups !== undefined && groups.missing.length === 0 && groups.all().every(({ replica }) => replica.leader !== 0)
  }

  async close(onUnneeded?: () => void): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#heartbeats?.close()
    this.#migrations?.close()
    this.#memberships?.close()
    this.#groups?.close()
    const isHandedOver = await this.#host?.handOver(handOverMs)
    await this.#kv?.whenIdle(answerMs)
    if (this.#host?.leadsNothing !== false) onUnneeded?.()
    if (isHandedOver) await sleep(this.#seams.clock, lingerMs)
    this.#watcher.close()
    this.#client.close()
    await this.#listener?.close(closeGraceMs)
    await this.#space?.close()
    await this.#host?.close()
  }

  #openGroups(host: RaftHost, space: DiskSpace): GroupHost {
    return new GroupHost({
      seams: this.#seams,
      directory: this.#directory,
      host,
      client: this.#client,
      blockCache: new BlockCache(this.#settings.blockCacheBytes),
      tableFiles: new TableFiles(openTablesMax),
      memtableBudget: new MemtableBudget(this.#settings.memtableBytes),
      space,
      exportPace: this.#newPace(),
      breaks: this.#settings.breaks ?? noBreaks,
      config: () => this.#watcher.config,
      onChange: () => {
        this.#migrations?.check()
        this.#memberships?.check()
      },
      onFatal: this.#onFatal,
    })
  }

  #openMemberships(groups: GroupHost): Memberships {
    const { clock, logger } = this.#seams
    return new Memberships({
      clock,
      logger,
      electionTimeoutMs: this.#settings.electionTimeoutMs,
      wanted: (uid) => {
        const config = this.#watcher.config
        const group = config?.groupByUid(uid)
        return config === undefined || group === undefined ? undefined : { members: group.members, number: config.number }
      },
      hosted: () => groups.all(),
      report: (report) => this.#client.reportMembers(report, { timeoutMs: reportTimeoutMs }),
      onFatal: this.#onFatal,
    })
  }

  /** Of all copies into this node, or of all out of it. */
  #newPace(): Pace {
    const { migrationBytesPerSecond: bytesPerSecond = Number.POSITIVE_INFINITY } = this.#settings
    return new Pace(this.#seams.clock, { bytesPerSecond, served: () => this.#kv?.served ?? 0 })
  }

  #openMigrations(host: RaftHost, hosts: GroupHost, kv: KvServer, space: DiskSpace): Migrations {
    const { clock, random, logger, fileSystem, transport } = this.#seams
    const { maxMigrations, breaks = noBreaks } = this.#settings
    const node: MigrationNode = {
      self: this.#directory.id,
      clock,
      random,
      logger,
      hosts,
      controllers: this.#client,
      book: new MigrationBook({ clock, list: () => this.#watcher.migrations }),
      peers: new Peers({ transport, resolve: (peer) => this.#watcher.directory.peerAddressOf(peer) }),
      maxMigrations,
      breaks,
      clusterId: () => this.#directory.clusterId,
      config: () => this.#watcher.config,
      births: () => this.#watcher.migrations.births,
      nodeOf: (group, replica) => host.nodeOf(group, replica) ?? '',
    }
    const pace = this.#newPace()
    return new Migrations({
      node,
      world: {
        fileSystem,
        transport,
        pace,
        space,
        onFailure: (error) => host.fail(error),
      },
      slow: (group, wish) => kv.slow(group, wish),
      onRecords: (group, isImporting, exporting) => kv.shardsChanged(group, isImporting, exporting),
    })
  }

  #beginHeartbeats(host: RaftHost, groups: GroupHost, { loads }: KvServer, migrations: Migrations): Heartbeats {
    return new Heartbeats({
      clock: this.#seams.clock,
      logger: this.#seams.logger,
      client: this.#client,
      id: this.#settings.id,
      nonce: this.#directory.nonce,
      hosted: () => groups.all(),
      loads,
      nodeOf: (group, replica) => host.nodeOf(group, replica) ?? '',
      progressOf: (group) => migrations.progressOf(group),
      lost: () => groups.lost.map(({ group, replica, reason }) => ({ group, replica, reason })),
      remove: (group) => groups.remove(group),
      transfer: (group, node) => maybeTransferLeader(host, this.#seams.logger, group, node),
      removeReplica: (group, replica) => groups.removeReplica(group, replica),
      onFatal: (error) => {
        if (!this.#closed) this.#onFatal(error)
      },
    })
  }

  /** Says where this node can be reached; learns the cluster, the config and where the others are. */
  async #register(): Promise<RegisterOutcome> {
    const { id, pid, http, advertise } = this.#settings
    const request = {
      id,
      controller: false,
      nonce: this.#directory.nonce,
      addresses: advertisedAddresses(this.addresses, advertise),
      pid,
      http,
      clusterId: this.#directory.clusterId,
      protocolVersion,
      groups: [...(await this.#directory.heldGroups())],
      replicas: [...(await this.#directory.heldReplicas())],
    }
    const reply = await this.#registered(request)
    await this.#directory.joinCluster(reply.clusterId)
    this.#watcher.offer(reply.config, reply.directory)
    return reply
  }

  async #registered(request: pb.v1.RegisterRequest.$Properties): ReturnType<ControllerClient['register']> {
    for (;;) {
      try {
        return await this.#client.register(request, { timeoutMs: registerTimeoutMs })
      } catch (error) {
        if (!(error instanceof OstrakaError) || error.code !== 'UNAVAILABLE') throw this.#refusal(error)
        this.#seams.logger.warn({ error: error.message }, 'no controller has taken the registration yet')
      }
    }
  }

  /** That these controllers will never take this directory (another cluster, another version) is no failure that another attempt mends. */
  #refusal(error: unknown): unknown {
    if (!(error instanceof OstrakaError) || error.code !== 'FAILED_PRECONDITION') return error
    return new DataDirectoryMismatch(`${this.#directory.folder} is refused by ${this.#settings.controllers.join(', ')}: ${error.message}`)
  }
}
