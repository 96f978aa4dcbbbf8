import { describe, expect, it } from 'vitest'
import {
  type CompactionPlan,
  levelTarget,
  olderRanges,
  orderOf,
  pickCompaction,
  pickReclaim,
  planRewrite,
  planTables,
} from '../../lsm/compaction-picker.ts'
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

  it('knows where older tables may hide something', () => {
    const tree = version('L1: 4[a-n]60', 'L2: 6[m-n]50 8[x-y]50', 'L4: 7[b-e]50')
    const table = (id: number) => tree.tables().find((each) => each.id === id) as TableMetadata
    const older = (plan: CompactionPlan) => olderRanges(tree, plan).map(({ lower, upper }) => `${text(lower)}-${text(upper)}`)
    expect(older(planRewrite(table(4)))).toEqual(['b-e', 'm-n'])
    expect(older(planRewrite(table(6)))).toEqual([])
    expect(older(planRewrite(table(7)))).toEqual([])
  })

  it('rewrites a table of level 0 in its place, over those of level 0 that are older', () => {
    const tree = version('L0: 3[a-c]10 2[b-d]10 1[c-g]10 9[x-z]10', 'L2: 7[d-e]50')
    const plan = planRewrite(tree.levels[0]?.[1] as TableMetadata)
    expect(show(plan)).toBe('2 -> L0')
    expect(orderOf(plan)).toBe(999)
    expect(olderRanges(tree, plan).map(({ lower, upper }) => `${text(lower)}-${text(upper)}`)).toEqual(['c-g'])
  })

  it('gives a file up of which more than a third is dead, that with the least in use first, and keeps away from what is busy', () => {
    const clip = (tree: Version) => Version.of(tree.tables().map((table) => ({ ...table, clipped: true })))
    const tree = clip(version('L0: 2[a-c]90', 'L1: 4[a-c]90 5[d-f]90', 'L2: 6[a-b]90'))
    const reclaim = (live: [number, number][], ...busy: number[]) => show(pickReclaim(tree, new Set(busy), new Map(live)))
    expect(reclaim([])).toBe('nothing')
    expect(reclaim([[2, 61]])).toBe('nothing')
    expect(reclaim([[2, 59]])).toBe('2 -> L0')
    const worse: [number, number][] = [
      [2, 59],
      [5, 20],
      [6, 30],
    ]
    expect(reclaim(worse)).toBe('5 -> L1')
    expect(reclaim(worse, 5)).toBe('6 -> L2')
    expect(reclaim(worse, 5, 6, 2)).toBe('nothing')
  })

  it('counts all parts of a file together', () => {
    const parts = version('L1: 4[a-c]90 5[d-f]90', 'L2: 6[a-b]90').tables()
    const tree = Version.of(parts.map((table) => ({ ...table, file: 7, clipped: true })))
    const reclaim = (live: [number, number][], ...busy: number[]) => show(pickReclaim(tree, new Set(busy), new Map(live)))
    const each = (bytes: number): [number, number][] => [4, 5, 6].map((id) => [id, bytes])
    expect(reclaim(each(21))).toBe('nothing')
    expect(reclaim(each(19))).toBe('4 -> L1')
    expect(reclaim(each(19), 4)).toBe('5 -> L1')
    // What was rewritten is in another file: the rest is all the more dead.
    expect(reclaim(each(1).slice(1))).toBe('nothing')
  })

  it('looks at each of thousands of tables a few times, and an edit at hardly any', () => {
    let looks = 0
    const level = (number: number, first: number, count: number) =>
      Array.from({ length: count }, (_, i): TableMetadata => {
        const [lower, upper] = [(1000 / count) * i, (1000 / count) * (i + 1)].map((at) => bytes(at.toFixed(3).padStart(9, '0')))
        const common = { checksum: 0, entries: 1, tombstones: 0, maxSequence: 0, clipped: false, order: 0, size: 50 }
        return {
          ...common,
          id: first + i,
          file: first + i,
          level: number,
          get lower() {
            looks++
            return lower as Uint8Array
          },
          upper: upper as Uint8Array,
        }
      })
    const tree = Version.of([...level(1, 1, 1000), ...level(2, 2000, 9000), ...level(3, 20_000, 9000)])
    looks = 0
    expect(show(pickCompaction(tree, new Set([2000]), options))).toBe('2 | 2009+2010+2011+2012+2013+2014+2015+2016+2017 -> L2')
    expect(looks).toBeLessThan(2 * 19_000)
    looks = 0
    const [one] = level(1, 50_000, 1)
    const [before] = tree.levels[1] as readonly TableMetadata[]
    const edited = tree.edited(new Set([before?.id ?? 0]), [{ ...(one as TableMetadata), upper: before?.upper as Uint8Array }])
    expect(edited.levels[1]?.map(({ id }) => id).slice(0, 2)).toEqual([50_000, 2])
    expect(edited.levels[2]).toBe(tree.levels[2])
    expect(looks).toBeLessThan(50)
  })

  it('sees a level that overlaps itself as a bug', () => {
    expect(() => version('L1: 4[a-d]60 5[c-f]60')).toThrow('level 1 does not overlap')
  })
})
