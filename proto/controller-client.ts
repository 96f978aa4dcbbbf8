import { toHex } from '../base/bytes.ts'
import type { Clock, Timer } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'
import type { Random } from '../base/random.ts'
import { type Channel, type Method, type Transport, TransportError } from '../base/transport.ts'
import { type Config, decodeConfig } from './config.ts'
import { type Directory, decodeDirectory, decodeNodeEntry, type NodeEntry } from './directory.ts'
import { decodeError } from './error-codec.ts'
import { OstrakaError } from './errors.ts'
import type { pb } from './messages.ts'
import { controllerMethods } from './methods.ts'
import { decodeReported, type Migration } from './migration.ts'

export interface ControllerCallOptions {
  /** For the whole call, all attempts together. */
  readonly timeoutMs: number
  readonly signal?: AbortSignal
  /** Of a change, 1 to 64 bytes: asked for again under it, by whomever, it changes nothing more and has the same outcome. One is drawn where none is given. */
  readonly requestId?: string
}

export interface ControllerClientParts {
  readonly transport: Transport
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** HOST:PORT of the controllers, at least one. */
  readonly addresses: readonly string[]
}

const firstBackoffMs = 25
const backoffMsMax = 1000
const attemptMsMax = 2000
const attemptMsMin = 250
/** Channels to addresses that only hints named. */
const hintedChannelsMax = 16

/** What became of a change. */
export interface ChangeOutcome {
  /** The newest config number after it. */
  readonly configNumber: number
  /** One line for people, or ''. */
  readonly note: string
  /** Ids of the migrations that it planned or concerns. */
  readonly migrations: readonly number[]
}

interface Reply {
  error?: pb.v1.Error.$Properties | null
}

/** A replica by the uid of its group and its number. */
export interface GroupReplica {
  readonly group: string
  readonly replica: number
}

export interface RegisterOutcome {
  readonly clusterId: Uint8Array
  readonly config: Config
  readonly directory: Directory
  readonly removedGroups: readonly string[]
  readonly removedReplicas: readonly GroupReplica[]
  /** All of them, for a controller; else empty. */
  readonly controllers: readonly NodeEntry[]
}

export interface HeartbeatOutcome {
  readonly configNumber: number
  readonly removedGroups: readonly string[]
  readonly removedReplicas: readonly GroupReplica[]
  /** Groups that this node leads, by uid, and the node that should lead them. */
  readonly transfers: readonly { readonly group: string; readonly node: string }[]
}

/**
 * Calls the controllers' leader: tries the controllers in turn beginning with the one that answered last, follows hints, backs off with
 * jitter between rounds. A typed refusal is thrown as the OstrakaError that it is; what ends with the timeout is UNAVAILABLE and names the
 * addresses tried. Every call may be repeated by the client safely: reads change nothing, a change carries an id, registrations, claims and
 * heartbeats say the same again.
 */
export class ControllerClient {
  readonly #parts: ControllerClientParts
  readonly #channels = new Map<string, Channel>()
  readonly #closing = new AbortController()
  /** Where the last answer came from. */
  #preferred: string

  constructor(parts: ControllerClientParts) {
    const first = parts.addresses[0]
    if (first === undefined) throw new OstrakaError('INVALID_ARGUMENT', 'no controller address given', true)
    this.#parts = parts
    this.#preferred = first
  }

  /** Config `number` (0: the newest), and where the nodes are. NOT_FOUND if there is none of that number. Linearizable. */
  async query(number: number, options: ControllerCallOptions): Promise<{ config: Config; directory: Directory }> {
    const reply = await this.#call(controllerMethods.query, { number }, options, false)
    return { config: decodeConfig(reply.config ?? {}), directory: decodeDirectory(reply.directory ?? {}) }
  }

  /** Adds groups. Applied once however often it is tried, as every change: a request id is drawn where none is given. */
  join(request: pb.v1.JoinRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome> {
    return this.#change(controllerMethods.join, request, options)
  }

  /** Drains a group. NOT_FOUND: there is none of that name. FAILED_PRECONDITION: it is the last one with data, or `confirmShards` is wrong. */
  leave(request: pb.v1.LeaveRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome> {
    return this.#change(controllerMethods.leave, request, options)
  }

  /** Pins a shard to a group, and moves it there. FAILED_PRECONDITION: it moves already, or the group is being drained. */
  move(request: pb.v1.MoveRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome> {
    return this.#change(controllerMethods.move, request, options)
  }

  unpin(request: pb.v1.UnpinRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome> {
    return this.#change(controllerMethods.unpin, request, options)
  }

  rebalance(request: pb.v1.RebalanceRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome> {
    return this.#change(controllerMethods.rebalance, request, options)
  }

  /** Gives a group another weight, and moves what that asks for. NOT_FOUND: there is none of that name. FAILED_PRECONDITION: it is being drained. */
  weigh(request: pb.v1.WeighRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome> {
    return this.#change(controllerMethods.weigh, request, options)
  }

  /** Has the controllers' leader move shards by itself, or ends that. INVALID_ARGUMENT: rules that would never end. */
  autoRebalance(request: pb.v1.AutoRebalanceRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome> {
    return this.#change(controllerMethods.autoRebalance, request, options)
  }

  /** Pauses, resumes or cancels the migration of a shard. NOT_FOUND: it does not move. FAILED_PRECONDITION: it is committed. */
  steer(request: pb.v1.SteerRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome> {
    return this.#change(controllerMethods.steer, request, options)
  }

  /**
   * Adds, removes or replaces replicas of a group (docs/membership.md). NOT_FOUND: no such group, or a node that holds none of it.
   * FAILED_PRECONDITION: a change of the group runs, a node holds one already, or too few of the voters that would be left are live.
   */
  changeMembers(request: pb.v1.ChangeMembersRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome> {
    return this.#change(controllerMethods.changeMembers, request, options)
  }

  /** Replaces a node in all its groups, or a controller. As `changeMembers`. */
  replaceNode(request: pb.v1.ReplaceNodeRequest.$Properties, options: ControllerCallOptions): Promise<ChangeOutcome> {
    return this.#change(controllerMethods.replaceNode, request, options)
  }

  /** What a group's log says of its members, told by its leader. May be repeated. FAILED_PRECONDITION: that is not what the newest config wants. */
  async reportMembers(request: pb.v1.ReportMembersRequest.$Properties, options: ControllerCallOptions): Promise<{ configNumber: number }> {
    const { configNumber } = await this.#call(controllerMethods.reportMembers, request, options, true)
    return { configNumber }
  }

  /** Running migrations and the last ended ones, oldest first, or those of `ids` that are remembered, with all that is for people. Linearizable. */
  async migrations(options: ControllerCallOptions & { readonly ids?: readonly number[] }): Promise<readonly pb.v1.Migration.$Properties[]> {
    return (await this.listMigrations({ ids: [...(options.ids ?? [])] }, options)).migrations
  }

  /** The same, with what waits for a migration of its own. Linearizable. */
  listMigrations(request: pb.v1.MigrationsRequest.$Properties, options: ControllerCallOptions): Promise<pb.v1.MigrationsReply> {
    return this.#call(controllerMethods.migrations, request, options, false)
  }

  /**
   * What a group's leader has to say of a migration; the answer is the migration as the controllers' log has it then. undefined after BORN.
   * FAILED_PRECONDITION: not now (it is paused); NOT_FOUND: no migration of that id was ever planned.
   */
  async report(request: pb.v1.ReportRequest.$Properties, options: ControllerCallOptions): Promise<Migration | undefined> {
    const reply = await this.#call(controllerMethods.report, request, options, true)
    return reply.migration ? decodeReported(reply.migration) : undefined
  }

  plan(request: pb.v1.PlanRequest.$Properties, options: ControllerCallOptions): Promise<pb.v1.PlanReply> {
    return this.#call(controllerMethods.plan, request, options, false)
  }

  /** `shards`: also of each shard. */
  status(options: ControllerCallOptions & { readonly shards?: boolean }): Promise<pb.v1.ClusterStatusReply> {
    return this.#call(controllerMethods.status, { shards: options.shards === true }, options, false)
  }

  /** `removedGroups`, `removedReplicas`: those of the request whose data is to be deleted before anything is served. */
  async register(request: pb.v1.RegisterRequest.$Properties, options: ControllerCallOptions): Promise<RegisterOutcome> {
    const reply = await this.#call(controllerMethods.register, request, options, true)
    return {
      clusterId: Uint8Array.from(reply.clusterId),
      config: decodeConfig(reply.config ?? {}),
      directory: decodeDirectory(reply.directory ?? {}),
      removedGroups: reply.removedGroups,
      removedReplicas: reply.removedReplicas.map(decodeGroupReplica),
      controllers: reply.controllers.map(decodeNodeEntry),
    }
  }

  /** Throws LOST where another data directory has claimed the number. */
  async claimReplica(request: pb.v1.ClaimReplicaRequest.$Properties, options: ControllerCallOptions): Promise<void> {
    await this.#call(controllerMethods.claimReplica, request, options, true)
  }

  /** `removedGroups`, `removedReplicas`: those of the request whose data is to be deleted. */
  async heartbeat(request: pb.v1.HeartbeatRequest.$Properties, options: ControllerCallOptions): Promise<HeartbeatOutcome> {
    const { configNumber, removedGroups, removedReplicas, transfers } = await this.#call(
      controllerMethods.heartbeat,
      request,
      options,
      false,
    )
    return {
      configNumber,
      removedGroups,
      removedReplicas: removedReplicas.map(decodeGroupReplica),
      transfers: transfers.map(({ group, node }) => ({ group: group ?? '', node: node ?? '' })),
    }
  }

  /** Running calls end with CANCELLED. */
  close(): void {
    this.#closing.abort()
    for (const channel of this.#channels.values()) channel.close()
    this.#channels.clear()
  }

  async #change<Request extends { requestId: string }>(
    method: Method<Request, pb.v1.ChangeReply>,
    request: { readonly requestId?: string | null | undefined },
    options: ControllerCallOptions,
  ): Promise<ChangeOutcome> {
    const requestId = request.requestId || options.requestId || toHex(this.#parts.random.bytes(16))
    const { configNumber, note, migrations } = await this.#call(method, { ...request, requestId }, options, true)
    return { configNumber, note, migrations }
  }

  async #call<Request, Response extends Reply>(
    method: Method<Request, Response>,
    request: NoInfer<Request> | object,
    options: ControllerCallOptions,
    isChange: boolean,
  ): Promise<Response> {
    const { clock } = this.#parts
    const deadline = clock.monotonicMs() + options.timeoutMs
    const attemptMs = Math.min(attemptMsMax, Math.max(attemptMsMin, options.timeoutMs / 3))
    const tried = new Set<string>()
    let indefinite = false
    let last = 'no attempt'
    for (let round = 0; ; round++) {
      const queue = this.#order()
      let waitMs = 0
      for (let hops = 0, address = queue.shift(); address !== undefined; hops++) {
        const leftMs = deadline - clock.monotonicMs()
        this.#mustRun(options.signal, isChange && indefinite)
        if (leftMs <= 0) throw this.#unavailable(tried, last, options.timeoutMs, isChange && indefinite)
        tried.add(address)
        let hint: string | undefined
        try {
          const reply = await this.#attempt(address, method, request as Request, Math.min(leftMs, attemptMs), options.signal)
          const error = reply.error ? decodeError(reply.error) : undefined
          if (error === undefined) {
            this.#preferred = address
            return reply
          }
          if (!isRetried(error)) throw error
          if (!error.definite) indefinite = true
          last = `${address}: ${error.message}`
          hint = error.details.leaderHint || undefined
          waitMs = Math.max(waitMs, error.details.waitMs ?? 0)
        } catch (error) {
          if (!(error instanceof TransportError)) throw error
          if (error.code === 'UNIMPLEMENTED' || error.code === 'INVALID_ARGUMENT') {
            throw new OstrakaError('INVALID_ARGUMENT', `${address}: ${error.message}`, true)
          }
          this.#mustRun(options.signal, isChange)
          indefinite = true
          last = `${address}: ${error.message}`
        }
        // A hint is followed at once, but two controllers that name each other must not keep a call turning.
        address = hint !== undefined && hint !== address && hops < 2 * this.#parts.addresses.length ? hint : queue.shift()
      }
      const backoffMs = Math.max(waitMs, Math.min(backoffMsMax, firstBackoffMs * 2 ** Math.min(round, 10)))
      const leftMs = deadline - clock.monotonicMs()
      await pause(clock, Math.max(0, Math.min(leftMs, backoffMs * (0.5 + this.#parts.random.next()))), options.signal, this.#closing.signal)
    }
  }

  /** The last that answered first, then the others as given. */
  #order(): string[] {
    return [this.#preferred, ...this.#parts.addresses.filter((address) => address !== this.#preferred)]
  }

  async #attempt<Request, Response>(
    address: string,
    method: Method<Request, Response>,
    request: Request,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Response> {
    const channel = this.#channel(address)
    return await channel.unary(method, request, signal === undefined ? { timeoutMs } : { timeoutMs, signal })
  }

  #channel(address: string): Channel {
    const known = this.#channels.get(address)
    if (known !== undefined) return known
    if (this.#channels.size >= this.#parts.addresses.length + hintedChannelsMax) this.#dropHinted()
    const channel = this.#parts.transport.connect(address)
    this.#channels.set(address, channel)
    return channel
  }

  #dropHinted(): void {
    for (const [address, channel] of this.#channels) {
      if (this.#parts.addresses.includes(address) || address === this.#preferred) continue
      channel.close()
      this.#channels.delete(address)
    }
  }

  #mustRun(signal: AbortSignal | undefined, indefinite: boolean): void {
    if (this.#closing.signal.aborted) throw new OstrakaError('CANCELLED', 'the controller client was closed', !indefinite)
    if (signal?.aborted) throw new OstrakaError('CANCELLED', 'the caller gave up', !indefinite)
  }

  #unavailable(tried: ReadonlySet<string>, last: string, timeoutMs: number, indefinite: boolean): OstrakaError {
    const addresses = [...new Set([...this.#parts.addresses, ...tried])].join(', ')
    return new OstrakaError(
      'UNAVAILABLE',
      `no controller leader answered within ${Math.round(timeoutMs)} ms (tried ${addresses}; ${last})`,
      !indefinite,
    )
  }
}

/** Refusals that another controller, or this one later, may not repeat. */
function isRetried(error: OstrakaError): boolean {
  switch (error.code) {
    case 'NOT_LEADER':
    case 'OVERLOADED':
    case 'UNAVAILABLE':
    case 'UNKNOWN':
    case 'DEADLINE':
      return true
    default:
      return false
  }
}

/** Waits, or less if one of the signals is given. */
export function pause(clock: Clock, delayMs: number, ...signals: readonly (AbortSignal | undefined)[]): Promise<void> {
  return new Promise((resolve) => {
    let timer: Timer | undefined
    const end = () => {
      timer?.cancel()
      for (const signal of signals) signal?.removeEventListener('abort', end)
      resolve()
    }
    if (signals.some((signal) => signal?.aborted)) return resolve()
    for (const signal of signals) signal?.addEventListener('abort', end)
    timer = clock.setTimer(delayMs, end)
  })
}

export function decodeGroupReplica({ group, replica }: pb.v1.GroupReplica.$Properties): GroupReplica {
  return { group: group ?? '', replica: replica ?? 0 }
}
