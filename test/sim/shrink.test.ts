import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { encodeFaults, parseFaults } from './fault-journal.ts'
import { shrink } from './shrink.ts'

const numbers = (length: number) => Array.from({ length }, (_, i) => i)
const needs =
  (...wanted: number[]) =>
  async (subset: readonly number[]) =>
    wanted.every((item) => subset.includes(item))

describe('shrink', () => {
  it('finds the one item that matters among a hundred', async () => {
    const { items, runs, minimal } = await shrink(numbers(100), needs(63), 1000)
    expect([items, minimal]).toEqual([[63], true])
    expect(runs).toBeLessThan(40)
  })

  it('finds a few that matter only together, in their order', async () => {
    expect((await shrink(numbers(64), needs(3, 40, 41), 1000)).items).toEqual([3, 40, 41])
  })

  it('leaves nothing that could be left out, whatever matters (seeds 1 to 50)', async () => {
    for (let seed = 1; seed <= 50; seed++) {
      const random = new SeededRandom(seed)
      const size = 1 + random.below(40)
      const wanted = numbers(size).filter(() => random.next() < 0.2)
      const { items, minimal } = await shrink(numbers(size), needs(...wanted), 10_000)
      expect([items, minimal], `seed ${seed}`).toEqual([wanted, true])
    }
  })

  it('says that nothing matters where the failure needs no fault', async () => {
    expect(await shrink(numbers(10), async () => true, 100)).toEqual({ items: [], runs: 1, minimal: true })
  })

  it('keeps the best so far when the runs are used up', async () => {
    const { items, runs, minimal } = await shrink(numbers(1000), needs(1, 500, 900), 12)
    expect(runs).toBe(12)
    expect(minimal).toBe(false)
    expect(items.length).toBeLessThan(1000)
    expect(items).toEqual(expect.arrayContaining([1, 500, 900]))
  })
})

describe('names of faults', () => {
  it('go into a command line and back', () => {
    const ids = ['n1', 'n2', 'n3', 's2', 'n7', 'e10', 'e11']
    expect(encodeFaults(ids)).toBe('n1-3,n7,s2,e10-11')
    expect([...parseFaults('n1-3,n7,s2,e10-11')].sort()).toEqual([...ids].sort())
    expect(encodeFaults([])).toBe('none')
    expect(parseFaults('none').size).toBe(0)
    expect(() => parseFaults('n1;n2')).toThrow('n1;n2 is no fault')
  })
})
