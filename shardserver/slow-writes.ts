import type { Clock, Timer } from '../base/clock.ts'
import type { pb } from '../proto/messages.ts'

const delayMs = 10
/** The target repeats its wish as long as it does not keep up. */
const slowForMs = 1000

interface Slowed {
  readonly shards: Set<number>
  untilMs: number
  /** In the order in which they came, and in which they leave. */
  readonly queue: { readonly dueMs: number; readonly run: () => void }[]
  timer: Timer | undefined
}

/** Holds writes to shards back for a moment whose new group does not keep up with them. They keep their order. */
export class SlowWrites {
  readonly #clock: Clock
  readonly #slowed = new Map<string, Slowed>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  slow(group: string, shards: readonly number[]): void {
    const slowed = this.#slowed.get(group) ?? { shards: new Set(), untilMs: 0, queue: [], timer: undefined }
    for (const shard of shards) slowed.shards.add(shard)
    slowed.untilMs = this.#clock.monotonicMs() + slowForMs
    this.#slowed.set(group, slowed)
  }

  /** Runs `run` now, or a little later where the batch writes to a shard that is slowed. */
  pass(group: string, commands: readonly pb.v1.Command.$Properties[], run: () => void): void {
    const slowed = this.#slowed.size === 0 ? undefined : this.#slowed.get(group)
    if (slowed === undefined || !commands.some(({ shard }) => slowed.shards.has(shard ?? 0))) {
      run()
      return
    }
    const nowMs = this.#clock.monotonicMs()
    const last = slowed.queue.at(-1)
    if (nowMs >= slowed.untilMs && last === undefined) {
      this.#slowed.delete(group)
      run()
      return
    }
    slowed.queue.push({ dueMs: nowMs < slowed.untilMs ? nowMs + delayMs : (last?.dueMs ?? nowMs), run })
    this.#arm(slowed)
  }

  #arm(slowed: Slowed): void {
    const first = slowed.queue[0]
    if (first === undefined || slowed.timer !== undefined) return
    slowed.timer = this.#clock.setTimer(Math.max(0, first.dueMs - this.#clock.monotonicMs()), () => {
      slowed.timer = undefined
      const nowMs = this.#clock.monotonicMs()
      for (let next = slowed.queue[0]; next !== undefined && next.dueMs <= nowMs; next = slowed.queue[0]) {
        slowed.queue.shift()
        next.run()
      }
      this.#arm(slowed)
    })
  }
}
