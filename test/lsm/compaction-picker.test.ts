import { describe, expect, it } from 'vitest'
import { type CompactionPlan, deeperRanges, levelTarget, pickCompaction, planTables } from '../../lsm/compaction-picker.ts'
import type { KeyRange } from '../../lsm/kind.ts'
import type { TableMetadata } from '../../lsm/table-metadata.ts'
import { Version } from '../../lsm/version.ts'
import { bytes, text } from './model.ts'

const options = { level0CompactionTrigger: 2, level1Bytes: 100, levelFactor: 10 }

/** 'L1: 4[a-c]60 5[d-f]60' and so on: id, bounds, size. Level 0: newest first. */
function version(...lines: string[]): Version {
  const tables: TableMetadata[] = []
  for (const line of lines) {
    const [, level, rest] = /^L(\d): (.*)$/.exec(line) as unknown as [string, string, string]
    for (const [i, table] of rest.split(' ').entries()) {
      const [, id, lower, upper, size] = /^(\d+)\[(\w+)-(\w+)\](\d+)$/.exec(table) as unknown as [string, string, string, string, string]
      const common = { checksum: 0, entries: 1, tombstones: 0, maxSequence: 0, clipped: false }
      tables.push({
        ...common,
        id: Number(id),
        file: Number(id),
        level: Number(level),
        order: 1000 - i,
        size: Number(size),
        lower: bytes(lower),
        upper: bytes(upper),
      })
    }
  }
  return Version.of(tables)
}

function show(plan: CompactionPlan | undefined): string {
  if (plan === undefined) return 'nothing'
  const runs = plan.inputs.map((run) => run.map((table) => table.id).join('+')).join(' | ')
  return `${runs} -> L${plan.outputLevel}${plan.move ? ' (move)' : ''}`
}

const pick = (tree: Version, ...busy: number[]) => show(pickCompaction(tree, new Set(busy), options))

describe('the compaction picker', () => {
  it('does nothing while all levels are small', () => {
    expect(pick(version())).toBe('nothing')
    expect(pick(version('L0: 1[a-z]900', 'L1: 2[a-m]50 3[m-z]49'))).toBe('nothing')
  })

  it('takes all of level 0, newest first, with what overlaps it below', () => {
    expect(pick(version('L0: 3[a-c]10 2[b-d]10', 'L1: 4[a-b]10 5[c-f]10 6[g-h]10'))).toBe('3 | 2 | 4+5 -> L1')
  })

  it('takes what lies between the tables of level 0 too', () => {
    expect(pick(version('L0: 3[a-b]10 2[x-z]10', 'L1: 4[c-d]10 5[z-zz]10'))).toBe('3 | 2 | 4 -> L1')
  })

  it('takes the most pressing level first', () => {
    expect(pick(version('L0: 3[a-c]10 2[b-d]10', 'L1: 4[a-b]250 5[c-f]250'))).toBe('4 -> L2 (move)')
    expect(pick(version('L0: 3[a-c]10 2[b-d]10 1[b-d]10 7[b-d]10', 'L1: 4[a-b]60 5[c-f]60'))).toBe('3 | 2 | 1 | 7 | 4+5 -> L1')
  })

  it('keeps its tables for a more pressing compaction that must wait, and takes others meanwhile', () => {
    const level0 = 'L0: 3[a-m]10 2[b-m]10 1[b-m]10 9[b-m]10'
    // Table 5 goes down: level 0, which needs it, waits; 4 and 6 would go down before it for ever.
    expect(pick(version(level0, 'L1: 4[a-b]60 5[c-f]60 6[g-h]60'), 5)).toBe('nothing')
    expect(pick(version(level0, 'L1: 4[a-b]60 5[c-f]60 6[x-z]60'), 5)).toBe('6 -> L2 (move)')
    // Level 1 waits for level 0, and keeps 7 for its next step.
    expect(pick(version(level0, 'L1: 4[a-b]60 5[c-f]60', 'L2: 7[a-b]600 8[c-z]600'), 5)).toBe('8 -> L3 (move)')
    // The same below level 0: 6 and 7 run, and 8 would after them.
    expect(pick(version('L1: 4[a-c]500', 'L2: 6[a-b]300 7[b-c]300 8[x-z]500'), 6)).toBe('8 -> L3 (move)')
    expect(pick(version('L1: 4[a-c]500', 'L2: 6[a-b]300 7[b-bb]300 8[bb-z]500'), 6)).toBe('nothing')
  })

  it('takes from a level the table that has the least below it for its size', () => {
    expect(pick(version('L1: 4[a-c]60 5[d-f]60', 'L2: 6[a-b]50 7[b-c]50 8[e-f]50'))).toBe('5 | 8 -> L2')
  })

  it('keeps away from what is busy', () => {
    const tree = version('L1: 4[a-c]60 5[d-f]60', 'L2: 6[a-b]50 7[b-c]50 8[e-f]50')
    expect(pick(tree, 8)).toBe('4 | 6+7 -> L2')
    expect(pick(tree, 8, 6)).toBe('nothing')
  })

  it('never compacts out of the last level', () => {
    expect(levelTarget(6, options)).toBe(Number.POSITIVE_INFINITY)
    expect(pick(version('L6: 1[a-b]99999999999'))).toBe('nothing')
  })

  it('plans a range: all of level 0, or what overlaps it and what lies below that', () => {
    const tree = version('L0: 9[x-z]5', 'L1: 4[a-c]60 5[d-f]60', 'L2: 6[a-b]50 7[b-e]50 8[e-f]50')
    const range = { lower: bytes('b'), upper: bytes('c') }
    const plan = (level: number, among: KeyRange, most = Number.POSITIVE_INFINITY) =>
      show(planTables(tree, level, tree.overlapping(level, among), most))
    expect(plan(0, range)).toBe('nothing')
    expect(plan(0, { lower: bytes('x'), upper: undefined })).toBe('9 -> L1 (move)')
    expect(plan(1, range)).toBe('4 | 6+7 -> L2')
    const all = { lower: undefined, upper: undefined }
    expect(plan(1, all)).toBe('4+5 | 6+7+8 -> L2')
    expect(plan(1, all, 120)).toBe('4+5 | 6+7+8 -> L2')
    expect(plan(1, all, 119)).toBe('4 | 6+7 -> L2')
    expect(plan(1, all, 1)).toBe('4 | 6+7 -> L2')
  })

  it('knows where deeper levels may hide something', () => {
    const tree = version('L1: 4[a-c]60', 'L2: 6[m-n]50', 'L4: 7[b-e]50')
    expect(deeperRanges(tree, 1).map(({ lower, upper }) => `${text(lower)}-${text(upper)}`)).toEqual(['b-e', 'm-n'])
    expect(deeperRanges(tree, 4)).toEqual([])
  })

  it('sees a level that overlaps itself as a bug', () => {
    expect(() => version('L1: 4[a-d]60 5[c-f]60')).toThrow('level 1 does not overlap')
  })
})
