/**
 * How fast a simulator runs where nobody disturbs it. A virtual machine's core is often one of two threads of a physical core: a loop that touches
 * no memory then takes up to twice the processor time while a neighbour is busy, and a figure per second of a core says as much of the neighbour as
 * of the code. So the same loop is run before and after each seed; the seeds between two fast loops tell more of the code. Not all: what happens
 * between the loops, and to caches, they do not see; and a machine that is disturbed all the time has no fast ones, so the time of the best is told
 * with the figure.
 */

/** Iterations of the loop: some ten milliseconds. */
const LOOP_COUNT = 6_000_000
/** A loop is fast that takes at most this many times as long as the best of the run. */
const FAST_RATIO = 1.2
/** Fewer seeds of a kind between fast loops tell nothing. */
const SEEDS_MIN = 10

let sum = 0

/** Runs the loop. Returns the processor time that it took, milliseconds. */
export function loopMs(): number {
  const before = process.cpuUsage()
  let [a, b, c, d, e, f] = [1, 2, 3, 4, 5, 6]
  // Additions that do not wait for each other: what a core does most of in a moment, and so where a neighbour takes most.
  for (let i = 0; i < LOOP_COUNT; i++) {
    a = (a + (i ^ 3)) | 0
    b = (b ^ (i + 5)) | 0
    c = (c + (i | 1)) | 0
    d = (d - i) | 0
    e = (e ^ (i << 1)) | 0
    f = (f + (i >> 1)) | 0
  }
  // What nobody looks at would be left out.
  sum = (sum + a + b + c + d + e + f) | 0
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

export interface UndisturbedSpeed {
  /** Virtual seconds per second of processor time. */
  readonly perSecond: number
  /** Between fast loops. */
  readonly seeds: number
  readonly bestLoopMs: number
}

export interface TimedSeed {
  /** Seeds of one kind do about the same work. */
  readonly kind: string
  readonly virtualMs: number
  readonly cpuMs: number
  /** Of the loops before and after it, the slower. */
  readonly loopMs: number
}

/** Virtual seconds per second of an undisturbed core. */
export class CoreSpeed {
  readonly #kinds = new Map<string, TimedSeed[]>()

  add(seed: TimedSeed): void {
    const seeds = this.#kinds.get(seed.kind)
    if (seeds === undefined) this.#kinds.set(seed.kind, [seed])
    else seeds.push(seed)
  }

  /**
   * The kinds count by their shares of all seeds, whatever their shares of the undisturbed: a long seed meets a neighbour more easily. Undefined
   * where some kind has too few.
   */
  undisturbed(): UndisturbedSpeed | undefined {
    const bestLoopMs = Math.min(...[...this.#kinds.values()].flat().map((seed) => seed.loopMs))
    let virtualMs = 0
    let cpuMs = 0
    let count = 0
    for (const seeds of this.#kinds.values()) {
      const fast = seeds.filter((seed) => seed.loopMs <= FAST_RATIO * bestLoopMs)
      if (fast.length < SEEDS_MIN) return undefined
      const ofAll = sumOf(seeds, 'virtualMs')
      virtualMs += ofAll
      cpuMs += (ofAll * sumOf(fast, 'cpuMs')) / sumOf(fast, 'virtualMs')
      count += fast.length
    }
    return cpuMs === 0 ? undefined : { perSecond: virtualMs / cpuMs, seeds: count, bestLoopMs }
  }
}

function sumOf(seeds: readonly TimedSeed[], field: 'virtualMs' | 'cpuMs'): number {
  return seeds.reduce((total, seed) => total + seed[field], 0)
}
