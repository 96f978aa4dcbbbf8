import { assert, must } from '../base/assert.ts'
import { quotas } from './quotas.ts'
import { Ring, type RingWalk } from './ring.ts'

/**
 * Placement: consistent hashing with bounded loads. Pure: the same input gives the same output, whatever the order of its lists.
 *
 * 1. Each group has a quota (`quotas.ts`). Pinned shards go where they are pinned.
 * 2. Who owns more than its quota gives up the surplus, and no more: the shards that lie nearest on the ring to a group that wants some.
 * 3. What nobody owns is dealt out to the groups that want some, as in stable matching: a shard asks the groups in its order on the ring, a
 *    group keeps the nearest that ask it, up to its quota. So the outcome does not hang on an order of shards, and a group that leaves and
 *    comes back gets mostly the shards that it had.
 */

export interface PlacedGroup {
  /** Unique. The ring is keyed by it, so a group that returns under its name finds its shards. */
  readonly name: string
  /** Above 0. */
  readonly weight: number
}

export interface PlacementInput {
  readonly shardCount: number
  /** The groups that take shards, in any order. */
  readonly groups: readonly PlacedGroup[]
  /** For each shard the name of the group that owns it (or is to own it by an open migration); undefined: none, or one that is not in `groups`. */
  readonly current: readonly (string | undefined)[]
  /** Shard → name. A pin to a group that is not in `groups` is not heeded. */
  readonly pins: ReadonlyMap<number, string>
}

export interface Move {
  readonly shard: number
  /** undefined: nobody owned it. */
  readonly from: string | undefined
  readonly to: string
}

export interface Placement {
  /** For each shard the name of its owner; undefined only where there are no groups. */
  readonly owners: readonly (string | undefined)[]
  /** By shard. */
  readonly moves: readonly Move[]
}

/** No owner. */
const nobody = -1

export function place(input: PlacementInput): Placement {
  const { shardCount, current } = input
  assert(current.length === shardCount, `owners of ${current.length} shards, ${shardCount} expected`)
  const groups = [...input.groups].sort((a, b) => (a.name < b.name ? -1 : 1))
  if (groups.length === 0) return { owners: Array.from(current), moves: [] }
  const positions = new Map(groups.map((group, at) => [group.name, at]))
  assert(positions.size === groups.length, 'two groups of one name')
  const owners = Int32Array.from(current, (name) => (name === undefined ? nobody : (positions.get(name) ?? nobody)))
  const pinned = new Uint8Array(shardCount)
  const pins = new Uint32Array(groups.length)
  for (const [shard, name] of input.pins) {
    const at = positions.get(name)
    if (at === undefined || shard >= shardCount) continue
    pinned[shard] = 1
    owners[shard] = at
    pins[at] = (pins[at] ?? 0) + 1
  }
  const owned = countOf(owners, groups.length)
  const loads = groups.map((group, at) => ({ ...group, owned: owned[at] ?? 0, pinned: pins[at] ?? 0 }))
  new Deal(groups, quotas(shardCount, loads), owners, pinned).run()
  return outcome(input, groups, owners)
}

function outcome(input: PlacementInput, groups: readonly PlacedGroup[], positions: Int32Array): Placement {
  const owners = Array.from(positions, (at) => must(groups[at], 'a shard was left without an owner').name)
  const moves: Move[] = []
  for (let shard = 0; shard < input.shardCount; shard++) {
    const from = input.current[shard]
    const to = owners[shard]
    if (to !== undefined && to !== from) moves.push({ shard, from, to })
  }
  return { owners, moves }
}

function countOf(owners: Int32Array, groupCount: number): Int32Array {
  const counts = new Int32Array(groupCount)
  for (const at of owners) if (at !== nobody) counts[at] = (counts[at] ?? 0) + 1
  return counts
}

/** One placement under way. Groups are positions in the sorted list. */
class Deal {
  readonly #ring: Ring
  readonly #quotas: readonly number[]
  readonly #owners: Int32Array
  readonly #pinned: Uint8Array
  readonly #counts: Int32Array

  constructor(groups: readonly PlacedGroup[], quotaList: readonly number[], owners: Int32Array, pinned: Uint8Array) {
    this.#ring = new Ring(groups.map((group) => group.name))
    this.#quotas = quotaList
    this.#owners = owners
    this.#pinned = pinned
    this.#counts = countOf(owners, groups.length)
  }

  run(): void {
    const wanted = this.#quotas.map((quota, at) => Math.max(0, quota - (this.#counts[at] ?? 0)))
    this.#release(wanted)
    this.#match(wanted)
  }

  /** Step 2. */
  #release(wanted: readonly number[]): void {
    const wants = (group: number) => (wanted[group] ?? 0) > 0
    const candidates = new Map<number, { shard: number; distance: number }[]>()
    for (let shard = 0; shard < this.#owners.length; shard++) {
      const owner = this.#owners[shard] ?? nobody
      if (owner === nobody || this.#pinned[shard] === 1 || (this.#counts[owner] ?? 0) <= (this.#quotas[owner] ?? 0)) continue
      const walk = this.#ring.walk(shard)
      const list = candidates.get(owner) ?? []
      candidates.set(owner, list)
      if (walk.next(wants)) list.push({ shard, distance: walk.distance })
    }
    for (const [owner, list] of candidates) {
      const surplus = (this.#counts[owner] ?? 0) - (this.#quotas[owner] ?? 0)
      assert(list.length >= surplus, 'a group cannot give up its surplus')
      list.sort((a, b) => a.distance - b.distance || a.shard - b.shard)
      for (const { shard } of list.slice(0, surplus)) this.#owners[shard] = nobody
    }
  }

  /** Step 3 (Gale and Shapley, 1962: the outcome is the same in whatever order the shards ask). */
  #match(wanted: readonly number[]): void {
    const wants = (group: number) => (wanted[group] ?? 0) > 0
    const held = wanted.map((capacity) => new NearestShards(capacity))
    for (let shard = 0; shard < this.#owners.length; shard++) {
      if (this.#owners[shard] !== nobody) continue
      let asking: Asking | undefined = { shard, walk: this.#ring.walk(shard), distance: 0 }
      while (asking !== undefined) {
        assert(asking.walk.next(wants), 'a shard found no group with room')
        asking.distance = asking.walk.distance
        asking = must(held[asking.walk.group], 'no such group').offer(asking)
      }
    }
    for (const [group, shards] of held.entries()) for (const { shard } of shards.all) this.#owners[shard] = group
  }
}

interface Asking {
  readonly shard: number
  readonly walk: RingWalk
  distance: number
}

function isFarther(a: Asking, b: Asking): boolean {
  return a.distance > b.distance || (a.distance === b.distance && a.shard > b.shard)
}

/** The nearest shards that asked a group, up to its capacity: a binary heap with the farthest on top. */
class NearestShards {
  readonly all: Asking[] = []
  readonly #capacity: number

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  /** Whom it turns away, if it must. */
  offer(asking: Asking): Asking | undefined {
    const top = this.all[0]
    if (this.all.length < this.#capacity) {
      this.#push(asking)
      return undefined
    }
    if (top === undefined || !isFarther(top, asking)) return asking
    this.all[0] = asking
    this.#sink()
    return top
  }

  #push(asking: Asking): void {
    const heap = this.all
    let at = heap.length
    heap.push(asking)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isFarther(asking, must(heap[parent], 'heap'))) break
      heap[at] = must(heap[parent], 'heap')
      at = parent
    }
    heap[at] = asking
  }

  #sink(): void {
    const heap = this.all
    const moving = must(heap[0], 'heap')
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      const left = heap[child]
      const right = heap[child + 1]
      if (left === undefined) break
      if (right !== undefined && isFarther(right, left)) child++
      const larger = must(heap[child], 'heap')
      if (!isFarther(larger, moving)) break
      heap[at] = larger
      at = child
    }
    heap[at] = moving
  }
}
