import HashRing from 'hashring'
import { must } from '../base/assert.ts'

/**
 * The consistent-hashing ring: `hashring` (ketama points) over the groups' names, with a fixed number of points for each group and no
 * weights (theirs move the points of other groups). It says for each shard in which order it would choose the groups, and how far each is.
 */

/** Each gives four points. Must differ from the library's default of 40, which it scales by the number of groups and rounds. */
const vnodesPerGroup = 41

/** Above the number of groups. */
const ranks = 2 ** 16

/** What `hashring` has and `@types/hashring` does not tell rightly. */
interface KetamaRing {
  points(servers: string[]): Record<string, number[]>
  hashValue(key: string): number
}

export class Ring {
  /** Ascending. */
  readonly #points: Float64Array
  /** Whose point: position in the list of names. */
  readonly #owners: Uint16Array
  readonly #groupCount: number
  readonly #hash: (key: string) => number

  constructor(names: readonly string[]) {
    // The prefix keeps the library's plain objects safe from names such as '__proto__'.
    const servers = names.map((name) => `group/${name}`)
    const library = new HashRing(Object.fromEntries(servers.map((server) => [server, { vnodes: vnodesPerGroup }])))
    const ring = library as unknown as KetamaRing
    const points = ring.points(servers)
    // Point and owner as one number, so that a plain numeric sort does. Two groups that share a point are told apart by name.
    const byName = names.map((_, at) => at).sort((a, b) => ((names[a] ?? '') < (names[b] ?? '') ? -1 : 1))
    const keys: number[] = []
    for (const [rank, owner] of byName.entries()) {
      const server = servers[owner] ?? ''
      for (const point of must(points[server], `no points of ${server}`)) keys.push(point * ranks + rank)
    }
    const sorted = Float64Array.from(keys).sort()
    this.#points = sorted.map((key) => Math.floor(key / ranks))
    this.#owners = Uint16Array.from(sorted, (key) => byName[key % ranks] ?? 0)
    this.#groupCount = names.length
    this.#hash = (key) => ring.hashValue(key)
  }

  /** A walk around the ring from where `shard` lies. */
  walk(shard: number): RingWalk {
    return new RingWalk(this.#points, this.#owners, this.#groupCount, this.#hash(`shard/${shard}`))
  }
}

/** Meets the groups in the order in which a shard would choose them, each once. */
export class RingWalk {
  readonly #points: Float64Array
  readonly #owners: Uint16Array
  readonly #start: number
  readonly #first: number
  readonly #met: Uint8Array
  #step = 0
  /** The group last met: position in the list of names. */
  group = -1
  /** How far it is from the shard, in [0, 2^32). */
  distance = 0

  constructor(points: Float64Array, owners: Uint16Array, groupCount: number, start: number) {
    this.#points = points
    this.#owners = owners
    this.#start = start
    this.#met = new Uint8Array(groupCount)
    this.#first = lowerBound(points, start)
  }

  /** Goes on to the next group that `admits`; false when all have been met. */
  next(admits: (group: number) => boolean): boolean {
    while (this.#step < this.#points.length) {
      const at = (this.#first + this.#step++) % this.#points.length
      const group = this.#owners[at] ?? 0
      if (this.#met[group] === 1) continue
      this.#met[group] = 1
      if (!admits(group)) continue
      this.group = group
      this.distance = ((this.#points[at] ?? 0) - this.#start + 2 ** 32) % 2 ** 32
      return true
    }
    return false
  }
}

/** Position of the first point at or behind `value`. */
function lowerBound(points: Float64Array, value: number): number {
  let low = 0
  let high = points.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((points[middle] ?? 0) < value) low = middle + 1
    else high = middle
  }
  return low
}
