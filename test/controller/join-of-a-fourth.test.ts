/** A fourth group joins 256 shards over three, and leaves: what moves, through the whole computation of the controllers' leader. */
import { describe, expect, it } from 'vitest'
import { shares } from '../../controller/quotas.ts'
import { Lab } from './lab.ts'

const shardCount = 256
const old = ['g1', 'g2', 'g3']

function owners({ config }: Lab): string[] {
  return Array.from({ length: shardCount }, (_, shard) => config.groupOf(shard)?.name ?? '')
}

/** All that runs, shard by shard, as 'from>to', done to its end. */
function moved(lab: Lab): Map<number, string> {
  const names = new Map(lab.config.groups.map(({ uid, name }) => [uid, name]))
  const moves = new Map<number, string>()
  for (const { shards, from, to } of lab.open()) {
    for (const shard of shards) {
      expect(moves.has(shard), `shard ${shard} moves twice`).toBe(false)
      moves.set(shard, `${names.get(from)}>${names.get(to)}`)
    }
  }
  lab.completeAll()
  return moves
}

/** Each group owns its share, rounded. */
function mustBalance(lab: Lab, weights: Readonly<Record<string, number>>): void {
  const names = Object.keys(weights)
  const exact = shares(shardCount, Object.values(weights))
  for (const [at, name] of names.entries()) expect(Math.abs((lab.counts()[name] ?? 0) - (exact[at] ?? 0)), name).toBeLessThan(1)
  expect(Object.keys(lab.counts()).sort()).toEqual([...names].sort())
}

describe('a fourth group and 256 shards over three', () => {
  it('joins: exactly 64 shards move, each once, none between the old groups; leaves: the same 64 move back among the three', () => {
    const lab = new Lab(shardCount)
    lab.join(old)
    const before = owners(lab)
    const configs = lab.config.number
    lab.join(['g4'])
    const joined = moved(lab)
    expect(joined.size).toBe(64)
    for (const way of joined.values()) expect(['g1>g4', 'g2>g4', 'g3>g4']).toContain(way)
    // The group, then a number for each shard.
    expect(lab.config.number).toBe(configs + 1 + 64)
    expect(lab.counts()).toEqual({ g1: 64, g2: 64, g3: 64, g4: 64 })
    expect(owners(lab)).toEqual(before.map((owner, shard) => (joined.has(shard) ? 'g4' : owner)))

    lab.leave('g4')
    const left = moved(lab)
    expect([...left.keys()].sort()).toEqual([...joined.keys()].sort())
    for (const way of left.values()) expect(['g4>g1', 'g4>g2', 'g4>g3']).toContain(way)
    lab.upkeep()
    mustBalance(lab, { g1: 1, g2: 1, g3: 1 })
    expect(lab.config.number).toBe(configs + 1 + 64 + 1 + 64 + 1)
  })

  it.each([1, 2, 4])(
    'with weights 1, 2, 4 and a joiner of weight %i: each within one shard of its share, and only the joiner gets or gives',
    (weight) => {
      const lab = new Lab(shardCount)
      const weights = { g1: 1, g2: 2, g3: 4 }
      lab.join(old, 0, Object.values(weights))
      mustBalance(lab, weights)
      lab.join(['g4'], 0, [weight])
      const share = (shardCount * weight) / (7 + weight)
      const joined = moved(lab)
      expect(Math.abs(joined.size - share)).toBeLessThan(1)
      for (const way of joined.values()) expect(way).toMatch(/>g4$/)
      mustBalance(lab, { ...weights, g4: weight })
      lab.leave('g4')
      const left = moved(lab)
      expect([...left.keys()].sort()).toEqual([...joined.keys()].sort())
      lab.upkeep()
      mustBalance(lab, weights)
    },
  )
})
