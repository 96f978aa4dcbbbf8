import type { Clock, Timer } from '../base/clock.ts'
import type { pb } from '../proto/messages.ts'
import { NodeLiveness } from './node-liveness.ts'
import { type QuietableReplica, QuietGroups } from './quiet-groups.ts'
import type { Turn } from './turn.ts'

/** Ticks are at most this long, so that timeouts are met closely. */
const tickMsMax = 10

/** Where every replica rests, beats leave at every second heartbeat interval only: it is waking up, not what is said, that costs. */
const intervalsAtRest = 2

/** Not where an election timeout has fewer intervals than this: a late beat must not look like a silence. */
const intervalsPerTimeoutMin = 5

export interface PulsingReplica extends QuietableReplica {
  /** Not while it is quiet, nor once it has stopped. */
  readonly needsTicks: boolean
  tick(at: number): void
}

export interface PulseOptions {
  readonly clock: Clock
  readonly turn: Pick<Turn, 'tick'>
  readonly electionTimeoutMs: number
  readonly heartbeatMs: number
  /** By group. */
  replicas(): Iterable<readonly [string, PulsingReplica]>
  /** Undefined: not known. */
  nodeOf(group: string, replica: number): string | undefined
  /** Hands a beat to every node that takes messages. */
  beat(beatFor: (node: string) => pb.v1.NodeBeat): void
}

/**
 * The one timer of a process: it ticks all its replicas, tells the other nodes in beats that this one lives, at each heartbeat interval, and watches
 * that they do. While no replica needs ticks it fires at every second heartbeat interval only, and ticks are counted in strides; so `wanted` must be
 * called when one does again. Whatever the strides, n ticks never pass in less than n - 1 times their length: leases rest on that.
 */
export class Pulse {
  readonly tickMs: number
  readonly electionTicks: number
  readonly heartbeatTicks: number
  readonly #options: PulseOptions
  readonly #liveness: NodeLiveness
  readonly #quietGroups: QuietGroups
  /** Between two beats while no replica needs ticks. */
  readonly #restTicks: number
  #timer: Timer | undefined
  /** Ticks so far. Heartbeats of all groups leave where it is a multiple of heartbeatTicks. */
  #at = 0
  /** How many ticks the timer's next firing stands for, and when it was armed. */
  #stride = 1
  #armedMs = 0
  #closed = false

  constructor(options: PulseOptions) {
    const { electionTimeoutMs, heartbeatMs, replicas, nodeOf } = options
    this.#options = options
    this.tickMs = Math.max(1, Math.min(tickMsMax, heartbeatMs / 2))
    this.electionTicks = Math.round(electionTimeoutMs / this.tickMs)
    this.heartbeatTicks = Math.max(1, Math.round(heartbeatMs / this.tickMs))
    this.#liveness = new NodeLiveness(this.electionTicks, (node) => this.#quietGroups.wakeWith(node))
    const { electionTicks, heartbeatTicks } = this
    this.#restTicks = heartbeatTicks * (electionTicks >= intervalsPerTimeoutMin * heartbeatTicks ? intervalsAtRest : 1)
    this.#quietGroups = new QuietGroups({ liveness: this.#liveness, electionTicks, heartbeatTicks, replicas, nodeOf })
    this.#arm(1)
  }

  /** For how many ticks `node` was not heard. */
  silentTicks(node: string | undefined): number {
    return node === undefined ? 0 : this.#liveness.silentTicks(node, this.#elapsedTicks())
  }

  heard(node: string): void {
    this.#liveness.heard(node, this.#elapsedTicks())
  }

  /** A replica may need ticks: the next comes within one tick's time. */
  wanted(): void {
    if (this.#stride === 1 || this.#closed) return
    this.#timer?.cancel()
    const elapsed = this.#elapsedTicks()
    this.#at += elapsed
    this.#liveness.pass(elapsed)
    this.#arm(1)
  }

  beatCame(node: string, beat: pb.v1.NodeBeat): void {
    if (!this.#closed) this.#quietGroups.heard(node, beat)
  }

  /** See MessengerOptions. */
  broken(node: string): void {
    if (!this.#closed) this.#quietGroups.wakeWith(node)
  }

  /** See MessengerOptions. */
  isLedFrom(node: string): boolean {
    return this.#quietGroups.isLedFrom(node)
  }

  /** See MessengerOptions. */
  lost(node: string): void {
    if (!this.#closed) this.#quietGroups.lost(node)
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  /**
   * A late timer counts for no more ticks than it was armed for, and ticks come only after the sockets have been read: a long turn must not look
   * like a dead leader.
   */
  #arm(stride: number): void {
    const { clock, turn } = this.#options
    this.#stride = stride
    if (stride > 1) this.#armedMs = clock.monotonicMs()
    const timer = clock.setTimer(stride * this.tickMs, () => {
      turn.tick(() => {
        // Not if it was armed anew between the timer and this turn.
        if (this.#closed || this.#timer !== timer) return
        this.#tick(stride)
        this.#arm(this.#nextStride())
      })
    })
    this.#timer = timer
  }

  #tick(count: number): void {
    this.#at += count
    for (const [, replica] of this.#options.replicas()) replica.tick(this.#at)
    // What it wakes must not take the stride that is over for one that has begun.
    this.#stride = 1
    this.#liveness.pass(count)
    if (this.#at % this.heartbeatTicks === 0) this.#beat()
  }

  #beat(): void {
    this.#quietGroups.count()
    this.#options.beat((node) => this.#quietGroups.beatFor(node))
  }

  /** To the next beat at rest, or to where a node was silent for too long, where nobody needs a tick before. */
  #nextStride(): number {
    for (const [, replica] of this.#options.replicas()) if (replica.needsTicks) return 1
    return Math.min(this.#restTicks - (this.#at % this.#restTicks), this.#liveness.ticksToLimit)
  }

  /** Whole ticks that have passed of a stride under way, and are not counted yet. */
  #elapsedTicks(): number {
    if (this.#stride === 1) return 0
    const passed = Math.floor((this.#options.clock.monotonicMs() - this.#armedMs) / this.tickMs)
    return Math.min(passed, this.#stride - 1)
  }
}
