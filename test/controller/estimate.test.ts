import { describe, expect, it } from 'vitest'
import { copyRate, estimatedMs } from '../../controller/estimate.ts'
import { type MigrationRecord, newMigration } from '../../controller/migration-record.ts'

const mib = 1024 * 1024
const ended = (startedAtMs: number, endedAtMs: number, bytesTotal: number, to = 'b@2'): MigrationRecord => ({
  ...newMigration({ id: 1, shards: [1], from: 'a@1', to, startedAtMs, cause: 'join b', author: '' }),
  phase: 'done',
  endedAtMs,
  bytesTotal,
})

describe('how long moves take', () => {
  it('is told by the group that has most to do, sending or taking', () => {
    const copies = [
      { from: 'a@1', to: 'c@3', bytes: 10_000_000 },
      { from: 'b@2', to: 'c@3', bytes: 20_000_000 },
      { from: 'b@2', to: 'd@4', bytes: 1_000_000 },
    ]
    expect(estimatedMs(copies, 10_000_000)).toBe(4000)
    expect(estimatedMs([...copies, { from: 'b@2', to: 'e@5', bytes: 30_000_000 }], 10_000_000)).toBe(6600)
    expect(estimatedMs([], 10_000_000)).toBe(0)
  })

  it('goes by what the last moves brought into a group, those that waited for each other taken together', () => {
    expect(copyRate([])).toBe(50_000_000)
    // Planned together, 20 MiB in 4 s: not the rate of the one that came last.
    const batch = [1000, 2000, 3000, 4000].map((endMs) => ended(0, endMs, 5 * mib))
    expect(copyRate(batch)).toBe(5 * mib)
    const fast = [ended(10_000, 11_000, 50 * mib), ended(20_000, 21_000, 60 * mib, 'c@3')]
    expect(copyRate([...batch, ...fast])).toBe(50 * mib)
  })

  it('does not go by what was small, was aborted, or is long ago', () => {
    const slow = ended(0, 60_000, 6 * mib)
    expect(copyRate([ended(0, 500, 1000), { ...slow, phase: 'aborted' }])).toBe(50_000_000)
    const newer = Array.from({ length: 8 }, (_, at) => ended(100_000 + at, 101_000 + at, 30 * mib))
    expect(copyRate([slow, ...newer])).toBe(30 * mib)
  })
})
