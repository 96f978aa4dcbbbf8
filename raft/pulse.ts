import type { Clock, Timer } from '../base/clock.ts'
import type { pb } from '../proto/messages.ts'
import { NodeLiveness } from './node-liveness.ts'
import { type QuietableReplica, QuietGroups } from './quiet-groups.ts'

/** Ticks are at most this long, so that timeouts are met closely. */
const tickMsMax = 10

export interface PulsingReplica extends QuietableReplica {
  tick(at: number): void
}

export interface PulseOptions {
  readonly clock: Clock
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
 * The one timer of a process: it ticks all its replicas, tells the other nodes at each heartbeat interval that this one lives, and watches that
 * they do.
 */
export class Pulse {
  readonly tickMs: number
  readonly electionTicks: number
  readonly heartbeatTicks: number
  readonly #options: PulseOptions
  readonly #liveness: NodeLiveness
  readonly #quietGroups: QuietGroups
  #timer: Timer | undefined
  /** Ticks so far. Heartbeats of all groups leave where it is a multiple of heartbeatTicks. */
  #at = 0
  #closed = false

  constructor(options: PulseOptions) {
    const { electionTimeoutMs, heartbeatMs, replicas, nodeOf } = options
    this.#options = options
    this.tickMs = Math.max(1, Math.min(tickMsMax, heartbeatMs / 2))
    this.electionTicks = Math.round(electionTimeoutMs / this.tickMs)
    this.heartbeatTicks = Math.max(1, Math.round(heartbeatMs / this.tickMs))
    this.#liveness = new NodeLiveness(this.electionTicks, (node) => this.#quietGroups.wakeWith(node))
    const { electionTicks, heartbeatTicks } = this
    this.#quietGroups = new QuietGroups({ liveness: this.#liveness, electionTicks, heartbeatTicks, replicas, nodeOf })
    this.#arm()
  }

  /** For how many ticks `node` was not heard. */
  silentTicks(node: string | undefined): number {
    return node === undefined ? 0 : this.#liveness.silentTicks(node)
  }

  heard(node: string): void {
    this.#liveness.heard(node)
  }

  beatCame(node: string, beat: pb.v1.NodeBeat): void {
    if (!this.#closed) this.#quietGroups.heard(node, beat)
  }

  /** See MessengerOptions. */
  broken(node: string): void {
    if (!this.#closed) this.#quietGroups.wakeWith(node)
  }

  /** See MessengerOptions. */
  lost(node: string): void {
    if (!this.#closed) this.#quietGroups.lost(node)
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  /** A late timer counts as one tick, and ticks only after the sockets have been read: a long turn must not look like a dead leader. */
  #arm(): void {
    const { clock } = this.#options
    this.#timer = clock.setTimer(this.tickMs, () => {
      clock.soon(() => {
        if (this.#closed) return
        this.#tick()
        this.#arm()
      })
    })
  }

  #tick(): void {
    this.#at++
    for (const [, replica] of this.#options.replicas()) replica.tick(this.#at)
    this.#liveness.tick()
    if (this.#at % this.heartbeatTicks === 0) this.#options.beat((node) => this.#quietGroups.beatFor(node))
  }
}
