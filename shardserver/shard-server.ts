import { sleep } from '../base/clock.ts'
import type { Seams } from '../base/seams.ts'
import { type Listener, unaryRoute } from '../base/transport.ts'
import { BlockCache, MemtableBudget } from '../lsm/index.ts'
import { ConfigWatcher } from '../proto/config-watcher.ts'
import { ControllerClient } from '../proto/controller-client.ts'
import { OstrakaError } from '../proto/errors.ts'
import { protocolVersion } from '../proto/limits.ts'
import type { pb } from '../proto/messages.ts'
import { nodeMethods } from '../proto/methods.ts'
import { DataDirectory, DataDirectoryMismatch } from '../raft/data-directory.ts'
import { helloRoute } from '../raft/formation.ts'
import { openHost } from '../raft/open-host.ts'
import { advertisedAddresses, type ProcessSettings, type RunningProcess } from '../raft/process.ts'
import type { RaftHost } from '../raft/raft-host.ts'
import { transferLeader } from '../raft/transfer-request.ts'
import { GroupHost, type HostedReplica } from './group-host.ts'
import { KvServer } from './kv-server.ts'
import { nodeStatus } from './node-status.ts'

const heartbeatEveryMs = 500
const heartbeatTimeoutMs = 1000
/** A start gives up when no controller has answered for so long. */
const registerTimeoutMs = 30_000
/** For handing over, for what still waits then, and for connections to end: together less than the five seconds of a signal. */
const handOverMs = 2000
const answerMs = 500
const closeGraceMs = 1500

export interface ShardServerSettings extends ProcessSettings {
  /** HOST:PORT of the controllers. */
  readonly controllers: readonly string[]
}

export interface RunningShardServer extends RunningProcess {
  /** The replicas that run here. The simulator's observers look at them. */
  hosted(): readonly HostedReplica[]
}

/**
 * Starts a node: recovers its log, opens its port, registers with the controllers, starts its replicas, then follows the config. Throws what
 * keeps it from starting: DataDirectoryMismatch, CorruptionError, a listen error, OstrakaError UNAVAILABLE (no controller answers).
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
  #host: RaftHost | undefined
  #groups: GroupHost | undefined
  #kv: KvServer | undefined
  #listener: Listener | undefined
  #closed = false

  constructor(settings: ShardServerSettings, seams: Seams, directory: DataDirectory, onFatal: (error: Error) => void) {
    this.#settings = settings
    this.#seams = seams
    this.#directory = directory
    this.#onFatal = onFatal
    const { transport, clock, random, logger } = seams
    this.#client = new ControllerClient({ transport, clock, random, logger, addresses: settings.controllers })
    this.#watcher = new ConfigWatcher({ transport, clock, random, logger, addresses: settings.controllers })
  }

  async start(): Promise<void> {
    const { clock, transport, logger } = this.#seams
    const resolve = (node: string) => this.#watcher.directory.peerAddressOf(node)
    const host = await openHost(this.#settings, this.#seams, this.#directory, resolve, this.#onFatal)
    this.#host = host
    const groups = new GroupHost({
      seams: this.#seams,
      directory: this.#directory,
      host,
      client: this.#client,
      blockCache: new BlockCache(this.#settings.blockCacheBytes),
      memtableBudget: new MemtableBudget(this.#settings.memtableBytes),
      config: () => this.#watcher.config,
      onFatal: this.#onFatal,
    })
    this.#groups = groups
    const kv = new KvServer({ clock, logger, hosts: groups, host, watcher: this.#watcher })
    this.#kv = kv
    const routes = [
      helloRoute(this.#directory),
      ...host.routes(),
      ...kv.routes(),
      unaryRoute(nodeMethods.status, (request) => this.status(request)),
      unaryRoute(nodeMethods.transferLeader, (request) => this.transferLeader(request)),
    ]
    this.#listener = await transport.listen(this.#settings.listen, routes)
    const config = await this.#register()
    await groups.follow(config)
    this.#watcher.onChange(() => {
      const newest = this.#watcher.config
      if (newest !== undefined) groups.followLater(newest)
    })
    this.#watcher.start()
    this.#heartbeats().catch((error: unknown) => {
      if (!this.#closed) this.#onFatal(error instanceof Error ? error : new Error(String(error)))
    })
  }

  get addresses() {
    return this.#listener?.addresses ?? []
  }

  hosted(): readonly HostedReplica[] {
    return this.#groups?.all() ?? []
  }

  status(request: pb.v1.NodeStatusRequest.$Properties): Promise<pb.v1.NodeStatusReply> {
    return nodeStatus(this.#directory.id, this.#groups, this.#host, this.#watcher.config?.number ?? 0, this.#seams.clock, request)
  }

  transferLeader(request: pb.v1.TransferLeaderRequest.$Properties): Promise<pb.v1.TransferLeaderReply> {
    return transferLeader(this.#host, request)
  }

  ready(): boolean {
    const groups = this.#groups
    return !this.#closed && groups !== undefined && groups.lost.size === 0 && groups.all().every(({ replica }) => replica.leader !== 0)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#groups?.close()
    await this.#host?.handOver(handOverMs)
    await this.#kv?.whenIdle(answerMs)
    this.#watcher.close()
    this.#client.close()
    await this.#listener?.close(closeGraceMs)
    await this.#host?.close()
  }

  /** Says where this node can be reached; learns the cluster, the config and where the others are. */
  async #register() {
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
    }
    const reply = await this.#client.register(request, { timeoutMs: registerTimeoutMs }).catch((error: unknown) => {
      throw this.#refusal(error)
    })
    await this.#directory.joinCluster(reply.clusterId)
    this.#watcher.offer(reply.config, reply.directory)
    return reply.config
  }

  /** That these controllers will never take this directory (another cluster, another version) is no failure that another attempt mends. */
  #refusal(error: unknown): unknown {
    if (!(error instanceof OstrakaError) || error.code !== 'FAILED_PRECONDITION') return error
    return new DataDirectoryMismatch(`${this.#directory.folder} is refused by ${this.#settings.controllers.join(', ')}: ${error.message}`)
  }

  /** Tells the controllers that this node lives, and what it knows of its groups' leaders. */
  async #heartbeats(): Promise<void> {
    while (!this.#closed) {
      const groups = (this.#groups?.all() ?? []).map(({ replica }) => ({
        group: replica.group,
        term: replica.term,
        leader: this.#host?.nodeOf(replica.group, replica.leader) ?? '',
      }))
      try {
        await this.#client.heartbeat(
          { id: this.#settings.id, nonce: this.#directory.nonce, groups, controller: false },
          { timeoutMs: heartbeatTimeoutMs },
        )
      } catch (error) {
        if (!(error instanceof OstrakaError)) throw error
        this.#seams.logger.debug({ error: error.message }, 'no controller took the heartbeat')
      }
      await sleep(this.#seams.clock, heartbeatEveryMs)
    }
  }
}
