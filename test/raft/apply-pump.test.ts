import { describe, expect, it } from 'vitest'
import { ApplyPump } from '../../raft/apply-pump.ts'
import type { Entry } from '../../raft/core/types.ts'
import { standingAt } from './standings.ts'

/** A log of 20 entries of which those from `inMemoryFrom` on are in memory, and a machine whose answers the test gives. */
class Rig {
  readonly log: Entry[] = Array.from({ length: 20 }, (_, i) => ({ term: 1, index: i + 1, kind: 0, data: new Uint8Array(1) }))
  inMemoryFrom = 1
  readonly applied: number[] = []
  readonly told: number[] = []
  readonly failures: string[] = []
  readonly needed: number[] = []
  readonly slow: [number, number][] = []
  readonly soons: (() => void)[] = []
  nowMs = 0
  apply: (entries: readonly Entry[]) => readonly string[] | Promise<readonly string[]> = (entries) =>
    entries.map(({ index }) => `r${index}`)
  load = async (from: number, to: number): Promise<readonly Entry[]> => this.log.slice(from - 1, Math.min(to - 1, from + 1))
  readonly pump: ApplyPump<string>

  constructor(durable = 0, commit = 0) {
    this.pump = new ApplyPump<string>({
      clock: { monotonicMs: () => this.nowMs, soon: (callback) => this.soons.push(callback) },
      log: {
        entries: (from, to) => (from >= this.inMemoryFrom ? this.log.slice(from - 1, Math.min(to - 1, from + 1)) : undefined),
        load: (from, to) => this.load(from, to),
      },
      stateMachine: {
        durable: standingAt(durable, 1, 1),
        apply: (entries) => {
          this.applied.push(...entries.map(({ index }) => index))
          return this.apply(entries)
        },
      },
      commit,
      onApplied: (entries, results) => {
        expect(results).toEqual(entries.map(({ index }) => `r${index}`))
        this.told.push(...entries.map(({ index }) => index))
      },
      onSlow: (entries, tookMs) => this.slow.push([entries[0]?.index ?? 0, tookMs]),
      onSnapshotNeeded: (index) => this.needed.push(index),
      onFailed: (error) => this.failures.push(error.message),
    })
  }
}

const upTo = (last: number, first = 1) => Array.from({ length: last - first + 1 }, (_, i) => first + i)
const settle = () => new Promise((resolve) => setImmediate(resolve))

describe('the apply pump', () => {
  it('applies each committed entry once, in order, behind what is durable', () => {
    const rig = new Rig(3, 5)
    expect(rig.pump.applied).toBe(3)
    rig.pump.run()
    rig.pump.commitTo(9)
    rig.pump.commitTo(7)
    expect(rig.told).toEqual(upTo(9, 4))
    expect(rig.applied).toEqual(rig.told)
    expect(rig.pump).toMatchObject({ applied: 9, commit: 9 })
  })

  it('tells of what took long, waited for or not', async () => {
    const rig = new Rig()
    const take = (ms: number) => (entries: readonly Entry[]) => {
      rig.nowMs += ms
      return entries.map(({ index }) => `r${index}`)
    }
    rig.apply = take(100)
    rig.pump.commitTo(2)
    expect(rig.slow).toEqual([])
    for (const soon of rig.soons.splice(0)) soon()
    await settle()
    rig.apply = take(101)
    rig.pump.commitTo(4)
    for (const soon of rig.soons.splice(0)) soon()
    await settle()
    rig.apply = async (entries) => take(250)(entries)
    rig.pump.commitTo(6)
    await settle()
    expect(rig.told).toEqual(upTo(6))
    expect(rig.slow).toEqual([
      [3, 101],
      [5, 250],
    ])
  })

  it('waits for entries on disk and goes on with what was committed meanwhile', async () => {
    const rig = new Rig()
    rig.inMemoryFrom = 5
    rig.pump.commitTo(4)
    rig.pump.commitTo(8)
    expect(rig.told).toEqual([])
    await settle()
    expect(rig.told).toEqual(upTo(8))
  })

  it('calls no second apply before the first has settled', async () => {
    const rig = new Rig()
    let resolve: (results: readonly string[]) => void = () => {}
    rig.apply = () => new Promise((done) => (resolve = done))
    rig.pump.commitTo(2)
    rig.pump.commitTo(6)
    await settle()
    expect(rig.applied).toEqual([1, 2])
    rig.apply = (entries) => entries.map(({ index }) => `r${index}`)
    resolve(['r1', 'r2'])
    await settle()
    expect(rig.told).toEqual(upTo(6))
  })

  it('ends a turn that has become long and goes on in the next', async () => {
    const rig = new Rig()
    rig.apply = (entries) => {
      rig.nowMs += 10
      return entries.map(({ index }) => `r${index}`)
    }
    rig.pump.commitTo(6)
    expect(rig.told).toEqual([1, 2])
    rig.soons.shift()?.()
    await settle()
    expect(rig.told).toEqual(upTo(4))
  })

  it.each([
    [
      'apply throws',
      (rig: Rig) =>
        (rig.apply = () => {
          throw new Error('broken')
        }),
    ],
    ['apply rejects', (rig: Rig) => (rig.apply = () => Promise.reject(new Error('broken')))],
    [
      'a load rejects',
      (rig: Rig) => {
        rig.inMemoryFrom = 99
        rig.load = () => Promise.reject(new Error('broken'))
      },
    ],
  ])('tells once and applies nothing more when %s', async (_, break_) => {
    const rig = new Rig()
    break_(rig)
    rig.pump.commitTo(2)
    await settle()
    rig.pump.commitTo(4)
    await settle()
    expect(rig.failures).toEqual(['broken'])
    expect(rig.told).toEqual([])
    expect(rig.applied.length).toBeLessThanOrEqual(2)
  })

  it('fails rather than spins when a committed entry is not in the log', async () => {
    const rig = new Rig()
    rig.inMemoryFrom = 99
    rig.load = async () => []
    rig.pump.commitTo(2)
    await settle()
    expect(rig.failures).toEqual(['the entry behind 0 is not there to be applied'])
  })

  it('tells nothing after stop, also of what was being applied', async () => {
    const rig = new Rig()
    let resolve: (results: readonly string[]) => void = () => {}
    rig.apply = () => new Promise((done) => (resolve = done))
    rig.pump.commitTo(4)
    rig.pump.stop()
    resolve(['r1', 'r2'])
    await settle()
    expect(rig.told).toEqual([])
    expect(rig.failures).toEqual([])
    expect(rig.applied).toEqual([1, 2])
  })
})
