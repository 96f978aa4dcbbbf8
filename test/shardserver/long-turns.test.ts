import { describe, expect, it } from 'vitest'
import { utf8 } from '../../base/bytes.ts'
import { SeededRandom } from '../../base/random.ts'
import { pb } from '../../proto/messages.ts'
import { operationsOf } from '../../shardserver/delta.ts'
import { encodeWrite } from '../../shardserver/entry.ts'
import { sessionsMax } from '../../shardserver/session.ts'
import { Caller, keyOf, type Machine, openMachine, TestClock } from './builders.ts'
import { MemoryStore } from './memory-store.ts'
import { Mover, TestGroup } from './movers.ts'

const shard = 1
const replies = 64
/** A look at the clock moves it so far: a slice of 2 ms holds as many sessions as that allows. */
const stepMs = 0.05
/** Sessions, or records, of one turn: two slices may meet in one, and a step writes some records of its own. */
const mostPerTurn = 120

interface Counts {
  /** Records put and deleted. */
  written: number
  /** Records read one after the other. */
  iterated: number
}

function count(store: MemoryStore): Counts {
  const counts = { written: 0, iterated: 0 }
  const write = store.write.bind(store)
  store.write = (batch) => {
    counts.written += batch.count
    write(batch)
  }
  const iterate = store.iterate.bind(store)
  store.iterate = (options) => {
    const iterator = iterate(options)
    const next = iterator.next.bind(iterator)
    iterator.next = () => {
      counts.iterated++
      return next()
    }
    return iterator
  }
  return counts
}

/** How much `sum` rose in one turn at the most, and in all, while `work` ran. */
async function perTurn(sum: () => number, work: () => Promise<unknown>): Promise<{ most: number; all: number }> {
  const before = sum()
  let last = before
  let most = 0
  let isDone = false
  const look = () => {
    most = Math.max(most, sum() - last)
    last = sum()
    if (!isDone) setImmediate(look)
  }
  setImmediate(look)
  await work()
  isDone = true
  look()
  return { most, all: sum() - before }
}

function writeOf(client: number, commands: pb.v1.Command.$Properties[]): Uint8Array {
  const clientId = new Uint8Array(16).fill(7)
  new DataView(clientId.buffer).setUint32(0, client)
  return encodeWrite(0, pb.v1.WriteBatch.encode({ clientId, commands }).finish())
}

/** Each client has `replies` answers that it has not said it knows. `from`: its first number. */
async function useSessions(group: TestGroup, sessions: number, from = 1): Promise<void> {
  const key = keyOf(shard, 1)
  for (let client = 1; client <= sessions; client++) {
    const commands = Array.from({ length: from === 1 ? replies : 1 }, (_, i) => ({
      ...{ shard, sequence: from + i, lowestOutstanding: 1, first: true },
      put: { key, value: utf8('v') },
    }))
    group.log.add(writeOf(client, commands))
  }
  await group.run()
}

interface Rig {
  readonly group: TestGroup
  readonly clock: TestClock
  readonly store: MemoryStore
  readonly counts: Counts
}

async function open(name: string): Promise<Rig> {
  const [clock, store] = [new TestClock(), new MemoryStore()]
  return { clock, store, counts: count(store), group: await TestGroup.open(name, 0, { clock }, store) }
}

async function openPair() {
  const [source, target] = [await open('a@1'), await open('b@1')]
  source.group.log.birth(0, [shard])
  await source.group.run()
  const mover = new Mover(7, [shard], source.group, target.group)
  await mover.import()
  return { source, target, mover }
}

describe('a shard with thousands of sessions', () => {
  it('is cut, moved, served and taken away without a turn that writes down or reads all of them', async () => {
    const { source, target, mover } = await openPair()
    await useSessions(source.group, sessionsMax)
    for (const { clock } of [source, target]) clock.stepMs = stepMs
    const written = ({ counts }: Rig) => counts.written
    const cut = await perTurn(
      () => written(source),
      () => mover.export(),
    )
    expect(cut.all).toBeGreaterThan(sessionsMax)
    expect(cut.most).toBeLessThan(mostPerTurn)
    const held = await mover.copy()
    const read = await perTurn(
      () => target.counts.iterated,
      () => mover.ingest(held),
    )
    expect(read.all).toBeGreaterThan(sessionsMax)
    expect(read.most).toBeLessThan(mostPerTurn)
    await mover.release()
    expect(await mover.activate()).toMatchObject({ kind: 'migrated' })
    await useSessions(target.group, sessionsMax, replies + 1)
    const back = new Mover(8, [shard], target.group, source.group)
    await mover.outcome(source.group, 'done')
    await back.import()
    const again = await perTurn(
      () => written(target),
      () => back.export(),
    )
    expect(again.all).toBeGreaterThan(sessionsMax)
    expect(again.most).toBeLessThan(mostPerTurn)
    expect(target.group.machine.shardRecord(shard)).toMatchObject({ state: 'exporting', newestId: 8 })
  }, 60_000)

  it.each(['a flush', 'a full memtable'])(
    'is sealed for %s in many turns, in which nothing is applied: what is sealed is the state at the mark',
    async (why) => {
      const { group, clock, store } = await open('a@1')
      const reference = await openMachine()
      const isSame = async (found: Machine) => {
        const { applied } = found.machine
        if (reference.machine.applied < applied) await reference.machine.apply(group.log.entries.slice(reference.machine.applied, applied))
        expect(await found.machine.stateHash()).toEqual(await reference.machine.stateHash())
      }
      group.log.birth(0, [shard])
      await group.run()
      await group.machine.flush()
      await useSessions(group, 500)
      const seals = store.seals
      clock.stepMs = stepMs
      let flushed: Promise<void> | undefined
      if (why === 'a flush') flushed = group.machine.flush()
      else {
        store.wantsSeal = true
        group.log.mark(1)
        await group.run()
      }
      const at = group.machine.applied
      expect(store.seals).toBe(seals)
      const early = store.crash()
      await useSessions(group, 500, replies + 1)
      await flushed
      expect(store.seals).toBe(seals + 1)
      // Of what was handed over by then the crash has left nothing.
      await isSame(await openMachine(early))
      const found = await openMachine(store.crash())
      expect(found.machine.durable.index).toBe(at)
      await isSame(found)
      await found.machine.apply(group.log.entries.slice(at))
      await isSame(found)
      await isSame(group.replica)
    },
  )

  it('is read in many turns where a process starts, and written down in many for a digest', async () => {
    const { group, clock, store, counts } = await open('a@1')
    group.log.birth(0, [shard])
    await useSessions(group, 1000)
    clock.stepMs = stepMs
    const hashed = await perTurn(
      () => counts.written,
      () => group.machine.stateHash(),
    )
    expect(hashed.all).toBeGreaterThan(1000)
    expect(hashed.most).toBeLessThan(mostPerTurn)
    await group.machine.flush()
    const later = store.crash()
    const read = count(later)
    const started = await perTurn(
      () => read.iterated,
      () => openMachine(later, { clock }),
    )
    expect(started.all).toBeGreaterThan(1000)
    expect(started.most).toBeLessThan(mostPerTurn)
  })
})

describe('thousands of small writes behind a cut', () => {
  it.each([1, 7, 100])('are replayed some hundreds by an entry, %i in each of the source', async (together) => {
    const { source, target, mover } = await openPair()
    await mover.begin()
    const caller = new Caller(1, shard)
    const count = 5000
    const keys = Array.from({ length: 50 }, (_, i) => keyOf(shard, i))
    for (let at = 0; at < count; at += together) {
      const puts = Array.from({ length: together }, (_, i) =>
        caller.next({ put: { key: keys[i % 50] as Uint8Array, value: new Uint8Array(100) } }),
      )
      source.group.log.write(0, 1, ...puts)
    }
    await source.group.run()
    let pieces = 0
    let most = 0
    const before = target.counts.written
    while (mover.cursor < source.group.machine.applied) {
      const { written } = target.counts
      expect(await mover.replay()).toMatchObject({ kind: 'migrated' })
      most = Math.max(most, target.counts.written - written)
      pieces++
    }
    expect(target.counts.written - before).toBeGreaterThanOrEqual(count)
    expect(most).toBeLessThan(600)
    expect(pieces).toBeLessThan(15)
    expect(await mover.finish()).toMatchObject({ kind: 'migrated' })
  })

  it('that are few writes of large values are bounded by their bytes alone', async () => {
    const { source, mover } = await openPair()
    await mover.begin()
    const caller = new Caller(1, shard)
    for (let i = 0; i < 260; i++)
      source.group.log.write(0, 1, caller.next({ put: { key: keyOf(shard, i % 10), value: new Uint8Array(4000) } }))
    await source.group.run()
    const { shards } = await mover.delta()
    expect(shards[0]?.records?.length).toBeGreaterThan(250)
  })
})

it('counts the operations of an encoded batch as decoding it would', () => {
  const random = new SeededRandom(1)
  const value = () => random.bytes(random.below(40))
  const operations: (() => { command: Omit<pb.v1.Command.$Properties, 'shard'>; count: number })[] = [
    () => ({ command: { put: { key: value(), value: value(), ttlMs: random.below(1000) } }, count: 1 }),
    () => ({ command: { increment: { key: value(), by: '7' } }, count: 1 }),
    () => ({ command: { compareAndSet: { key: value(), expectAbsent: true, value: value() } }, count: 1 }),
    () => {
      const [checks, writes] = [random.below(4), random.below(30)]
      const batch = {
        checks: Array.from({ length: checks }, () => ({ key: value(), revision: random.below(1e6) })),
        writes: Array.from({ length: writes }, () =>
          random.below(2) === 0 ? { put: { key: value(), value: value() } } : { delete: { key: value() } },
        ),
      }
      return { command: { batch }, count: Math.max(1, checks + writes) }
    },
  ]
  for (let round = 0; round < 200; round++) {
    const made = Array.from({ length: random.below(20) }, () =>
      (operations[random.below(operations.length)] as (typeof operations)[number])(),
    )
    const commands = made.map(({ command }, i) => ({
      shard: 5,
      sequence: 2 ** 40 + i,
      lowestOutstanding: 1,
      first: i % 2 === 0,
      ...command,
    }))
    const bytes = pb.v1.WriteBatch.encode({ clientId: random.bytes(16), commands, ageMs: 3 }).finish()
    expect(operationsOf(bytes)).toBe(
      Math.max(
        1,
        made.reduce((sum, { count }) => sum + count, 0),
      ),
    )
  }
  expect([operationsOf(new Uint8Array(0)), operationsOf(new Uint8Array(9).fill(255))]).toEqual([1, 1])
})
