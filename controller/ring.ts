import HashRing from 'hashring'
import { must } from '../base/assert.ts'
import type { Slices, Work } from './slices.ts'

/**
 * The consistent-hashing ring: `hashring` (ketama points) over the groups' names, with a fixed number of points for each group and no
 * weights (theirs move the points of other groups), so that a group's points depend on its name alone. It says for each shard in which order it
 * would choose the groups, and how far each is.
 */

/** Each gives four points. Must differ from the library's default of 40, which it scales by the number of groups and rounds. */
const vnodesPerGroup = 41
const pointsPerGroup = 4 * vnodesPerGroup

/** Above the number of groups. */
const ranks = 2 ** 16

/** Points are hashes in [0, 2^32): parts of equal width are about equally full, and each is sorted in a slice of its own. */
const partWidth = 2 ** 24

/** What `hashring` has and `@types/hashring` does not tell rightly. */
interface KetamaRing {
  points(servers: string[]): Record<string, number[]>
  hashValue(key: string): number
}

function ketama(servers: readonly string[]): KetamaRing {
  return new HashRing(Object.fromEntries(servers.map((server) => [server, { vnodes: vnodesPerGroup }]))) as unknown as KetamaRing
}

const hash = ketama([])

export class Ring {
  /** Ascending. */
  readonly #points: Float64Array
  /** Whose point: position in the list of names. */
  readonly #owners: Uint16Array
  readonly #groupCount: number

  private constructor(points: Float64Array, owners: Uint16Array, groupCount: number) {
    this.#points = points
    this.#owners = owners
    this.#groupCount = groupCount
  }

  /** The ring of groups of these names, sorted: of two groups that share a point the first is met first. */
  static *building(names: readonly string[], work: Work): Slices<Ring> {
    const parts: number[][] = Array.from({ length: 2 ** 32 / partWidth }, () => [])
    for (const [at, name] of names.entries()) {
      // The prefix keeps the library's plain objects safe from names such as '__proto__'.
      const server = `group/${name}`
      // Point and owner as one number, so that a plain numeric sort does.
      for (const point of must(ketama([server]).points([server])[server], `no points of ${server}`))
        must(parts[Math.floor(point / partWidth)], 'a point beyond the ring').push(point * ranks + at)
      if (work.add(pointsPerGroup)) yield work.take()
    }
    const points = new Float64Array(names.length * pointsPerGroup)
    const owners = new Uint16Array(points.length)
    let next = 0
    for (const part of parts) {
      for (const key of Float64Array.from(part).sort()) {
        points[next] = Math.floor(key / ranks)
        owners[next++] = key % ranks
      }
      if (work.add(part.length)) yield work.take()
    }
    return new Ring(points, owners, names.length)
  }

  /** A walk around the ring from where `shard` lies. */
  walk(shard: number): RingWalk {
    return new RingWalk(this.#points, this.#owners, this.#groupCount, hash.hashValue(`shard/${shard}`))
  }
}

/** Meets the groups in the order in which a shard would choose them, each once. */
export class RingWalk {
  readonly #points: Float64Array
  readonly #owners: Uint16Array
  readonly #start: number
  readonly #first: number
  readonly #met: Uint8Array
  /** How many points it has passed. */
  steps = 0
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

  /** Goes on to the next group; false when all have been met. */
  next(): boolean {
    while (this.steps < this.#points.length) {
      const at = (this.#first + this.steps++) % this.#points.length
      const group = this.#owners[at] ?? 0
      if (this.#met[group] === 1) continue
      this.#met[group] = 1
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
