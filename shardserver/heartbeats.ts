import type { Clock, Timer } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'
import type { ControllerClient } from '../proto/controller-client.ts'
import { OstrakaError } from '../proto/errors.ts'
import type { pb } from '../proto/messages.ts'
import type { HostedReplica } from './group-host.ts'
import type { ShardLoad, ShardLoads } from './shard-loads.ts'
import { type LookedUp, ShardSizes } from './shard-sizes.ts'

const everyMs = 500
const timeoutMs = 1000
const sizesEveryMs = 5000
/** How long a heartbeat waits for them: those of thousands of shards take longer than the controllers wait for a node, and are told by a later one. */
const sizesWaitMs = 100

export interface HeartbeatsOptions {
  readonly clock: Clock
  readonly logger: Logger
  readonly client: Pick<ControllerClient, 'heartbeat'>
  /** This node's. */
  readonly id: string
  readonly nonce: Uint8Array
  hosted(): readonly HostedReplica[]
  /** Node id; '' where it is not known. */
  nodeOf(group: string, replica: number): string
  /** What this node serves. */
  readonly loads: Pick<ShardLoads, 'busy'>
  /** Of the migrations into a group that this node leads. */
  progressOf(group: string): pb.v1.MigrationProgress.$Properties[]
  /** Replicas that the config gives to this node and that it cannot hold. */
  lost(): readonly pb.v1.LostReplica.$Properties[]
  /** A group was removed from the cluster for good: its data is to be deleted. */
  remove(group: string): Promise<void>
  /** Another node should lead the group, if that can be done. */
  transfer(group: string, node: string): void
  /** A replica is a member of its group no more: the same. */
  removeReplica(group: string, replica: number): Promise<void>
  onFatal(error: Error): void
}

/** Tells the controllers that this node lives, what it serves, and what it knows of its groups: who leads, how large their shards are, how far migrations are. */
export class Heartbeats {
  readonly #options: HeartbeatsOptions
  #timer: Timer | undefined
  #sizesAtMs = Number.NEGATIVE_INFINITY
  readonly #sizes: ShardSizes
  /** Begun, and told by no heartbeat yet. */
  #looking: Promise<LookedUp> | undefined
  /** What is being deleted: that may take longer than the controllers wait for a node that is silent. */
  readonly #deleting = new Set<string>()
  #closed = false

  constructor(options: HeartbeatsOptions) {
    this.#options = options
    this.#sizes = new ShardSizes(options)
    this.#beat()
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  #beat(): void {
    this.#once()
      .catch((error: unknown) => {
        if (this.#closed) return
        if (!(error instanceof OstrakaError)) throw error
        this.#options.logger.debug({ error: error.message }, 'no controller took the heartbeat')
      })
      .then(
        () => {
          if (!this.#closed) this.#timer = this.#options.clock.setTimer(everyMs, () => this.#beat())
        },
        (error: unknown) => this.#fail(error),
      )
  }

  async #once(): Promise<void> {
    const { id, nonce, client } = this.#options
    const nowMs = this.#options.clock.monotonicMs()
    const isDue = nowMs - this.#sizesAtMs >= sizesEveryMs
    const sizes = isDue ? await this.#maybeSizes() : undefined
    if (this.#closed) return
    const groups = this.#options.hosted().map((hosted) => this.#describe(hosted, sizes))
    const lost = [...this.#options.lost()]
    const { removedGroups, removedReplicas, transfers } = await client.heartbeat(
      { id, nonce, groups, controller: false, lost, ...(isDue ? { loads: told(this.#options.loads.busy()) } : {}) },
      { timeoutMs },
    )
    if (sizes !== undefined) this.#sizesAtMs = nowMs
    for (const { group, node } of transfers) if (!this.#closed) this.#options.transfer(group, node)
    for (const group of removedGroups) this.#delete(group, () => this.#options.remove(group))
    for (const { group, replica } of removedReplicas) this.#delete(`${group}.${replica}`, () => this.#options.removeReplica(group, replica))
  }

  /** Once at a time: the controllers name it again as long as it is here. */
  #delete(what: string, work: () => Promise<void>): void {
    if (this.#closed || this.#deleting.has(what)) return
    this.#deleting.add(what)
    work().then(
      () => this.#deleting.delete(what),
      (error: unknown) => this.#fail(error),
    )
  }

  #fail(error: unknown): void {
    if (!this.#closed) this.#options.onFatal(error instanceof Error ? error : new Error(String(error)))
  }

  /** undefined: they take their time. */
  #maybeSizes(): Promise<LookedUp | undefined> {
    this.#looking ??= this.#sizes.lookUp()
    const looking = this.#looking
    return new Promise((resolve, reject) => {
      let isLate = false
      const timer = this.#options.clock.setTimer(sizesWaitMs, () => {
        isLate = true
        resolve(undefined)
      })
      looking.then((sizes) => {
        if (isLate) return
        timer.cancel()
        this.#looking = undefined
        resolve(sizes)
      }, reject)
    })
  }

  #describe({ replica, stateMachine }: HostedReplica, lookedUp: LookedUp | undefined): pb.v1.HostedGroup.$Properties {
    const { group, term, replica: number } = replica
    const leader = this.#options.nodeOf(group, replica.leader)
    if (replica.role !== 'leader') return { group, replica: number, term, leader }
    const sizes = lookedUp?.get(stateMachine)
    const tellsSizes = sizes !== undefined
    return { group, replica: number, term, leader, sizes: [...(sizes ?? [])], tellsSizes, progress: this.#options.progressOf(group) }
  }
}

function told(loads: readonly ShardLoad[]): pb.v1.ShardLoads.$Properties {
  return { shards: loads.map(({ shard }) => shard), reads: loads.map(({ reads }) => reads), writes: loads.map(({ writes }) => writes) }
}
