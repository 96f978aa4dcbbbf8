import { describe, expect, it, vi } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { pb } from '../../proto/messages.ts'
import { DeltaTail, type KeptDelta } from '../../shardserver/delta-tail.ts'
import type { GroupStateMachine } from '../../shardserver/group-state-machine.ts'
import type { DeltaWanted } from '../../shardserver/shard-migrations.ts'
import { Caller, keyOf, openMachine } from './builders.ts'
import { Mover, TestGroup } from './movers.ts'

function kept(index: number, bytes = 10): KeptDelta {
  return { index, cost: 0, count: 0, checksum: 0, record: { index, writes: new Uint8Array(bytes) } }
}

function indexes(records: readonly KeptDelta[] | undefined): number[] | undefined {
  return records?.map(({ index }) => index)
}

describe('the newest records of deltas in memory', () => {
  it('begin with the first one that is added, and end with a drop', () => {
    const tail = new DeltaTail()
    expect(tail.since(1, 5)).toBeUndefined()
    for (const index of [7, 9, 10]) tail.add(1, kept(index), 5)
    expect(tail.since(1, 5)).toBeUndefined()
    expect([6, 7, 9, 10, 11].map((after) => indexes(tail.since(1, after)))).toEqual([[7, 9, 10], [9, 10], [10], [], []])
    expect(tail.since(2, 9)).toBeUndefined()
    tail.drop(1)
    expect(tail.since(1, 10)).toBeUndefined()
    expect(tail.bytes).toBe(0)
  })

  it('reach back to the cut where the first one behind it was added', () => {
    const tail = new DeltaTail()
    tail.add(1, { ...kept(9), count: 1 }, 5)
    tail.add(1, { ...kept(12), count: 2 }, 5)
    expect([4, 5, 9].map((after) => indexes(tail.since(1, after)))).toEqual([undefined, [9, 12], [12]])
    expect([8, 9, 11, 12].map((upTo) => tail.last(1, upTo)?.index)).toEqual([undefined, 9, 9, 12])
    expect(tail.last(2, 9)).toBeUndefined()
  })

  it('take no more room than they may, the oldest of all shards going first', () => {
    const tail = new DeltaTail(3000)
    for (let index = 1; index <= 8; index++) tail.add(index % 2, kept(index, 500), 0)
    expect(tail.bytes).toBeLessThanOrEqual(3000)
    expect(tail.since(0, 3)).toBeUndefined()
    expect(tail.since(1, 4)).toBeUndefined()
    expect(indexes(tail.since(0, 6))).toEqual([8])
    expect(indexes(tail.since(1, 5))).toEqual([7])
    tail.add(0, kept(9, 5000), 0)
    expect(tail.bytes).toBe(0)
    expect([tail.since(0, 8), indexes(tail.since(0, 9))]).toEqual([undefined, []])
  })

  it('go many at a time where there is no room for more: each that comes would else move all others', () => {
    const tail = new DeltaTail(100_000)
    let evictions = 0
    let before = 0
    for (let index = 1; index <= 10_000; index++) {
      tail.add(index % 2, kept(index), 0)
      if (tail.bytes < before) evictions++
      before = tail.bytes
    }
    expect([tail.since(0, 9900)?.length, tail.bytes > 80_000, tail.bytes <= 100_000]).toEqual([50, true, true])
    // About 330 are held.
    expect(evictions).toBeLessThan(10_000 / 35)
  })

  it('are of their own: what was encoded beside them is not held', () => {
    const tail = new DeltaTail()
    const slab = new Uint8Array(8192)
    const writes = slab.subarray(100, 120).fill(7)
    tail.add(1, { ...kept(3), record: { index: 3, writes } }, 0)
    const held = tail.since(1, 2)?.[0]?.record.writes
    expect([held, held?.buffer.byteLength]).toEqual([new Uint8Array(20).fill(7), 20])
  })

  it('are all those behind an index, or nothing is said: any adds and drops', () => {
    const random = new SeededRandom(1)
    const all: KeptDelta[][] = [[], [], []]
    const tail = new DeltaTail(20_000)
    let answers = 0
    for (let index = 1; index < 5000; index++) {
      const shard = random.below(3)
      if (random.below(200) === 0) {
        tail.drop(shard)
        all[shard] = []
        continue
      }
      const record = kept(index, random.below(1000))
      tail.add(shard, record, 0)
      all[shard]?.push(record)
      const of = random.below(3)
      const after = index - random.below(60)
      const found = tail.since(of, after)
      if (found === undefined) continue
      answers++
      expect(found).toEqual(all[of]?.filter((each) => each.index > after))
    }
    expect(answers).toBeGreaterThan(2000)
  })
})

/** Shards 1 and 2 on their way, with writes of two clients and time marks behind the cut. */
async function movingGroup(
  random: SeededRandom,
  writes: number,
): Promise<{ readonly a: TestGroup; readonly mover: Mover; readonly cut: number }> {
  const [a, b] = [await TestGroup.open('a@1', 1000), await TestGroup.open('b@1')]
  a.log.birth(a.timeMs, [1, 2, 3])
  const callers = [1, 2, 3].map((shard) => new Caller(shard, shard))
  const write = () => {
    const shard = 1 + random.below(3)
    const value = new Uint8Array(random.below(400))
    const command = callers[shard - 1]?.next({ put: { key: keyOf(shard, random.below(9)), value } })
    if (command !== undefined) a.log.write(a.timeMs, shard, command)
  }
  for (let i = 0; i < 20; i++) write()
  await a.run()
  const mover = new Mover(7, [1, 2], a, b)
  await mover.import()
  await mover.export()
  for (let i = 0; i < writes; i++) {
    if (random.below(12) === 0) a.log.mark(++a.timeMs)
    else write()
    if (random.below(5) === 0) await a.run()
  }
  await a.run()
  return { a, mover, cut: a.machine.shardRecord(1).cut }
}

async function deltaIn(machine: GroupStateMachine, wanted: DeltaWanted) {
  const outcome = await machine.delta(wanted)
  if (outcome.kind === 'refused') return outcome
  return { ...outcome, shards: outcome.shards.map((shard) => Buffer.from(pb.v1.ShardDelta.encode(shard).finish()).toString('base64')) }
}

describe('a delta', () => {
  it.each([1, 2, 3])('is the same read from memory and from the store, seed %i', async (seed) => {
    const random = new SeededRandom(seed)
    const { a, mover, cut } = await movingGroup(random, 150)
    if (seed === 3) await mover.release()
    await a.machine.flush()
    const reopened = await openMachine(a.replica.store.crash())
    for (let round = 0; round < 200; round++) {
      const after = cut + random.below(a.machine.applied - cut + 2)
      const wanted = { ...mover.names, after, maxBytes: 1 + random.below(6000) }
      expect(await deltaIn(a.machine, wanted)).toEqual(await deltaIn(reopened.machine, wanted))
    }
  })

  it('is given to a target that follows without reading the store', async () => {
    const { a, mover, cut } = await movingGroup(new SeededRandom(5), 150)
    const iterate = vi.spyOn(a.replica.store, 'iterate')
    for (let after = cut; after < a.machine.applied; after += 10) await mover.delta(after, 2000)
    await mover.delta(a.machine.applied)
    expect(iterate).not.toHaveBeenCalled()
  })

  it('is read from the store where it is too long for memory, and behind that from memory', async () => {
    const { a, mover, cut } = await movingGroup(new SeededRandom(6), 10)
    const caller = new Caller(9, 1)
    for (let i = 0; i < 6; i++) a.log.write(a.timeMs, 9, caller.next({ put: { key: keyOf(1, i), value: new Uint8Array(4 * 1024 * 1024) } }))
    await a.run()
    const iterate = vi.spyOn(a.replica.store, 'iterate')
    await mover.delta(a.machine.applied - 1)
    expect(iterate).not.toHaveBeenCalled()
    expect((await mover.delta(cut, 1)).shards.flatMap(({ records }) => records)).toHaveLength(1)
    expect(iterate).toHaveBeenCalled()
  })
})
