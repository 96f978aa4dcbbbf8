import { assert } from '../base/assert.ts'
import type { Clock } from '../base/clock.ts'
import type { Space } from '../base/disk-space.ts'
import { CorruptionError, DiskError, systemErrorCode } from '../base/errors.ts'
import { type FileSystem, joinPath } from '../base/file-system.ts'
import type { Logger } from '../base/logger.ts'
import type { Random } from '../base/random.ts'
import type { Route, Transport } from '../base/transport.ts'
import { OstrakaError } from '../proto/errors.ts'
import { pb } from '../proto/messages.ts'
import { alignLog } from './align-log.ts'
import { CommitNews } from './commit-news.ts'
import type { Message } from './core/types.ts'
import { takenWhenCritical } from './critical-disk.ts'
import type { DataDirectory } from './data-directory.ts'
import { FileServer } from './file-server.ts'
import type { FileSource } from './file-set.ts'
import { atMost, handOverReplica } from './hand-over.ts'
import { isHeartbeat } from './heartbeat-columns.ts'
import { leaseMs } from './lease.ts'
import type { GroupKey } from './log/format.ts'
import { SharedLog } from './log/shared-log.ts'
import { assertConsecutive, decodeMessage, type Envelope, encodeMessage, isBulk, messageBytes } from './message-codec.ts'
import { Messenger } from './messenger.ts'
import { PeerNodes } from './peer-nodes.ts'
import { Pulse } from './pulse.ts'
import { Replica } from './replica.ts'
import type { UnsafeReplica } from './replica-options.ts'
import { SnapshotFetches } from './snapshot-fetches.ts'
import { SnapshotSource } from './snapshot-source.ts'
import type { StateMachine } from './state-machine.ts'
import { Turn } from './turn.ts'
import { openWholeLog, removeLog } from './whole-log.ts'

const segmentBytesMin = 4 * 1024 * 1024
const segmentBytesMax = 64 * 1024 * 1024

export interface RaftHostOptions {
  readonly clock: Clock
  readonly random: Random
  readonly fileSystem: FileSystem
  readonly transport: Transport
  readonly logger: Logger
  readonly directory: DataDirectory
  readonly electionTimeoutMs: number
  readonly heartbeatMs: number
  readonly snapshotLogBytes: number
  /** Reads may rely on a leader's lease. Default: off. */
  readonly leases?: boolean
  /** A replica whose log is damaged is retired, and the process goes on without it. Else that is fatal. */
  readonly retiresDamaged: boolean
  /** Where a node can be reached by its peers. */
  resolve(node: string): string | undefined
  /** The process cannot go on: its log failed, or a disk under a state machine. Its replicas have stopped: nothing is acknowledged any more. */
  onFatal(error: Error): void
  /** Bytes of entries in one append. */
  readonly maxAppendBytes?: number
  /** Of all snapshots into this process together; undefined: as fast as it goes. */
  readonly snapshotBytesPerSecond?: number | undefined
  /** A full disk is waited for, and entries from peers are turned away while what is left is for votes. Not given: nobody watches. */
  readonly space?: Space
  /** Told of each replica before it does anything. For observers. */
  onReplica?(replica: Replica<unknown>): void
  /** Deliberate breaks, for proving that the simulator catches them. Never set otherwise. */
  readonly unsafe?: UnsafeRaft
}

export interface UnsafeRaft extends UnsafeReplica {
  /** Acknowledges what was not synced. */
  readonly noSync?: boolean
}

export interface ReplicaStart<Result> {
  readonly group: string
  readonly replica: number
  readonly stateMachine: StateMachine<Result>
  onSoftState(): void
  /** The group's members, as of what is applied here, are others. */
  onMembers?(): void
  /** The replica stopped by a fault of its own. */
  onStopped?(error: Error): void
}

interface Hosted {
  readonly replica: Replica<unknown>
  readonly snapshots: SnapshotSource
}

/** The replicas of one process: one shared log, one messenger, one timer for all of them. */
export class RaftHost {
  readonly #options: RaftHostOptions
  readonly #turn: Turn
  readonly #log: SharedLog
  readonly #messenger: Messenger
  readonly #commitNews: CommitNews
  readonly #nodes: PeerNodes
  readonly #fileServer: FileServer
  readonly #exports = new Map<string, FileSource>()
  readonly #hosted = new Map<string, Hosted>()
  readonly #pulse: Pulse
  readonly #fetches: SnapshotFetches
  #reclaiming = false
  #failed = false
  #leaving = false
  #closed = false

  private constructor(options: RaftHostOptions, turn: Turn, log: SharedLog) {
    this.#options = options
    this.#turn = turn
    this.#log = log
    this.#fetches = new SnapshotFetches({ ...options, bytesPerSecond: options.snapshotBytesPerSecond })
    this.#messenger = new Messenger({
      transport: options.transport,
      clock: options.clock,
      turn,
      random: options.random,
      logger: options.logger,
      self: options.directory.id,
      clusterId: () => options.directory.clusterId,
      resolve: options.resolve,
      onMessage: (message, node) => this.#receive(message, node),
      onHeartbeat: ({ message, envelope }, node) => this.#step(message, envelope, node),
      onBeat: (node, beat) => this.#pulse.beatCame(node, beat),
      onHeard: (node) => this.#pulse.heard(node),
      onBroken: (node) => this.#pulse.broken(node),
      onLost: (node) => this.#pulse.lost(node),
      isLedFrom: (node) => this.#pulse.isLedFrom(node),
    })
    this.#pulse = new Pulse({
      clock: options.clock,
      turn,
      electionTimeoutMs: options.electionTimeoutMs,
      heartbeatMs: options.heartbeatMs,
      replicas: () => this.#running(),
      nodeOf: (group, replica) => this.nodeOf(group, replica),
      beat: (beatFor) => this.#messenger.beat(beatFor),
    })
    this.#commitNews = new CommitNews({ clock: options.clock, send: (group, message, envelope) => this.#send(group, message, envelope) })
    this.#nodes = new PeerNodes(this.#messenger)
    this.#fileServer = new FileServer({
      fileSystem: options.fileSystem,
      clock: options.clock,
      random: options.random,
      logger: options.logger,
      onFailure: (error) => this.fail(error),
      clusterId: () => options.directory.clusterId,
      snapshots: (group) => this.#hosted.get(group)?.snapshots,
      exports: (group) => this.#exports.get(group),
    })
  }

  /** Recovers the log: `openWholeLog`. */
  static async open(options: RaftHostOptions): Promise<RaftHost> {
    const { clock, fileSystem, logger, directory, snapshotLogBytes, space, unsafe } = options
    const turn = new Turn(clock)
    let host: RaftHost | undefined
    const open = () =>
      SharedLog.open({
        fileSystem,
        clock,
        soon: (callback) => turn.leave(callback),
        logger,
        folder: directory.logFolder,
        // A segment is freed as a whole: where the groups' logs are kept short it must not be long either.
        segmentBytes: Math.max(segmentBytesMin, Math.min(segmentBytesMax, snapshotLogBytes)),
        onFailure: (error) => (host === undefined ? options.onFatal(error) : host.fail(error)),
        onDamage: options.retiresDamaged ? (key, error) => host?.damageRead(key, error) : undefined,
        ...(space === undefined ? {} : { space }),
        ...(unsafe?.noSync ? { unsafe: { noSync: true } } : {}),
      })
    host = new RaftHost(options, turn, await openWholeLog({ fileSystem, logger, directory, open, retires: options.retiresDamaged }))
    return host
  }

  routes(): Route[] {
    return [...this.#messenger.routes(), ...this.#fileServer.routes()]
  }

  get log(): SharedLog {
    return this.#log
  }

  replicas(): readonly Replica<unknown>[] {
    return [...this.#hosted.values()].map(({ replica }) => replica)
  }

  /** Where peers get exports of shards of `group` from, until it is undefined again. */
  setExports(group: string, source: FileSource | undefined): void {
    if (source === undefined) this.#exports.delete(group)
    else this.#exports.set(group, source)
  }

  /** Node that holds `replica` of `group`, which has a replica here; undefined: not known. */
  nodeOf(group: string, replica: number): string | undefined {
    return this.#nodes.nodeOf(group, replica)
  }

  /** Whether the node that holds `replica` of `group`, which has a replica here, takes messages now. */
  isReachable(group: string, replica: number): boolean {
    return this.#messenger.isConnected(this.nodeOf(group, replica) ?? '')
  }

  /** Nodes of the replicas that `group`, which has a replica here, is to have: they are dialled before its log says so. */
  expectMembers(group: string, nodes: ReadonlyMap<number, string>): void {
    if (this.#hosted.has(group)) this.#nodes.setWanted(group, nodes)
  }

  /**
   * Starts a replica on its state machine and its part of the log, and owns both from then on: the state machine is closed also where the
   * start fails. The first start of a replica is remembered durably before it may vote; one that was started before and has no log any
   * more has lost its votes: CorruptionError.
   */
  async start<Result>(start: ReplicaStart<Result>): Promise<Replica<Result>> {
    try {
      assert(!this.#hosted.has(start.group), `group ${start.group} is started once`)
      assert(!this.#options.directory.isRetired(start.group, start.replica), `replica ${start.replica} of ${start.group} is retired`)
      await this.#rememberStart(start.group, start.replica)
      const snapshots = this.#snapshots(start)
      await snapshots.clear()
      if (this.#closed) throw new Error(`closed before the replica of ${start.group} was started`)
      return this.#startRemembered(start, snapshots)
    } catch (error) {
      await start.stateMachine.close()
      throw error
    }
  }

  /**
   * Deletes all that this node holds of a group that was removed from the cluster for good; whether its replica runs or not. Its log goes first,
   * the directory's word that there was one last: a crash in between leaves a group that is known here, and is removed again.
   */
  async remove(group: string): Promise<void> {
    await this.#drop(group)
    for (const { uid, replica } of this.#log.groups()) if (uid === group) await removeLog(this.#log, { group, replica })
    await this.#options.directory.removeGroup(group)
    this.#options.logger.info({ group }, 'a removed group was deleted')
  }

  /** The same for one replica, that is a member of its group no more: nothing of the group is deleted but what is that replica's. */
  async removeReplica(group: string, replica: number): Promise<void> {
    if (this.#hosted.get(group)?.replica.replica === replica) await this.#drop(group)
    await removeLog(this.#log, { group, replica })
    await this.#options.directory.removeReplica(group, replica)
    this.#options.logger.info({ group, replica }, 'a removed replica was deleted')
  }

  /**
   * A replica has lost what it must not lose: it stops, and its number is never used again, durably when this resolves. Its files stay until it is
   * known to be replaced.
   */
  async retire(group: string, replica: number, reason: string): Promise<void> {
    const { directory, logger } = this.#options
    logger.error({ group, replica, reason }, 'a replica is retired: it must be replaced')
    const hosted = this.#hosted.get(group)
    if (hosted?.replica.replica === replica) hosted.replica.stop()
    await directory.retire([{ group, replica, reason }])
    if (hosted?.replica.replica === replica) await this.#drop(group)
    await removeLog(this.#log, { group, replica })
  }

  /**
   * Before this process ends: its replicas campaign no more, and hand over what they lead. Resolves when all is handed over or nobody takes it, at
   * the latest after `timeoutMs`; with whether somebody took anything. They go on following and voting until `close`.
   */
  async handOver(timeoutMs: number): Promise<boolean> {
    this.#leaving = true
    const hosted = [...this.#hosted.values()]
    const led = hosted.filter(({ replica }) => replica.role === 'leader')
    for (const { replica } of hosted) replica.allowCampaign(false)
    const handed = hosted.map(({ replica }) => handOverReplica(replica, (number) => this.isReachable(replica.group, number)))
    await atMost(this.#options.clock, timeoutMs, handed)
    return led.some(({ replica }) => replica.role !== 'leader')
  }

  get leadsNothing(): boolean {
    return [...this.#hosted.values()].every(({ replica }) => replica.role !== 'leader')
  }

  /** Stops all replicas and closes the log: what was acknowledged is durable. */
  async close(): Promise<void> {
    this.#closed = true
    this.#pulse.close()
    for (const { replica, snapshots } of this.#hosted.values()) {
      replica.stop()
      snapshots.close()
    }
    this.#commitNews.flushAll()
    await this.#messenger.part()
    this.#commitNews.close()
    this.#messenger.close()
    this.#fileServer.close()
    const closed = await Promise.allSettled([...this.#hosted.values()].map(({ replica }) => replica.stateMachine.close()))
    await this.#log.close()
    for (const outcome of closed) if (outcome.status === 'rejected') throw outcome.reason
  }

  /** A disk failed, here or under a state machine: nothing leaves this process any more that rests on it, and `onFatal` is told once. */
  fail(error: Error): void {
    if (this.#failed) return
    this.#failed = true
    for (const { replica } of this.#hosted.values()) replica.stop()
    this.#commitNews.close()
    this.#messenger.close()
    this.#options.onFatal(error)
  }

  /** The log of one replica is damaged: it stops, and who hosts it has it retired (`onStopped`). */
  damageRead({ uid, replica }: GroupKey, error: CorruptionError): void {
    const hosted = this.#hosted.get(uid)?.replica
    if (hosted?.replica === replica) hosted.fail(error)
  }

  /** Synchronous: nothing changes between the look at the log and the first vote. */
  #startRemembered<Result>(start: ReplicaStart<Result>, snapshots: SnapshotSource): Replica<Result> {
    const { clock, random, logger, snapshotLogBytes, maxAppendBytes, unsafe, directory } = this.#options
    const { group, replica: number, stateMachine } = start
    const log = this.#log.group({ uid: group, replica: number })
    const replica = new Replica<Result>({
      group,
      replica: number,
      clock,
      turn: this.#turn,
      random,
      logger: logger.child({ group, replica: number }),
      log,
      hardState: alignLog(log, stateMachine.durable, directory.replicaFolder(group, number)),
      stateMachine,
      electionTicks: this.#pulse.electionTicks,
      heartbeatTicks: this.#pulse.heartbeatTicks,
      snapshotLogBytes,
      peers: this.#fetches.peersOf(group, number, (peer) => this.nodeOf(group, peer)),
      send: (message, envelope) => this.#commitNews.send(group, message, envelope),
      silentTicks: (peer) => this.#pulse.silentTicks(this.nodeOf(group, peer)),
      wantTicks: () => this.#pulse.wanted(),
      onSoftState: start.onSoftState,
      onMembers: () => this.#membersChanged(start),
      onTruncated: () => this.#reclaim(),
      onStopped: (error) => this.#replicaStopped(start, error),
      ...(this.#options.leases === true ? { leaseMs: leaseMs(this.#pulse.electionTicks, this.#pulse.tickMs) } : {}),
      ...(maxAppendBytes === undefined ? {} : { maxAppendBytes }),
      ...(unsafe === undefined ? {} : { unsafe }),
    })
    this.#options.onReplica?.(replica as Replica<unknown>)
    replica.begin()
    if (this.#leaving) replica.allowCampaign(false)
    this.#hosted.set(group, { replica: replica as Replica<unknown>, snapshots })
    this.#nodes.setMembers(group, stateMachine.durable.nodes)
    return replica
  }

  #snapshots({ group, replica, stateMachine }: ReplicaStart<unknown>): SnapshotSource {
    const { fileSystem, logger, directory } = this.#options
    const folder = joinPath(directory.replicaFolder(group, replica), 'snapshots')
    const mayExport = () => this.#hosted.get(group)?.replica.failure === undefined
    return new SnapshotSource({ fileSystem, logger, folder, stateMachine, mayExport })
  }

  #membersChanged({ group, onMembers }: Pick<ReplicaStart<unknown>, 'group' | 'onMembers'>): void {
    const hosted = this.#hosted.get(group)
    if (hosted === undefined) return
    // Those that leave hear that they do.
    this.#commitNews.flush(group)
    this.#nodes.setMembers(group, hosted.replica.members.nodes)
    onMembers?.()
  }

  /** Nothing of the group runs here any more. */
  async #drop(group: string): Promise<void> {
    const hosted = this.#hosted.get(group)
    this.#commitNews.flush(group)
    this.#hosted.delete(group)
    this.#nodes.forget(group)
    this.#exports.delete(group)
    if (hosted === undefined) return
    hosted.replica.stop()
    hosted.snapshots.close()
    await hosted.replica.stateMachine
      .close()
      .catch((error: unknown) => this.#options.logger.warn({ group, error: String(error) }, 'closing a replica that goes failed'))
  }

  /**
   * A replica that stopped by a fault of its own leaves the others be; a disk that failed under it is everyone's. A read that failed is that, too: the next
   * process may read what this one could not, and a replica that has stopped is of no use.
   */
  #replicaStopped({ group, replica, onStopped }: Pick<ReplicaStart<unknown>, 'group' | 'replica' | 'onStopped'>, error: Error): void {
    if (this.#closed || this.#failed) return
    this.#options.logger.error({ group, replica, error: error.message }, 'a replica stopped')
    if (error instanceof DiskError) this.fail(error)
    else if (isRefusedByDisk(error)) this.fail(new DiskError(`the replica of ${group} stopped: ${error.message}`, { cause: error }))
    else onStopped?.(error)
  }

  async #rememberStart(group: string, replica: number): Promise<void> {
    const { directory } = this.#options
    const started = directory.startedReplica(group)
    assert(started === undefined || started === replica, `replica ${started} of ${group} is here, and ${replica} was to be started`)
    if (started === undefined) {
      // The log's first record of the group is durable before the identity says so: a start in between is simply repeated.
      await this.#logBegun(group, replica)
      await directory.markStarted(group, replica)
      return
    }
    if (!this.#log.groups().some((key) => key.uid === group && key.replica === replica)) {
      throw new CorruptionError(
        directory.logFolder,
        undefined,
        `replica ${replica} of group ${group} was started here, and its log is gone: it must be replaced`,
      )
    }
  }

  #logBegun(group: string, replica: number): Promise<void> {
    const log = this.#log.group({ uid: group, replica })
    return new Promise((resolve) => log.append([], log.hardState, resolve))
  }

  #send(group: string, message: Message, envelope: Envelope): void {
    const node = this.#nodes.nodeOf(group, message.to)
    if (node === undefined) return
    if (isHeartbeat(message)) {
      this.#messenger.sendHeartbeat(node, message, envelope)
      return
    }
    assertConsecutive(message)
    const bulk = isBulk(message)
    const lane = bulk ? pb.v1.Lane.ENTRIES : pb.v1.Lane.CONTROL
    const taken = this.#messenger.send(node, lane, encodeMessage(message, envelope), messageBytes(message))
    if (!taken && bulk) this.#hosted.get(group)?.replica.reportUnreachable(message.to)
  }

  #receive(wire: pb.v1.RaftMessage, node: string): void {
    // Most that is not for a replica of this node is for none: its entries are not decoded.
    if (this.#hosted.get(wire.group)?.replica.replica !== wire.to) return
    const message = decodeMessage(wire)
    if (message === undefined) {
      this.#options.logger.warn({ group: wire.group, from: wire.from, type: wire.type }, 'dropped a malformed Raft message')
      return
    }
    const { space } = this.#options
    const taken = space?.isCritical === true ? takenWhenCritical(message, space) : message
    if (taken !== undefined) this.#step(taken, wire, node)
  }

  #step(message: Message, envelope: Envelope, node: string): void {
    const hosted = this.#hosted.get(envelope.group)
    if (hosted === undefined || hosted.replica.replica !== message.to) return
    this.#nodes.heard(envelope.group, message.from, node)
    hosted.replica.step(message, envelope)
  }

  *#running(): Iterable<readonly [string, Replica<unknown>]> {
    for (const [group, { replica }] of this.#hosted) yield [group, replica]
  }

  /** Frees the oldest segments; a group that pins them flushes. */
  #reclaim(): void {
    if (this.#reclaiming || this.#closed) return
    this.#reclaiming = true
    this.#log.reclaim().then(
      () => {
        this.#reclaiming = false
        this.#flushPinning()
      },
      (error: unknown) => this.fail(error instanceof Error ? error : new Error(String(error))),
    )
  }

  #flushPinning(): void {
    if (this.#closed || this.#log.bytes < 2 * this.#options.snapshotLogBytes * Math.max(1, this.#hosted.size)) return
    for (const { key } of this.#log.pinned()) this.#hosted.get(key.uid)?.replica.freeLog()
  }
}

/** The system's error: of a file, since nothing else is asked of it under a state machine. */
function isRefusedByDisk(error: Error): boolean {
  return !(error instanceof OstrakaError) && systemErrorCode(error) !== undefined
}
