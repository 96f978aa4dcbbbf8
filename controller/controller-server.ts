import { equalBytes } from '../base/bytes.ts'
import type { Clock, Timer } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'
import type { Random } from '../base/random.ts'
import { type CallContext, type Method, type Route, TransportError, type UnaryRoute, unaryRoute } from '../base/transport.ts'
import { type Config, encodeConfig, type Group, type Member } from '../proto/config.ts'
import { decodeGroupReplica } from '../proto/controller-client.ts'
import { addressUnder, encodeDirectory, encodeNodeEntry } from '../proto/directory.ts'
import { encodeError } from '../proto/error-codec.ts'
import { OstrakaError } from '../proto/errors.ts'
import { pb } from '../proto/messages.ts'
import { controllerMethods } from '../proto/methods.ts'
import type { ReplicaApi } from '../raft/replica-api.ts'
import { AdminService } from './admin-service.ts'
import { AutoRebalancer } from './auto-rebalancer.ts'
import { ChangeQueue } from './change-queue.ts'
import { Claims } from './claims.ts'
import { clusterStatus } from './cluster-status.ts'
import type { ConfigResult, ConfigState } from './config-state.ts'
import type { ConfigStateMachine } from './config-state-machine.ts'
import { controllerGroup, controllersGroup } from './controller-members.ts'
import { LeaderBalancer } from './leader-balancer.ts'
import type { Compute, LeaderView } from './leader-view.ts'
import { Liveness } from './liveness.ts'
import { staying } from './members.ts'
import { computeControllersReport } from './members-report.ts'
import { isOpen } from './migration-record.ts'
import { mustBeDone, notLeader, Proposals } from './proposals.ts'
import { removedGroups, removedReplicas } from './removed.ts'
import { Reported } from './reported.ts'
import { type CheckedLost, checkClaim, checkHeartbeat, checkNumber, checkRegister } from './request-checks.ts'
import { ShardSizes } from './shard-sizes.ts'
import { Steward } from './steward.ts'
import { ToldLoads } from './told-loads.ts'
import { waitingDrains } from './upkeep.ts'
import { Watchers } from './watchers.ts'

export interface ControllerServerParts {
  readonly replica: ReplicaApi<ConfigResult>
  readonly stateMachine: ConfigStateMachine
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** Addresses of controllers by --peers, while none is registered. */
  readonly peers: readonly { readonly id: string; readonly address: string }[]
  /** Whether it spreads the leaders of the groups over the nodes. */
  readonly balanceLeaders: boolean
  /** How long who leads and who lives must have been the same before it does. Default: 10 s. */
  readonly leadersSettledMs?: number | undefined
}

const clusterIdBytes = 16
const formRetryMs = 100
/** What the leader does by itself may wait behind all reports. */
const upkeepWaitingMax = 2048

/**
 * The Controller service of one controller. The leader answers; the others reply NOT_LEADER with the leader's address; any of them serves
 * watches. The caller's duties: `roleChanged` at each change of role, term or leader, and `close`.
 */
export class ControllerServer {
  readonly #replica: ReplicaApi<ConfigResult>
  readonly #machine: ConfigStateMachine
  readonly #clock: Clock
  readonly #random: Random
  readonly #logger: Logger
  readonly #peers: readonly { readonly id: string; readonly address: string }[]
  readonly #proposals: Proposals
  readonly #liveness: Liveness
  readonly #watchers: Watchers
  readonly #reported = new Reported()
  readonly #sizes = new ShardSizes()
  readonly #loads = new ToldLoads()
  readonly #claims: Claims
  readonly #queue: ChangeQueue
  readonly #admin: AdminService
  readonly #steward: Steward
  readonly #balancer: LeaderBalancer | undefined
  readonly #rebalancer: AutoRebalancer
  readonly #stopListening: () => void
  /** The term in which this controller was last seen leading. */
  #leadingTerm = 0
  #formRetry: Timer | undefined
  #closed = false

  constructor(parts: ControllerServerParts) {
    this.#replica = parts.replica
    this.#machine = parts.stateMachine
    this.#clock = parts.clock
    this.#random = parts.random
    this.#logger = parts.logger
    this.#peers = parts.peers
    this.#proposals = new Proposals(parts.replica)
    this.#liveness = new Liveness(parts.clock)
    this.#watchers = new Watchers(
      () => this.#state,
      parts.clock,
      () => parts.replica.leader !== 0,
    )
    this.#queue = new ChangeQueue({
      clock: parts.clock,
      proposals: this.#proposals,
      read: (hint) => this.#readView(hint),
      answered: (requestId) => this.#state.answered(requestId),
    })
    this.#admin = new AdminService({
      queue: this.#queue,
      read: (hint) => this.#readView(hint),
      hint: (context) => this.#hint(context),
      reported: this.#reported,
      clock: parts.clock,
    })
    this.#claims = new Claims({ proposals: this.#proposals, state: () => this.#state, read: (hint) => this.#read(hint) })
    const leading = {
      clock: parts.clock,
      view: () => this.#view(),
      isLeader: () => this.#replica.role === 'leader' && this.#state.config !== undefined,
      submit: (compute: Compute) => this.#upkeep(compute),
    }
    this.#steward = new Steward(leading)
    this.#rebalancer = new AutoRebalancer({ ...leading, liveness: this.#liveness, loads: this.#loads })
    const isLive = (group: Group, member: Member) => this.#isLive(group, member)
    const { clock, leadersSettledMs: settledMs } = parts
    const balancing = { clock, state: () => this.#state, liveness: this.#liveness, isLive, settledMs }
    this.#balancer = parts.balanceLeaders ? new LeaderBalancer(balancing) : undefined
    this.#stopListening = this.#machine.onChange(() => {
      this.#watchers.changed()
      this.#steward.changed()
      this.#rebalancer.changed()
    })
    this.roleChanged()
  }

  get #state(): ConfigState {
    return this.#machine.state
  }

  routes(): Route[] {
    const v1 = pb.v1
    const methods = controllerMethods
    return [
      this.#route(methods.query, (request, context) => this.#query(request, context), v1.QueryReply),
      ...this.#adminRoutes(),
      this.#route(methods.status, (request, context) => this.#status(request, context), v1.ClusterStatusReply),
      this.#route(methods.register, (request, context) => this.#register(request, context), v1.RegisterReply),
      this.#route(methods.claimReplica, (request, context) => this.#claim(request, context), v1.ClaimReplicaReply),
      this.#route(methods.heartbeat, (request, context) => this.#heartbeat(request, context), v1.HeartbeatReply),
      this.#watchers.route,
    ]
  }

  #adminRoutes(): Route[] {
    const v1 = pb.v1
    const methods = controllerMethods
    const admin = this.#admin
    return [
      this.#route(methods.join, (request, context) => admin.join(request, context), v1.ChangeReply),
      this.#route(methods.leave, (request, context) => admin.leave(request, context), v1.ChangeReply),
      this.#route(methods.move, (request, context) => admin.move(request, context), v1.ChangeReply),
      this.#route(methods.unpin, (request, context) => admin.unpin(request, context), v1.ChangeReply),
      this.#route(methods.rebalance, (request, context) => admin.rebalance(request, context), v1.ChangeReply),
      this.#route(methods.weigh, (request, context) => admin.weigh(request, context), v1.ChangeReply),
      this.#route(methods.autoRebalance, (request, context) => admin.autoRebalance(request, context), v1.ChangeReply),
      this.#route(methods.steer, (request, context) => admin.steer(request, context), v1.ChangeReply),
      this.#route(methods.plan, (request, context) => admin.plan(request, context), v1.PlanReply),
      this.#route(methods.migrations, (request, context) => admin.migrations(request, context), v1.MigrationsReply),
      this.#route(methods.changeMembers, (request, context) => admin.changeMembers(request, context), v1.ChangeReply),
      this.#route(methods.replaceNode, (request, context) => admin.replaceNode(request, context), v1.ChangeReply),
      this.#route(methods.reportMembers, (request, context) => admin.reportMembers(request, context), v1.ReportMembersReply),
      this.#route(methods.report, (request, context) => admin.report(request, context), v1.ReportReply),
    ]
  }

  /** The replica's role, term or leader may have changed. */
  roleChanged(): void {
    if (this.#replica.role !== 'leader' || this.#replica.term === this.#leadingTerm) return
    this.#leadingTerm = this.#replica.term
    this.#liveness.begin()
    this.#reported.begin()
    this.#sizes.begin()
    this.#loads.begin()
    this.#form()
    this.#steward.changed()
    this.#rebalancer.begin()
  }

  close(): void {
    this.#closed = true
    this.#formRetry?.cancel()
    this.#stopListening()
    this.#steward.close()
    this.#rebalancer.close()
    this.#watchers.close()
  }

  /** The first leader draws the cluster's id. Two that try do no harm: the second entry is refused. */
  #form(): void {
    this.#formRetry?.cancel()
    if (this.#closed || this.#state.config !== undefined || this.#replica.role !== 'leader') return
    const formed = { clusterId: this.#random.bytes(clusterIdBytes), shardCount: this.#machine.shardCount }
    this.#proposals
      .propose({ kind: 'formed', formed }, () => '')
      .catch((error: unknown) => {
        if (!(error instanceof OstrakaError)) throw error
        this.#formRetry = this.#clock.setTimer(formRetryMs, () => this.#form())
      })
  }

  /** Refusals become replies that carry them; whatever else is thrown is a bug of ours and the call fails. */
  #route<Request, Reply extends { error?: pb.v1.Error.$Properties | null }>(
    method: Method<Request, Reply>,
    handle: (request: Request, context: CallContext) => Promise<Reply>,
    reply: new (properties: { error: pb.v1.Error }) => Reply,
  ): UnaryRoute<Request, Reply> {
    return unaryRoute(method, async (request, context) => {
      try {
        return await handle(request, context)
      } catch (error) {
        if (error instanceof OstrakaError) return new reply({ error: encodeError(error) })
        this.#logger.error({ error, method: method.path }, 'a request to the controller failed')
        throw new TransportError('INTERNAL', `the controller failed in ${method.path}`)
      }
    })
  }

  async #query(request: pb.v1.QueryRequest, context: CallContext): Promise<pb.v1.QueryReply> {
    const number = checkNumber(request.number)
    const newest = await this.#read(this.#hint(context))
    const directory = encodeDirectory(this.#state.directory, context.listener)
    const config = number === 0 || number === newest.number ? newest : await this.#machine.configAt(number)
    if (config === undefined) throw new OstrakaError('NOT_FOUND', `no config ${number}: the newest is ${newest.number}`, true)
    return new pb.v1.QueryReply({ config: encodeConfig(config), directory })
  }

  async #status({ shards }: pb.v1.ClusterStatusRequest, context: CallContext): Promise<pb.v1.ClusterStatusReply> {
    const config = await this.#read(this.#hint(context))
    this.#liveness.retain((uid) => config.groupByUid(uid) !== undefined)
    const addressOf = (id: string) => this.#controllerAddress(id, context.listener)
    const leader = this.#idOf(this.#replica.replica)
    return clusterStatus({
      state: this.#state,
      config,
      sizeOf: (shard) => this.#sizes.of(shard),
      rates: this.#loads.rates(config.shardCount, this.#clock.monotonicMs()),
      autoRebalance: this.#rebalancer.status(),
      waiting: waitingDrains(this.#view()),
      shards,
      liveness: this.#liveness,
      controllers: this.#controllerIds(),
      leader,
      addressOf,
      listener: context.listener,
    })
  }

  async #register(request: pb.v1.RegisterRequest, context: CallContext): Promise<pb.v1.RegisterReply> {
    const { entry, controller, nonce } = checkRegister(request)
    await this.#read(this.#hint(context))
    if (request.clusterId.length > 0 && !equalBytes(request.clusterId, this.#state.clusterId)) {
      const text = `the data directory of ${entry.id} belongs to another cluster: point it to its own controllers, or give it an empty --data`
      throw new OstrakaError('FAILED_PRECONDITION', text, true)
    }
    if (controller && !this.#controllerIds().includes(entry.id)) {
      throw new OstrakaError('FAILED_PRECONDITION', `${entry.id} is none of the controllers of this cluster`, true)
    }
    if (controller) this.#mustBeController(entry.id, nonce)
    const registration = { entry: encodeNodeEntry(entry), controller, nonce }
    mustBeDone(await this.#proposals.propose({ kind: 'register', registration }, this.#hint(context)))
    this.#liveness.started(controller ? 'controller' : 'node', entry.id)
    const { config, directory, clusterId } = this.#state
    const known = config === undefined ? {} : { config: encodeConfig(config) }
    return new pb.v1.RegisterReply({
      clusterId,
      ...known,
      directory: encodeDirectory(directory, context.listener),
      removedGroups: removedGroups(this.#state, request.groups),
      removedReplicas: removedReplicas(this.#state, request.replicas.map(decodeGroupReplica)),
      controllers: controller ? [...this.#state.controllers.values()].map((known) => encodeNodeEntry(known.entry)) : [],
    })
  }

  /** What the controllers' own log says of its members. Rejects with OstrakaErrors. */
  async reportControllers(report: { readonly group: string; readonly voters: number[]; readonly learners: number[] }): Promise<void> {
    await this.#queue.submit((view) => computeControllersReport(view, report), { hint: () => '', waitingMax: upkeepWaitingMax })
  }

  async #claim(request: pb.v1.ClaimReplicaRequest, context: CallContext): Promise<pb.v1.ClaimReplicaReply> {
    await this.#claims.claim(checkClaim(request), this.#hint(context))
    return new pb.v1.ClaimReplicaReply()
  }

  async #heartbeat(request: pb.v1.HeartbeatRequest, context: CallContext): Promise<pb.v1.HeartbeatReply> {
    const { id, nonce, controller, groups, lost, loads } = checkHeartbeat(request)
    if (this.#replica.role !== 'leader') throw notLeader(this.#hint(context)(this.#replica.leader))
    this.roleChanged()
    if (controller) this.#mustBeController(id, nonce)
    const registration = (controller ? this.#state.controllers : this.#state.nodes).get(id)
    if (registration === undefined || registration.nonce.length === 0) {
      throw new OstrakaError('FAILED_PRECONDITION', `${id} has not registered: do so before the first heartbeat`, true)
    }
    if (!equalBytes(registration.nonce, nonce)) {
      throw new OstrakaError('FAILED_PRECONDITION', `another data directory has registered as ${id} since`, true)
    }
    this.#liveness.heard(controller ? 'controller' : 'node', id)
    for (const hosted of groups) {
      if (this.#state.config?.groupByUid(hosted.group) === undefined) continue
      this.#liveness.noteLeader(hosted.group, hosted.term, hosted.leader)
      if (this.#liveness.leaderOf(hosted.group) !== id) continue
      this.#reported.note(hosted, this.#clock.monotonicMs())
      this.#sizes.note(hosted, this.#state)
    }
    if (!controller) this.#noteLost(id, lost)
    if (!controller && loads !== undefined) this.#loads.note(id, loads, this.#clock.monotonicMs())
    return new pb.v1.HeartbeatReply({
      configNumber: this.#state.configNumber,
      removedGroups: removedGroups(
        this.#state,
        groups.map(({ group }) => group),
      ),
      removedReplicas: removedReplicas(this.#state, groups),
      transfers: controller ? [] : (this.#balancer?.transfersOf(id) ?? []),
    })
  }

  /** One that was replaced must end: it hears of nothing any more. */
  #mustBeController(id: string, nonce: Uint8Array): void {
    const { version, members } = this.#state.controllerMembers
    if (version === 0) return
    const isMember = members.some((member) => member.node === id && (member.nonce.length === 0 || equalBytes(member.nonce, nonce)))
    if (!isMember) throw new OstrakaError('LOST', `controller ${id} was replaced: this one is none any more`, true)
  }

  /** Of other nodes' replicas a node has no say. */
  #noteLost(node: string, told: readonly CheckedLost[]): void {
    const lost = told.filter(({ group, replica }) => {
      const members = this.#state.config?.groupByUid(group)?.members ?? []
      return members.some((member) => member.replica === replica && member.node === node)
    })
    this.#reported.noteLost(node, lost, this.#clock.monotonicMs())
    if (lost.length > 0) this.#steward.changed()
  }

  #view(): LeaderView {
    const { migrations } = this.#state
    this.#reported.retain((id) => {
      const record = migrations.byId.get(id)
      return record !== undefined && isOpen(record)
    })
    return {
      state: this.#state,
      atMs: Math.floor(this.#clock.wallMs()),
      sizeOf: (shard) => this.#sizes.of(shard),
      progressOf: (migration) => {
        const { attempt, bytesTotal } = this.#reported.progressOf(migration) ?? {}
        return { attempt: attempt ?? 0, bytesTotal: bytesTotal ?? 0 }
      },
      isDriven: (migration) => this.#reported.isDriven(migration, this.#clock.monotonicMs()),
      hasLeader: (group) => !this.#liveness.isKnown || this.#liveness.leaderOf(group) !== '',
      hasNoRoom: (group) => this.#reported.hasNoRoom(group, this.#clock.monotonicMs()),
      isLive: (group, member) => this.#isLive(group, member),
      isLivenessKnown: this.#liveness.isKnown,
      lost: this.#reported.lost(),
      controllers: controllersGroup(this.#state.controllerMembers, this.#machine.standing),
    }
  }

  /** Who was only named in a join has never lived. */
  #isLive({ uid }: Group, { node, replica }: Member): boolean {
    if (uid === controllerGroup) return replica === this.#replica.replica || this.#liveness.isLive('controller', node)
    const hasRegistered = (this.#state.nodes.get(node)?.nonce.length ?? 0) > 0
    return hasRegistered && this.#liveness.isLive('node', node) && !this.#reported.isLost(uid, replica)
  }

  async #readView(hint: (replica: number) => string): Promise<LeaderView> {
    await this.#read(hint)
    return this.#view()
  }

  /** What fails is tried again by the steward while it is still to be done. */
  async #upkeep(compute: Compute): Promise<void> {
    try {
      await this.#queue.submit(compute, { hint: () => '', waitingMax: upkeepWaitingMax })
    } catch (error) {
      if (!(error instanceof OstrakaError)) this.#logger.error({ error }, 'the upkeep of the groups failed')
    }
  }

  /** The newest config, linearizably; what follows in the same turn reads the state as of now. */
  async #read(hint: (replica: number) => string): Promise<Config> {
    await this.#proposals.readIndex(hint)
    this.roleChanged()
    const { config } = this.#state
    if (config === undefined) throw new OstrakaError('UNAVAILABLE', 'the cluster is being formed', true)
    return config
  }

  #hint(context: CallContext): (replica: number) => string {
    return (replica) => {
      const id = this.#idOf(replica)
      return id === '' ? '' : this.#controllerAddress(id, context.listener)
    }
  }

  /** Id of a controller by its number; '' where it is not known here yet. */
  #idOf(replica: number): string {
    return (
      this.#machine.standing.nodes.get(replica) ?? this.#state.controllerMembers.members.find((one) => one.replica === replica)?.node ?? ''
    )
  }

  /** Those that are and those that are to be. */
  #controllerIds(): string[] {
    const wanted = staying(this.#state.controllerMembers.members).map(({ node }) => node)
    return [...new Set([...this.#machine.standing.nodes.values(), ...wanted])].sort()
  }

  /** Where a caller that came through `listener` reaches a controller. */
  #controllerAddress(id: string, listener: string): string {
    const registered = addressUnder(this.#state.controllers.get(id)?.entry.addresses ?? [], listener)
    return registered ?? this.#peers.find((peer) => peer.id === id)?.address ?? ''
  }
}
