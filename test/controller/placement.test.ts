import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { type PlacedGroup, type Placement, place } from '../../controller/placement.ts'
import { imbalance, shares } from '../../controller/quotas.ts'

const nobody = (shardCount: number): (string | undefined)[] => Array.from({ length: shardCount }, () => undefined)
const noPins: ReadonlyMap<number, string> = new Map()

function counts(owners: readonly (string | undefined)[]): Map<string | undefined, number> {
  const result = new Map<string | undefined, number>()
  for (const owner of owners) result.set(owner, (result.get(owner) ?? 0) + 1)
  return result
}

/** Floor and ceiling of each group's share, over exactly the groups that live. */
function mustBalance(shardCount: number, groups: readonly PlacedGroup[], placement: Placement, message: string): void {
  const owned = counts(placement.owners)
  expect(
    [...owned.keys()].every((name) => groups.some((group) => group.name === name)),
    `${message}: an absent group owns shards`,
  ).toBe(true)
  const exact = shares(
    shardCount,
    groups.map((group) => group.weight),
  )
  for (const [at, group] of groups.entries()) {
    const share = exact[at] ?? 0
    const count = owned.get(group.name) ?? 0
    expect(count, `${message}: ${group.name} of share ${share}`).toBeGreaterThanOrEqual(Math.floor(share + 1e-6))
    expect(count, `${message}: ${group.name} of share ${share}`).toBeLessThanOrEqual(Math.ceil(share - 1e-6))
  }
}

/** The fewest moves that floors and ceilings allow: every group gives up what is above its ceiling, or more where not all ceilings can be used. */
function fewestMoves(shardCount: number, groups: readonly PlacedGroup[], current: readonly (string | undefined)[]): number {
  const owned = counts(current)
  const exact = shares(
    shardCount,
    groups.map((group) => group.weight),
  )
  const floors = exact.map((share) => Math.floor(share + 1e-6))
  const spare = shardCount - floors.reduce((sum, floor) => sum + floor, 0)
  let kept = 0
  let wouldKeepOneMore = 0
  for (const [at, group] of groups.entries()) {
    const count = owned.get(group.name) ?? 0
    const floor = floors[at] ?? 0
    kept += Math.min(count, floor)
    if (count > floor && (exact[at] ?? 0) - floor > 1e-6) wouldKeepOneMore++
  }
  return shardCount - kept - Math.min(wouldKeepOneMore, spare)
}

/** Whether some choice of floors and ceilings lets every old group keep or give, and none receive. */
function canMoveOnlyTo(
  name: string,
  shardCount: number,
  groups: readonly PlacedGroup[],
  current: readonly (string | undefined)[],
): boolean {
  const owned = counts(current)
  const exact = shares(
    shardCount,
    groups.map((group) => group.weight),
  )
  let atMost = 0
  for (const [at, group] of groups.entries()) {
    const [floor, ceiling] = [Math.floor((exact[at] ?? 0) + 1e-6), Math.ceil((exact[at] ?? 0) - 1e-6)]
    const count = owned.get(group.name) ?? 0
    if (group.name !== name && count < floor) return false
    atMost += group.name === name ? ceiling : Math.min(ceiling, count)
  }
  return atMost >= shardCount
}

const names = ['g1', 'orders', 'eu-west.1', '12', '__proto__', 'constructor', 'G1', 'a', 'users_eu', 'g10', 'g2', 'x'.repeat(64)]

describe('placement', () => {
  it('deals the first shards out by share, and the same whatever the order of the groups', () => {
    const groups = names.map((name, at) => ({ name, weight: 1 + (at % 3) }))
    const placement = place({ shardCount: 256, groups, current: nobody(256), pins: noPins })
    mustBalance(256, groups, placement, 'first')
    expect(placement.moves.length).toBe(256)
    expect(placement.moves.every((move) => move.from === undefined)).toBe(true)
    expect(place({ shardCount: 256, groups: [...groups].reverse(), current: nobody(256), pins: noPins })).toEqual(placement)
  })

  it('leaves shards without owner where there is no group, and does nothing where nothing is to do', () => {
    expect(place({ shardCount: 16, groups: [], current: nobody(16), pins: noPins }).moves).toEqual([])
    const groups = [{ name: 'g1', weight: 1 }]
    const { owners } = place({ shardCount: 16, groups, current: nobody(16), pins: noPins })
    expect(place({ shardCount: 16, groups, current: owners, pins: noPins })).toEqual({ owners, moves: [] })
  })

  it('moves shards only to who joins and only from who leaves, as few as can be, over long histories of equal groups', () => {
    for (let seed = 1; seed <= 25; seed++) {
      const random = new SeededRandom(seed)
      const shardCount = 16 << random.below(5)
      let groups: PlacedGroup[] = []
      let owners = nobody(shardCount)
      for (let step = 0; step < 20; step++) {
        const message = `seed ${seed} step ${step}`
        const absent = names.filter((name) => !groups.some((group) => group.name === name))
        const joins = groups.length === 0 || (absent.length > 0 && random.below(2) === 0)
        const name = (joins ? absent[random.below(absent.length)] : groups[random.below(groups.length)]?.name) as string
        if (!joins && groups.length === 1) continue
        groups = joins ? [...groups, { name, weight: 1 }] : groups.filter((group) => group.name !== name)
        const placement = place({ shardCount, groups, current: owners, pins: noPins })
        mustBalance(shardCount, groups, placement, message)
        for (const move of placement.moves) expect(joins ? move.to : (move.from ?? name), message).toBe(name)
        expect(placement.moves.length, message).toBe(fewestMoves(shardCount, groups, owners))
        if (joins) expect(placement.moves.length, message).toBeLessThanOrEqual(Math.ceil(shardCount / groups.length))
        owners = [...placement.owners]
      }
    }
  })

  it('keeps quotas and the fewest moves over histories of weighted groups that join, leave and change weight', () => {
    for (let seed = 100; seed < 140; seed++) {
      const random = new SeededRandom(seed)
      const shardCount = 64 << random.below(3)
      let groups: PlacedGroup[] = []
      let owners = nobody(shardCount)
      for (let step = 0; step < 15; step++) {
        const message = `seed ${seed} step ${step}`
        const absent = names.filter((name) => !groups.some((group) => group.name === name))
        const what = groups.length < 2 ? 0 : random.below(3)
        const name = (what === 0 ? absent[random.below(absent.length)] : groups[random.below(groups.length)]?.name) as string
        if (name === undefined) continue
        const weight = 0.25 + 4 * random.next()
        const others = groups.filter((group) => group.name !== name)
        groups = what === 1 ? others : [...others, { name, weight }]
        const placement = place({ shardCount, groups, current: owners, pins: noPins })
        mustBalance(shardCount, groups, placement, message)
        expect(placement.moves.length, message).toBe(fewestMoves(shardCount, groups, owners))
        if (what === 0 && canMoveOnlyTo(name, shardCount, groups, owners)) {
          for (const move of placement.moves) expect(move.to, message).toBe(name)
        }
        owners = [...placement.owners]
      }
    }
  })

  it('puts pinned shards first: a crowded group keeps its pins, the rest is shared among the others', () => {
    for (let seed = 1; seed <= 30; seed++) {
      const random = new SeededRandom(seed)
      const groups = names.slice(0, 4).map((name) => ({ name, weight: 1 + random.below(2) }))
      const pins = new Map<number, string>()
      for (let shard = 0; shard < 64; shard++) if (random.below(2) === 0) pins.set(shard, random.below(4) === 0 ? 'orders' : 'g1')
      pins.set(3, 'not there')
      const { owners } = place({ shardCount: 128, groups, current: nobody(128), pins })
      const after = place({ shardCount: 128, groups: [...groups, { name: 'new', weight: 1 }], current: owners, pins })
      for (const placement of [{ owners }, after]) {
        for (const [shard, name] of pins) if (name !== 'not there') expect(placement.owners[shard], `seed ${seed}`).toBe(name)
      }
      for (const move of after.moves) expect(move.to, `seed ${seed}`).toBe('new')
    }
    const crowded = new Map(Array.from({ length: 20 }, (_, shard) => [shard, 'a'] as const))
    const groups = ['a', 'b', 'c'].map((name) => ({ name, weight: 1 }))
    const owned = counts(place({ shardCount: 32, groups, current: nobody(32), pins: crowded }).owners)
    expect([owned.get('a'), owned.get('b'), owned.get('c')]).toEqual([20, 6, 6])
  })

  it('gives a group that leaves and comes back mostly the shards that it had', () => {
    for (const groupCount of [3, 5, 12]) {
      const groups = names.slice(0, groupCount).map((name) => ({ name, weight: 1 }))
      const before = place({ shardCount: 1024, groups, current: nobody(1024), pins: noPins }).owners
      for (const { name } of groups) {
        const rest = groups.filter((group) => group.name !== name)
        const without = place({ shardCount: 1024, groups: rest, current: before, pins: noPins }).owners
        const after = place({ shardCount: 1024, groups, current: without, pins: noPins }).owners
        const had = before.filter((owner) => owner === name).length
        const has = after.filter((owner, shard) => owner === name && before[shard] === name).length
        expect(has / had, `${name} of ${groupCount}`).toBeGreaterThan(0.5)
      }
    }
  })

  it('does as the labs ask, with the group ids that are there: five join, five leave, minimal transfers', () => {
    let groups: PlacedGroup[] = ['503', '504'].map((name) => ({ name, weight: 1 }))
    let owners = place({ shardCount: 16, groups, current: nobody(16), pins: noPins }).owners
    const ids = Array.from({ length: 5 }, (_, i) => String(1000 + i))
    for (const id of ids) {
      groups = [...groups, { name: id, weight: 1 }]
      const placement = place({ shardCount: 16, groups, current: owners, pins: noPins })
      const kept = groups.filter((group) => group.name !== id)
      for (const { name } of kept) {
        const shards = placement.owners.flatMap((owner, shard) => (owner === name ? [shard] : []))
        expect(
          shards.every((shard) => owners[shard] === name),
          `${name} gained by the join of ${id}`,
        ).toBe(true)
      }
      owners = placement.owners
    }
    for (const id of ids) {
      groups = groups.filter((group) => group.name !== id)
      const placement = place({ shardCount: 16, groups, current: owners, pins: noPins })
      for (const [shard, owner] of owners.entries()) if (owner !== id) expect(placement.owners[shard], `leave of ${id}`).toBe(owner)
      const owned = groups.map((group) => placement.owners.filter((owner) => owner === group.name).length)
      expect(Math.max(...owned) - Math.min(...owned)).toBeLessThanOrEqual(1)
      owners = placement.owners
    }
  })

  it('tells the imbalance', () => {
    expect(imbalance(16, [])).toBe(0)
    expect(
      imbalance(16, [
        { weight: 1, owned: 8 },
        { weight: 1, owned: 8 },
      ]),
    ).toBe(0)
    expect(
      imbalance(16, [
        { weight: 1, owned: 4 },
        { weight: 1, owned: 12 },
      ]),
    ).toBe(0.5)
  })
})
