import { describe, expect, it } from 'vitest'
import { packMoves } from '../../controller/packing.ts'
import { toEnd } from '../../controller/slices.ts'

const mib = 1024 * 1024
const move = (shard: number, to = 'b', from = 'a') => ({ shard, from, to })
const told = (sizes: readonly number[]) => (shard: number) => (sizes[shard] ?? 0) * mib
const packed = (...of: Parameters<typeof packMoves>) => toEnd(packMoves(...of))
const shardsOf = (sets: ReturnType<typeof packed>) => sets.map((set) => `${set.from}>${set.to} ${set.shards.join(',')}`)

describe('packing moves into migrations', () => {
  it('puts small shards that go the same way together, by 64', () => {
    const moves = Array.from({ length: 130 }, (_, shard) => move(129 - shard))
    const sets = packed(moves, () => 1)
    expect(sets.map((set) => set.shards.length)).toEqual([64, 64, 2])
    expect(sets.flatMap((set) => set.shards)).toEqual(Array.from({ length: 130 }, (_, shard) => shard))
  })

  it('puts empty ones together by 256, apart from those that hold something', () => {
    const moves = Array.from({ length: 600 }, (_, shard) => move(shard))
    expect(packed(moves, () => 0).map((set) => set.shards.length)).toEqual([256, 256, 88])
    const sets = packed(moves, (shard) => (shard % 100 === 50 ? 1 : 0))
    expect(sets.map((set) => set.shards.length)).toEqual([256, 6, 256, 82])
    expect(sets[1]?.shards).toEqual([50, 150, 250, 350, 450, 550])
  })

  it('puts no more than four together of which it does not know how big they are', () => {
    const sizeOf = (shard: number) => (shard < 6 ? undefined : 10 * mib)
    const sets = packed(
      Array.from({ length: 12 }, (_, shard) => move(shard)),
      sizeOf,
    )
    expect(shardsOf(sets)).toEqual(['a>b 0,1,2,3', 'a>b 4,5,6,7,8,9,10,11'])
  })

  it('keeps different ways apart', () => {
    const sets = packed([move(3), move(1, 'c'), move(2), move(4, 'b', 'd'), move(5, 'c')], () => 0)
    expect(shardsOf(sets)).toEqual(['a>c 1,5', 'a>b 2,3', 'd>b 4'])
  })

  it('fills a set up to 256 MiB, and sends a shard as big as that alone', () => {
    const sets = packed(
      [0, 1, 2, 3, 4, 5].map((shard) => move(shard)),
      told([100, 100, 300, 56, 1, 256]),
    )
    expect(shardsOf(sets)).toEqual(['a>b 0,1,3', 'a>b 2', 'a>b 4', 'a>b 5'])
  })

  it('makes larger sets where there would be thousands', () => {
    const moves = Array.from({ length: 4096 }, (_, shard) => move(shard, 'd', `from ${shard % 3}`))
    const full = packed(moves, () => 256 * mib)
    expect(full.length).toBeLessThanOrEqual(512 + 3)
    expect(new Set(full.map(({ shards }) => shards.length))).toEqual(new Set([8, 5, 6]))
    expect(full.flatMap(({ shards }) => [...shards]).sort((a, b) => a - b)).toEqual(moves.map(({ shard }) => shard))
  })

  it('keeps to 256 MiB where that makes 512 sets', () => {
    const moves = Array.from({ length: 512 }, (_, shard) => move(shard))
    expect(packed(moves, () => 256 * mib)).toHaveLength(512)
  })

  it('makes no larger ones of shards whose size is not known, nor where few sets hold much', () => {
    const moves = Array.from({ length: 4096 }, (_, shard) => move(shard))
    expect(new Set(packed(moves, () => undefined).map(({ shards }) => shards.length))).toEqual(new Set([4]))
    const huge = packed(moves.slice(0, 101), (shard) => (shard === 0 ? 1024 * 1024 * mib : 256 * mib))
    expect(huge).toHaveLength(101)
    const mixed = packed(moves.slice(0, 1000), (shard) => (shard < 20 ? undefined : 5 * 1024 * mib))
    expect(Math.max(...mixed.filter(({ shards }) => (shards[0] ?? 0) < 20).map(({ shards }) => shards.length))).toBeLessThanOrEqual(4)
  })

  it('stays below twice as many sets as wanted where shards fill most of one', () => {
    const moves = Array.from({ length: 4096 }, (_, shard) => move(shard))
    expect(packed(moves, () => 300 * mib).length).toBeLessThanOrEqual(2 * 512)
    expect(packed(moves.slice(0, 1100), () => 300 * mib).length).toBeLessThanOrEqual(2 * 512)
  })
})
