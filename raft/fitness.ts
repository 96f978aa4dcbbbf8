import type { Raft } from './core/raft.ts'

/**
 * Whether a replica may lead: not while its state machine lacks what only a snapshot brings, and not while its disk stalls. A leader whose own
 * appends do not become durable for an election timeout holds the group up as one does that is cut off, though its heartbeats go on: it hands its
 * office over, or steps down. It stands for election again once an append has become durable.
 */
export class Fitness {
  readonly #core: Pick<Raft, 'role' | 'setFit'>
  readonly #stallTicks: number
  readonly #handOver: (ended: () => void) => void
  /** The first ticks seen by the appends that were handed to the log and are not known to be durable, oldest first. */
  readonly #seenAt: number[] = []
  /** How many newer ones have seen no tick yet. They wait for one: a group that rests, or has just started, does not know the number of the last. */
  #unseen = 0
  #lacksSnapshot = false
  #stalled = false

  /** `handOver`: hands the office to whoever can take it, and calls `ended` when that came about or not. */
  constructor(core: Pick<Raft, 'role' | 'setFit'>, stallTicks: number, handOver: (ended: () => void) => void) {
    this.#core = core
    this.#stallTicks = stallTicks
    this.#handOver = handOver
  }

  /** The disk has not answered for an election timeout. */
  get stalled(): boolean {
    return this.#stalled
  }

  needSnapshot(needed: boolean): void {
    this.#lacksSnapshot = needed
    this.#tell()
  }

  appendHanded(): void {
    this.#unseen++
  }

  /** The oldest append is durable. */
  appendDurable(): void {
    if (this.#seenAt.shift() === undefined) this.#unseen--
    if (!this.#stalled) return
    this.#stalled = false
    this.#tell()
  }

  /** `at`: the number of the process's tick: a late timer is one tick, so a pause of the process does not look like a stall of its disk. */
  tick(at: number): void {
    for (; this.#unseen > 0; this.#unseen--) this.#seenAt.push(at)
    const oldest = this.#seenAt[0]
    if (this.#stalled || oldest === undefined || at - oldest <= this.#stallTicks) return
    this.#stalled = true
    if (this.#core.role === 'leader') this.#handOver(() => this.#tell())
    else this.#tell()
  }

  #tell(): void {
    this.#core.setFit(!this.#lacksSnapshot && !this.#stalled)
  }
}
