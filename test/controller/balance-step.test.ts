import { describe, expect, it } from 'vitest'
import { firstRules } from '../../controller/balance-rules.ts'
import { findStep } from '../../controller/balance-step.ts'
import type { Measure, ShardTable } from '../../controller/balance-totals.ts'
import { toEnd } from '../../controller/slices.ts'

const MiB = 1024 * 1024

/** 'g1: 300 100 50p 20h' …: what each shard of the group serves; p: pinned, h: moved not long ago. 'g2*2': of weight 2. Shards count from 0. */
function tableOf(texts: readonly string[], bytes: readonly number[] = []): ShardTable {
  const groups: { name: string; weight: number }[] = []
  const shards: { owner: number; load: number; pinned: boolean; held: boolean }[] = []
  for (const [owner, text] of texts.entries()) {
    const [head = '', loads = ''] = text.split(':')
    const [name = '', weight = '1'] = head.split('*')
    groups.push({ name, weight: Number(weight) })
    for (const load of loads.trim().split(/ +/).filter(Boolean)) {
      shards.push({ owner, load: Number.parseFloat(load), pinned: load.endsWith('p'), held: /[ph]$/.test(load) })
    }
  }
  const count = (of: (shard: (typeof shards)[number]) => boolean) =>
    groups.map((_, owner) => shards.filter((shard) => shard.owner === owner && of(shard)).length)
  return {
    groups,
    owners: Int32Array.from(shards, ({ owner }) => owner),
    load: Float64Array.from(shards, ({ load }) => load),
    size: Float64Array.from(shards, (_, shard) => bytes[shard] ?? 0),
    held: Uint8Array.from(shards, ({ held }) => (held ? 1 : 0)),
    counts: count(() => true),
    pins: count(({ pinned }) => pinned),
  }
}

/** 'g1→g2: 1 3, back: 5'; '': none. */
function stepOf(texts: readonly string[], options: { bytes?: readonly number[]; measure?: Measure; bySize?: boolean } = {}): string {
  const table = tableOf(texts, options.bytes)
  const rules = { ...firstRules, on: true, bySize: options.bySize ?? true }
  const step = toEnd(findStep(table, rules, options.measure ?? 'load'))
  if (step === undefined) return ''
  const [from, to] = [table.groups[step.source]?.name, table.groups[step.target]?.name]
  return `${from}→${to}: ${step.out.join(' ')}, back: ${step.back.join(' ')}`
}

describe('the next step of rebalancing by load', () => {
  it('exchanges a busy shard of who has most for an idle one of who has least', () => {
    expect(stepOf(['g1: 300 100 0', 'g2: 100 50 50', 'g3: 100 1 0'])).toBe('g1→g3: 1, back: 8')
    expect(stepOf(['g1: 100 100 100', 'g2: 100 100 100', 'g3: 0 0 0'])).toBe('g1→g3: 0, back: 6')
  })

  it('exchanges several at once, the busiest that fit first', () => {
    expect(stepOf(['g1: 200 100 100 100 100', 'g2: 0 0 0 0 0'])).toBe('g1→g2: 0 1, back: 5 6')
  })

  it('exchanges two busy ones where only their difference fits', () => {
    expect(stepOf(['g1: 1000 900 0', 'g2: 850 10h 0h'])).toBe('g1→g2: 0, back: 3')
  })

  it('moves one without another in return only where that leaves no more for a rebalance to do', () => {
    // Seven shards for two groups: three and four, or four and three.
    expect(stepOf(['g1: 100 100 100 100', 'g2: 0 0 0'])).toBe('g1→g2: 0 1, back: 4')
    expect(stepOf(['g1: 100 100 100', 'g2: 0h 0h 0h'])).toBe('')
    expect(stepOf(['g1: 100 100 100 100 100', 'g2: 0h 0h 0h'])).toBe('g1→g2: 0, back: ')
  })

  it('heeds weights', () => {
    expect(stepOf(['g1*2: 100 100 100 100', 'g2: 100 100'])).toBe('')
    expect(stepOf(['g1*2: 100 0 0 0', 'g2: 100 100'])).toBe('g2→g1: 4, back: 1')
  })

  it('leaves alone what is pinned, and what has moved not long ago', () => {
    expect(stepOf(['g1: 300p 300h 100', 'g2: 0p 0h 50'])).toBe('g1→g2: 2, back: 5')
    expect(stepOf(['g1: 300p 300h', 'g2: 0 0'])).toBe('')
  })

  it('leaves a shard where it is that would only carry its load to another group', () => {
    expect(stepOf(['g1: 1000 0 0', 'g2: 0 0 0', 'g3: 0 0 0'])).toBe('')
    expect(stepOf(['g1: 1000 200 0', 'g2: 0 0 0', 'g3: 0 0 0'])).toBe('g1→g3: 1, back: 6')
  })

  it('turns to who has second most where the first cannot be helped, if that alone would be a reason to begin', () => {
    expect(stepOf(['g1: 1000 0', 'g2: 250 250', 'g3: 0 0', 'g4: 500 0', 'g5: 0 0'])).toBe('')
    expect(stepOf(['g1: 1000 0', 'g2: 400 400', 'g3: 0 0', 'g4: 0 0'])).toBe('g2→g4: 2, back: 7')
  })

  it('moves nothing where all have about their share, or nothing at all', () => {
    expect(stepOf(['g1: 110 100', 'g2: 100 100'])).toBe('')
    expect(stepOf(['g1: 0 0', 'g2: 0 0'])).toBe('')
    expect(stepOf(['g1: 500 500'])).toBe('')
  })

  it('moves nothing for a gain below its cost: that of a step, of its bytes, and of noise', () => {
    expect(stepOf(['g1: 10 10', 'g2: 0 0'])).toBe('')
    expect(stepOf(['g1: 100 100', 'g2: 0 0'])).toBe('g1→g2: 0, back: 2')
    expect(stepOf(['g1: 100 100', 'g2: 0 0'], { bytes: [2048 * MiB, 4096 * MiB], bySize: false })).toBe('')
    expect(stepOf(['g1: 100 100', 'g2: 0 0'], { bytes: [2048 * MiB, 100 * MiB], bySize: false })).toBe('g1→g2: 1, back: 2')
    expect(stepOf(['g1: 5000p 400', 'g2: 3000p 1000p 0'])).toBe('g1→g2: 1, back: 4')
    expect(stepOf(['g1: 5000p 100', 'g2: 3000p 1000p 0'])).toBe('')
  })

  it('does not make sizes uneven', () => {
    const bytes = [1000 * MiB, 10 * MiB, 10 * MiB, 500 * MiB, 500 * MiB, 10 * MiB]
    expect(stepOf(['g1: 1500 1000 500', 'g2: 0 0 0'], { bytes, bySize: false })).toBe('g1→g2: 0, back: 5')
    expect(stepOf(['g1: 1500 1000 500', 'g2: 0 0 0'], { bytes })).toBe('g1→g2: 1, back: 5')
  })

  it('moves at most as many as move together, and no more bytes', () => {
    const many = (load: number, count: number) => Array.from({ length: count }, () => load).join(' ')
    const shards = (text: string) => text.split(/[:,]/).map((part) => part.trim().split(' ').filter(Boolean).length)
    expect(shards(stepOf([`g1: ${many(10, 400)}`, `g2: ${many(0, 400)}`]))).toEqual([1, 64, 1, 64])
    const bytes = Array.from({ length: 400 }, () => 20 * MiB)
    expect(shards(stepOf([`g1: ${many(100, 400)}`, `g2: ${many(0, 400)}`], { bytes }))).toEqual([1, 12, 1, 12])
  })
})

describe('the next step of rebalancing by size', () => {
  const sizes = (...megabytes: number[]) => ({ bytes: megabytes.map((bytes) => bytes * MiB), measure: 'size' as const })

  it('exchanges a large shard for a small one', () => {
    expect(stepOf(['g1: 0 0 0', 'g2: 0 0 0'], sizes(200, 200, 200, 1, 1, 1))).toBe('g1→g2: 0, back: 3')
  })

  it('does not copy much to even out little', () => {
    expect(stepOf(['g1: 0 0', 'g2: 0 0'], sizes(1000, 900, 500, 600))).toBe('')
    expect(stepOf(['g1: 0 0', 'g2: 0 0'], sizes(30, 30, 0, 0))).toBe('')
  })
})
