import { describe, expect, it } from 'vitest'
import { MemtableBudget } from '../../lsm/memtable-budget.ts'

function holder(activeBytes: number, waitingBytes = 0) {
  return { activeBytes, memtableBytes: activeBytes + waitingBytes }
}

function budgetOf(bytes: number, holders: readonly ReturnType<typeof holder>[]): MemtableBudget {
  const budget = new MemtableBudget(bytes)
  for (const each of holders) budget.join(each)
  return budget
}

describe('a memtable budget', () => {
  it('is all of one database', () => {
    for (const [bytes, spent] of [
      [9_999, false],
      [10_000, true],
    ] as const) {
      const only = holder(bytes)
      expect(budgetOf(10_000, [only]).isSpentBy(only)).toBe(spent)
    }
  })

  it('lets one of several take what the others leave', () => {
    const busy = holder(9_000)
    const quiet = holder(500)
    expect(budgetOf(10_000, [busy, quiet, holder(499)]).isSpentBy(busy)).toBe(false)
    const full = budgetOf(10_000, [busy, quiet, holder(500)])
    expect(full.isSpentBy(busy)).toBe(true)
    expect(full.isSpentBy(quiet)).toBe(false)
  })

  it('leaves an equal share to one that comes late', () => {
    const late = holder(4_999)
    const budget = budgetOf(10_000, [holder(9_900), late])
    expect(budget.isSpentBy(late)).toBe(false)
    const grown = holder(5_000)
    expect(budgetOf(10_000, [holder(9_900), grown]).isSpentBy(grown)).toBe(true)
  })

  it('forgets a database that has left', () => {
    const stays = holder(6_000)
    const leaves = holder(6_000, 18_000)
    const budget = budgetOf(10_000, [stays, leaves])
    expect([budget.isSpentBy(stays), budget.fill]).toEqual([true, 3])
    budget.leave(leaves)
    expect([budget.isSpentBy(stays), budget.fill]).toEqual([false, 0.6])
  })

  it('is refused where no memtable would fit or be addressed', () => {
    for (const bytes of [1023, 2 ** 31 + 1, 1.5, Number.NaN]) expect(() => new MemtableBudget(bytes)).toThrow(RangeError)
  })
})
