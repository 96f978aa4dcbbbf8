import type { Clock } from '../base/clock.ts'
import type { Space } from '../base/disk-space.ts'
import type { Config } from '../proto/config.ts'
import type { ReplicaApi } from '../raft/replica-api.ts'
import type { GroupResult } from './apply-run.ts'
import { Arrivals } from './arrivals.ts'
import { Deadlines } from './deadlines.ts'
import type { GroupStateMachine } from './group-state-machine.ts'
import { ShardLoads } from './shard-loads.ts'
import { SlowWrites } from './slow-writes.ts'
import { TimeMarks } from './time-marks.ts'

/** A replica that runs here. */
export interface HostedGroup {
  readonly replica: ReplicaApi<GroupResult>
  readonly stateMachine: Pick<GroupStateMachine, 'read' | 'scan' | 'shardState' | 'timeMs'>
}

export interface MovesView {
  /** Uid of the group that serves `shard` until it has given it to `group`, which owns it by the config; undefined: there is none. */
  sourceOf(group: string, shard: number): string | undefined
}

export interface KvNodeParts {
  readonly clock: Clock
  /** By the group's uid. */
  readonly hosts: { get(group: string): HostedGroup | undefined }
  /** Node id of a replica. */
  readonly host: { nodeOf(group: string, replica: number): string | undefined }
  /** The node's disk. Not given: nobody watches it. */
  readonly space?: Pick<Space, 'isLow'>
  /** Not given: none. */
  readonly moves?: MovesView
  readonly watcher: {
    readonly config: Config | undefined
    /** Rejects with OstrakaError. */
    atLeast(number: number, timeoutMs: number): Promise<Config>
  }
}

/** Where no moves are known of. */
const noMoves: MovesView = { sourceOf: () => undefined }

const seekMs = 1000

/** What the calls of one node share. */
export class KvNode {
  readonly clock: Clock
  readonly timeMarks = new TimeMarks()
  readonly deadlines: Deadlines
  readonly arrivals: Arrivals
  readonly slowWrites: SlowWrites
  /** What is served, counted where it is answered. */
  readonly loads: ShardLoads
  readonly #parts: KvNodeParts
  #isSeeking = false

  constructor(parts: KvNodeParts) {
    this.#parts = parts
    this.clock = parts.clock
    this.deadlines = new Deadlines(parts.clock)
    this.arrivals = new Arrivals(parts.clock)
    this.slowWrites = new SlowWrites(parts.clock)
    this.loads = new ShardLoads(parts.clock)
  }

  get config(): Config | undefined {
    return this.#parts.watcher.config
  }

  get configNumber(): number {
    return this.config?.number ?? 0
  }

  group(uid: string): HostedGroup | undefined {
    return this.#parts.hosts.get(uid)
  }

  /** Node id; '' where it is not known. */
  nodeOf(group: string, replica: number): string {
    return this.#parts.host.nodeOf(group, replica) ?? ''
  }

  /** See MovesView. */
  sourceOf(group: string, shard: number): string | undefined {
    return (this.#parts.moves ?? noMoves).sourceOf(group, shard)
  }

  /** Whether a request by config `number` may be refused for what the present config says. */
  isBehind(number: number): boolean {
    return this.config === undefined || this.config.number < number
  }

  fetchConfig(number: number, timeoutMs: number): Promise<Config> {
    return this.#parts.watcher.atLeast(Math.max(1, number), timeoutMs)
  }

  /** Asks around for a config after the present one: a shard was handed over here, and the one that says so is late. Whoever wants it asks again. */
  seekNewerConfig(): void {
    if (this.#isSeeking) return
    this.#isSeeking = true
    const ended = () => {
      this.#isSeeking = false
    }
    this.fetchConfig(this.configNumber + 1, seekMs).then(ended, ended)
  }

  /** No writes are taken: what is left of the disk is needed for those that were. */
  get isDiskLow(): boolean {
    return this.#parts.space?.isLow === true
  }

  /** What the next entry of the group carries, ms. */
  timeOf(hosted: HostedGroup): number {
    return Math.max(hosted.replica.groupTimeMs(), hosted.stateMachine.timeMs)
  }
}
