import type { Clock, Timer } from '../base/clock.ts'
import type { pb } from '../proto/messages.ts'

/** Of what a target replays: with the rest it makes up for what it is behind. */
const share = 0.75
/** The target repeats its wish with every piece that it asks for. */
const leaseMs = 5000
/** Who would have to wait for longer is refused, so that no more is held than leaves in that time. */
const heldMsMax = 2000

/** A target that does not keep up with the writes to the shards of a migration. */
export interface SlowWish {
  readonly migration: number
  readonly shards: readonly number[]
  /** What it replays, bytes a second as `deltaBytes` counts them; 0: it keeps up. */
  readonly replayRate: number
}

export interface PassingWrites {
  readonly commands: readonly pb.v1.Command.$Properties[]
  /** As `deltaBytes` would count them. */
  readonly bytes: number
  readonly run: () => void
  /** Nothing of them was done: `waitMs` until they would have been. */
  readonly refuse: (waitMs: number) => void
}

/** Of one migration out of a group. */
interface Slowing {
  readonly migration: number
  readonly shards: ReadonlySet<number>
  bytesPerMs: number
  untilMs: number
  /** When the rate allows the next write: not before those that are held. */
  nextMs: number
}

interface Held {
  readonly dueMs: number
  readonly slowings: readonly Slowing[]
  readonly run: () => void
}

/**
 * Keeps the writes to shards whose new group does not keep up below the rate at which that replays them, so that what is left to replay gets less. Writes to
 * a shard keep their order. Each migration's shards are slowed until it keeps up, ends here or asks no more.
 */
export class SlowWrites {
  readonly #clock: Clock
  readonly #groups = new Map<string, SlowedGroup>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  slow(group: string, wish: SlowWish): void {
    const slowed = this.#groups.get(group)
    if (wish.replayRate === 0) slowed?.end(({ migration }) => migration === wish.migration)
    else if (slowed !== undefined) slowed.slow(wish)
    else this.#groups.set(group, new SlowedGroup(this.#clock, wish))
  }

  /** Only these migrations still have the group execute commands for them. */
  keepOnly(group: string, exporting: readonly number[]): void {
    this.#groups.get(group)?.end(({ migration }) => !exporting.includes(migration))
  }

  /** Of other groups' writes there is nothing to `pass`. */
  slows(group: string): boolean {
    return this.#groups.size > 0 && this.#groups.has(group)
  }

  /** Runs them now, or a little later where they write to a shard that is slowed, or refuses them. */
  pass(group: string, writes: PassingWrites): void {
    const slowed = this.#groups.get(group)
    if (slowed === undefined) writes.run()
    else slowed.pass(writes)
    if (slowed?.isOver) this.#groups.delete(group)
  }
}

class SlowedGroup {
  readonly #clock: Clock
  #slowings: Slowing[] = []
  /** In the order in which they leave: those of one migration as they came. */
  readonly #queue: Held[] = []
  #timer: Timer | undefined

  constructor(clock: Clock, wish: SlowWish) {
    this.#clock = clock
    this.slow(wish)
  }

  get isOver(): boolean {
    return this.#slowings.length === 0 && this.#queue.length === 0
  }

  slow({ migration, shards, replayRate }: SlowWish): void {
    const untilMs = this.#clock.monotonicMs() + leaseMs
    const bytesPerMs = (share * replayRate) / 1000
    const known = this.#slowings.find((slowing) => slowing.migration === migration)
    if (known === undefined) this.#slowings.push({ migration, shards: new Set(shards), bytesPerMs, untilMs, nextMs: 0 })
    else Object.assign(known, { bytesPerMs, untilMs })
  }

  /** What waits for such a migration leaves, and so does what must not be overtaken by it. */
  end(isOver: (slowing: Slowing) => boolean): void {
    const ended = this.#slowings.filter(isOver)
    if (ended.length === 0) return
    this.#slowings = this.#slowings.filter((slowing) => !ended.includes(slowing))
    const last = this.#queue.findLastIndex(({ slowings }) => slowings.some((slowing) => ended.includes(slowing)))
    this.#leave(last + 1)
  }

  pass(writes: PassingWrites): void {
    const nowMs = this.#clock.monotonicMs()
    this.#endLeases(nowMs)
    const slowings = this.#slowings.filter(({ shards }) => writes.commands.some(({ shard }) => shards.has(shard ?? 0)))
    const dueMs = slowings.reduce((ms, { nextMs }) => Math.max(ms, nextMs), nowMs)
    if (dueMs - nowMs > heldMsMax) {
      writes.refuse(dueMs - nowMs)
      return
    }
    for (const slowing of slowings) slowing.nextMs = dueMs + partOf(writes, slowing) / slowing.bytesPerMs
    if (dueMs > nowMs || this.#isBehind(slowings)) this.#hold({ dueMs, slowings, run: writes.run })
    else writes.run()
  }

  /** Something that these must not overtake is due, and has not left yet. */
  #isBehind(slowings: readonly Slowing[]): boolean {
    return slowings.length > 0 && this.#queue.some((held) => held.slowings.some((slowing) => slowings.includes(slowing)))
  }

  #hold(held: Held): void {
    const at = this.#queue.findLastIndex(({ dueMs }) => dueMs <= held.dueMs) + 1
    this.#queue.splice(at, 0, held)
    if (at === 0) this.#arm()
  }

  #endLeases(nowMs: number): void {
    this.end(({ untilMs }) => untilMs <= nowMs)
  }

  /** The first `count` of the queue. */
  #leave(count: number): void {
    for (const { run } of this.#queue.splice(0, count)) run()
    this.#arm()
  }

  #arm(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    const first = this.#queue[0]
    if (first === undefined) return
    const atMs = this.#slowings.reduce((ms, { untilMs }) => Math.min(ms, untilMs), first.dueMs)
    this.#timer = this.#clock.setTimer(Math.max(0, atMs - this.#clock.monotonicMs()), () => {
      const nowMs = this.#clock.monotonicMs()
      this.#endLeases(nowMs)
      const later = this.#queue.findIndex(({ dueMs }) => dueMs > nowMs)
      this.#leave(later < 0 ? this.#queue.length : later)
    })
  }
}

/** Bytes to shards of a migration. */
function partOf({ commands, bytes }: PassingWrites, { shards }: Slowing): number {
  return (bytes * commands.filter(({ shard }) => shards.has(shard ?? 0)).length) / commands.length
}
