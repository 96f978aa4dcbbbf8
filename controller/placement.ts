import { assert, must } from '../base/assert.ts'
import { type AtDistance, NearestShards } from './nearest-shards.ts'
import { quotas } from './quotas.ts'
import { Ring, type RingWalk } from './ring.ts'
import { type Slices, toEnd, Work } from './slices.ts'

/**
 * Placement: consistent hashing with bounded loads. Pure: the same input gives the same output, whatever the order of its lists.
 *
 * 1. Each group has a quota (`quotas.ts`). Pinned shards go where they are pinned.
 * 2. Who owns more than its quota gives up the surplus, and no more: the shards that lie nearest on the ring to a group that wants some.
 * 3. What nobody owns is dealt out to the groups that want some, as in stable matching: a shard asks the groups in its order on the ring, a
 *    group keeps the nearest that ask it, up to its quota. So the outcome does not hang on an order of shards, and a group that leaves and
 *    comes back gets mostly the shards that it had.
 *
 * Only groups that want some are on the ring: who joins a thousand groups costs no more than who joins three.
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

/** In one go. */
export function place(input: PlacementInput): Placement {
  return toEnd(placing(input))
}

/** The same in slices. The input must not change meanwhile. */
export function* placing(input: PlacementInput): Slices<Placement> {
  const { shardCount, current } = input
  assert(current.length === shardCount, `owners of ${current.length} shards, ${shardCount} expected`)
  const groups = [...input.groups].sort((a, b) => (a.name < b.name ? -1 : 1))
  if (groups.length === 0) return { owners: Array.from(current), moves: [] }
  const positions = new Map(groups.map((group, at) => [group.name, at]))
  assert(positions.size === groups.length, 'two groups of one name')
  const work = new Work()
  work.add(groups.length)
  yield work.take()
  const owners = new Int32Array(shardCount).fill(nobody)
  for (const [shard, name] of current.entries()) {
    if (name !== undefined) owners[shard] = positions.get(name) ?? nobody
    if (work.add(1)) yield work.take()
  }
  const pinned = new Uint8Array(shardCount)
  const pins = new Uint32Array(groups.length)
  for (const [shard, name] of input.pins) {
    if (work.add(1)) yield work.take()
    const at = positions.get(name)
    if (at === undefined || shard >= shardCount) continue
    pinned[shard] = 1
    owners[shard] = at
    pins[at] = (pins[at] ?? 0) + 1
  }
  const owned = countOf(owners, groups.length)
  const loads = groups.map((group, at) => ({ ...group, owned: owned[at] ?? 0, pinned: pins[at] ?? 0 }))
  const deal = new Deal(groups, yield* quotas(shardCount, loads), owners, pinned, work)
  yield* deal.run()
  return yield* outcome(input, groups, owners, work)
}

function* outcome(input: PlacementInput, groups: readonly PlacedGroup[], positions: Int32Array, work: Work): Slices<Placement> {
  const owners: string[] = []
  const moves: Move[] = []
  for (const [shard, at] of positions.entries()) {
    const from = input.current[shard]
    const to = must(groups[at], 'a shard was left without an owner').name
    owners.push(to)
    if (to !== from) moves.push({ shard, from, to })
    if (work.add(1)) yield work.take()
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
  readonly #groups: readonly PlacedGroup[]
  readonly #quotas: readonly number[]
  readonly #owners: Int32Array
  readonly #pinned: Uint8Array
  readonly #counts: Int32Array
  readonly #work: Work

  constructor(groups: readonly PlacedGroup[], quotaList: readonly number[], owners: Int32Array, pinned: Uint8Array, work: Work) {
    this.#groups = groups
    this.#quotas = quotaList
    this.#owners = owners
    this.#pinned = pinned
    this.#counts = countOf(owners, groups.length)
    this.#work = work
  }

  *run(): Slices<void> {
    const wanted = this.#quotas.map((quota, at) => Math.max(0, quota - (this.#counts[at] ?? 0)))
    const wanting = wanted.flatMap((count, at) => (count > 0 ? [at] : []))
    if (wanting.length === 0) return
    const ring = yield* Ring.building(
      wanting.map((at) => must(this.#groups[at], 'no such group').name),
      this.#work,
    )
    yield* this.#release(ring)
    yield* this.#match(ring, wanting, wanted)
  }

  /** Step 2. */
  *#release(ring: Ring): Slices<void> {
    const surplus = this.#quotas.map((quota, at) => (this.#counts[at] ?? 0) - quota)
    const given = surplus.map((count) => (count > 0 ? new NearestShards<AtDistance>(count) : undefined))
    for (const [shard, owner] of this.#owners.entries()) {
      if (this.#work.add(1)) yield this.#work.take()
      const giving = given[owner]
      if (giving === undefined || this.#pinned[shard] === 1) continue
      const walk = ring.walk(shard)
      assert(walk.next(), 'a ring without groups')
      giving.offer({ shard, distance: walk.distance })
      if (this.#work.add(stepsOfWalk)) yield this.#work.take()
    }
    for (const [owner, giving] of given.entries()) {
      assert(giving === undefined || giving.all.length === surplus[owner], 'a group cannot give up its surplus')
      for (const { shard } of giving?.all ?? []) this.#owners[shard] = nobody
    }
  }

  /** Step 3 (Gale and Shapley, 1962: the outcome is the same in whatever order the shards ask). `wanting`: the group of each position on the ring. */
  *#match(ring: Ring, wanting: readonly number[], wanted: readonly number[]): Slices<void> {
    const held = wanting.map((group) => new NearestShards<Asking>(wanted[group] ?? 0))
    for (const [shard, owner] of this.#owners.entries()) {
      if (this.#work.add(1)) yield this.#work.take()
      if (owner !== nobody) continue
      if (this.#work.add(stepsOfWalk)) yield this.#work.take()
      let asking: Asking | undefined = { shard, walk: ring.walk(shard), distance: 0 }
      while (asking !== undefined) {
        const before: number = asking.walk.steps
        assert(asking.walk.next(), 'a shard found no group with room')
        if (this.#work.add(asking.walk.steps - before)) yield this.#work.take()
        asking.distance = asking.walk.distance
        asking = must(held[asking.walk.group], 'no such group').offer(asking)
      }
    }
    for (const [at, shards] of held.entries()) for (const { shard } of shards.all) this.#owners[shard] = wanting[at] ?? nobody
  }
}

/** To begin a walk: a hash and a search. */
const stepsOfWalk = 8

interface Asking extends AtDistance {
  readonly walk: RingWalk
  distance: number
}
