import { expect, it } from 'vitest'
import type { Clock } from '../../base/clock.ts'
import { WriteBatch } from '../../lsm/index.ts'
import { onNode, openDatabase } from './environment.ts'
import { bytes, getText, scan, text } from './model.ts'

/** Longer than what one turn does. */
const count = 20_000
const large = { memtableBytes: 64 * 1024 * 1024 } as const
const keyOf = (i: number) => `key${String(i).padStart(6, '0')}`

function batchOf(change: (batch: WriteBatch, key: Uint8Array) => void): WriteBatch {
  const batch = new WriteBatch()
  for (let i = 0; i < count; i++) change(batch, bytes(keyOf(i)))
  return batch
}

/** Calls `visit` in each turn until `work` is done; how many turns that took. */
async function turnsOf(clock: Clock, work: Promise<unknown>, visit: () => void = () => undefined): Promise<number> {
  let turns = 0
  let isDone = false
  const ended = work.finally(() => {
    isDone = true
  })
  while (!isDone) {
    await new Promise<void>((resolve) => clock.soon(resolve))
    turns++
    visit()
  }
  await ended
  return turns
}

it('a large batch goes into the memtable in many turns, in none of which part of it is seen', () =>
  onNode(async (environment) => {
    const db = await openDatabase(environment, large)
    await db.write(batchOf((batch, key) => batch.put(key, bytes('old'))))
    const early = db.iterate({ lower: bytes(keyOf(count - 2)) })
    expect(await early.next()).toBe(true)
    const before = db.stats().memtableEntries
    const seen = new Set<string>()
    let between = 0
    let snapshot = db.snapshot()
    const wanted = [0, 1, count >> 1, count - 1].map((i) => bytes(keyOf(i)))
    // Every other key goes.
    const batch = batchOf((changes, key) => ((key.at(-1) ?? 0) % 2 === 0 ? changes.put(key, bytes('new')) : changes.delete(key)))
    batch.put(bytes('last'), bytes('new'))
    await turnsOf(environment.clock, Promise.resolve(db.write(batch)), () => {
      const { memtableEntries } = db.stats()
      const isBetween = memtableEntries > before && memtableEntries < before + count + 1
      if (isBetween) between++
      const values = [...wanted, bytes('last')].map((key) => db.getSync(key)).map((value) => value && text(value))
      seen.add(values.join(' '))
      if (!isBetween) return
      snapshot.release()
      snapshot = db.snapshot()
    })
    expect(between).toBeGreaterThan(10)
    expect([...seen].at(-1)).toBe('new  new  new')
    expect([...seen].filter((values) => values !== 'old old old old ' && values !== 'new  new  new')).toEqual([])
    // What was begun in the midst of it ends as it began.
    const then = await scan(db, undefined, undefined, false, snapshot)
    expect(then.length).toBe(count)
    expect(new Set(then.map((record) => record.split('=')[1]))).toEqual(new Set(['old']))
    snapshot.release()
    expect(await early.next()).toBe(true)
    expect(text(early.value)).toBe('old')
    early.close()
    expect((await scan(db)).length).toBe(count / 2 + 1)
    await db.close()
    const again = await openDatabase(environment, large)
    expect((await scan(again, undefined, undefined, true)).length).toBe(count / 2 + 1)
    await again.close()
  }))

it('a close in the midst of a large batch waits for it', () =>
  onNode(async (environment) => {
    const db = await openDatabase(environment, large)
    const written = db.write(batchOf((batch, key) => batch.put(key, bytes('v'))))
    await turnsOf(environment.clock, db.close())
    await written
    const again = await openDatabase(environment, large)
    expect(await getText(again, keyOf(count - 1))).toBe('v')
    await again.close()
  }))

it('many tombstones are passed over in many turns, in both directions and where a range is deleted', () =>
  onNode(async (environment) => {
    const db = await openDatabase(environment, large)
    await db.write(batchOf((batch, key) => batch.delete(key)).put(bytes('z'), bytes('v')))
    const { clock } = environment
    for (const reverse of [false, true]) {
      const iterator = db.iterate({ upper: bytes('y'), reverse })
      const moved = iterator.next()
      expect(moved).toBeInstanceOf(Promise)
      expect(await turnsOf(clock, Promise.resolve(moved))).toBeGreaterThanOrEqual(4)
      expect(await moved).toBe(false)
    }
    expect(await turnsOf(clock, db.deleteRange(undefined, bytes('y')))).toBeGreaterThanOrEqual(4)
    expect(await scan(db)).toEqual(['z=v'])
    await db.close()
  }))
