import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { type Database, WriteBatch } from '../../lsm/index.ts'
import { environmentOf, onNode, onSimulator, openDatabase, simulate } from './environment.ts'
import { bytes, type Model, recordsOf, scan, without } from './model.ts'
import { randomKey, randomRange } from './random-operations.ts'

const large = { memtableBytes: 1024 * 1024 }

function fill(count: number, value = 'v'): WriteBatch {
  const batch = new WriteBatch()
  for (let i = 0; i < count; i++) batch.put(bytes(`k${String(i).padStart(5, '0')}`), bytes(value))
  return batch
}

const deleteRange = (db: Database, lower?: string, upper?: string, options?: { readonly sync: boolean }) =>
  db.deleteRange(lower === undefined ? undefined : bytes(lower), upper === undefined ? undefined : bytes(upper), options)

describe('deleteRange', () => {
  it('of a few records is a batch in the log: no memtable is flushed for it', () =>
    onNode(async (environment) => {
      const db = await openDatabase(environment, large)
      await db.write(fill(2000))
      await deleteRange(db, 'k00010', 'k00500')
      expect(await scan(db, 'k00009', 'k00502')).toEqual(['k00009=v', 'k00500=v', 'k00501=v'])
      expect(db.stats()).toMatchObject({ flushes: 0, queueLength: 0 })
      await db.close()
      const again = await openDatabase(environment, large)
      expect(await scan(again, 'k00009', 'k00502')).toEqual(['k00009=v', 'k00500=v', 'k00501=v'])
      await again.close()
    }))

  it('of many records, and of much that lies in tables, is an excise', () =>
    onNode(async (environment) => {
      const db = await openDatabase(environment, large)
      await db.write(fill(1500))
      await deleteRange(db, undefined, 'k01400')
      expect(db.stats().flushes).toBe(1)
      expect(await scan(db)).toHaveLength(100)
      await db.write(fill(900, 'v'.repeat(2000)))
      await db.flush()
      const { flushes } = db.stats()
      await deleteRange(db, 'k00000', 'k00900')
      expect(db.stats().flushes).toBe(flushes + 1)
      await deleteRange(db)
      expect(await scan(db)).toEqual([])
      await db.close()
    }))

  it('takes its place among writes that nobody has waited for', () =>
    onSimulator(async (environment) => {
      for (const count of [10, 1200]) {
        const db = await openDatabase(environment, large)
        const snapshot = db.snapshot()
        const writes = [
          db.write(fill(count)),
          deleteRange(db),
          db.write(new WriteBatch().put(bytes('k00003'), bytes('after'))),
          deleteRange(db, 'x'),
        ]
        await Promise.all(writes)
        expect(await scan(db)).toEqual(['k00003=after'])
        expect(await scan(db, undefined, undefined, false, snapshot)).toEqual([])
        snapshot.release()
        await deleteRange(db)
        await db.close()
      }
    }))

  it('of an empty range does nothing, and is for a database with a WAL', () =>
    onSimulator(async (environment) => {
      const db = await openDatabase(environment)
      await db.write(fill(3))
      await deleteRange(db, 'z', 'a')
      await deleteRange(db, 'k', 'k')
      expect(await scan(db)).toHaveLength(3)
      await db.close()
      await expect(deleteRange(db)).rejects.toThrow('closed')
      const without = await openDatabase({ ...environment, folder: `${environment.folder}/other` }, { wal: false })
      await expect(deleteRange(without)).rejects.toThrow('WAL')
      await without.close()
    }))

  it('excises what it cannot read', async () => {
    const { world, process, disk } = simulate(5)
    const db = await world.settle(openDatabase(environmentOf(process)))
    await world.settle(Promise.resolve(db.write(fill(20))))
    await world.settle(db.flush())
    const unread: string[] = []
    disk.inject = ({ kind, path }) => {
      if (!kind.startsWith('read') || !path.endsWith('.sst')) return undefined
      unread.push(path)
      return 'EIO'
    }
    await world.settle(deleteRange(db, 'k00003', 'k00018'))
    disk.inject = undefined
    expect(unread).not.toEqual([])
    expect(db.failed).toBe(undefined)
    expect(await world.settle(scan(db))).toEqual(['k00000=v', 'k00001=v', 'k00002=v', 'k00018=v', 'k00019=v'])
    await world.settle(db.close())
  })

  it('does what a dumb map does', async () => {
    for (let seed = 1; seed <= 6; seed++) {
      await onSimulator(async (environment) => {
        const random = new SeededRandom(seed)
        let db = await openDatabase(environment)
        let model: Model = new Map()
        for (let step = 0; step < 200; step++) {
          const draw = random.below(20)
          if (draw < 14) {
            const [key, value] = [randomKey(random), `v${step}`]
            model = new Map(model).set(key, value)
            await db.write(new WriteBatch().put(bytes(key), bytes(value)), { sync: draw < 3 })
          } else if (draw < 18) {
            const { lower, upper } = randomRange(random)
            model = without(model, lower, upper)
            await deleteRange(db, lower, upper, { sync: draw < 16 })
          } else if (draw === 18) await db.flush()
          else {
            await db.close()
            db = await openDatabase(environment)
          }
          expect(await scan(db), `seed ${seed}, step ${step}`).toEqual(recordsOf(model))
        }
        await db.close()
      })
    }
  })

  for (const [size, count] of [
    ['few', 12],
    ['many', 1100],
  ] as const) {
    it(`of ${size} records survives a loss of power whole or not at all, at each file operation`, async () => {
      let crashes = 0
      let unresolved = 0
      for (let k = 1; ; k++) {
        const { world, process, disk } = simulate(k)
        const db = await world.settle(openDatabase(environmentOf(process), large))
        await world.settle(Promise.resolve(db.write(fill(count))))
        // Not durable by itself: what a range no longer shows may still come back.
        await world.settle(Promise.resolve(db.write(new WriteBatch().delete(bytes('k00001')), { sync: false })))
        const target = disk.operations + k
        disk.inject = ({ index }) => (index === target ? 'crash' : undefined)
        let resolved = false
        void deleteRange(db, 'k00001', 'k99999').then(() => {
          resolved = true
        })
        await world.runUntil(() => !process.alive || resolved, 10_000_000)
        disk.inject = undefined
        if (process.alive) process.powerLoss()
        else crashes++
        const again = await world.settle(openDatabase(environmentOf(process.restart()), large), 10_000_000)
        const left = (await world.settle(scan(again), 10_000_000)).length
        if (resolved) expect(left, `crash at operation ${k}`).toBe(1)
        else expect([1, count - 1, count], `crash at operation ${k}`).toContain(left)
        await world.settle(again.close(), 10_000_000)
        if (resolved) break
        unresolved++
      }
      expect(crashes).toBe(unresolved)
      expect(crashes).toBeGreaterThan(1)
    })
  }

  it('is durable also where it finds nothing: what emptied the range may not have been', async () => {
    const { world, process } = simulate(11)
    const db = await world.settle(openDatabase(environmentOf(process), large))
    await world.settle(Promise.resolve(db.write(fill(1))))
    await world.settle(Promise.resolve(db.write(new WriteBatch().delete(bytes('k00000')), { sync: false })))
    await world.settle(deleteRange(db))
    process.powerLoss()
    const again = await world.settle(openDatabase(environmentOf(process.restart()), large))
    expect(await world.settle(scan(again))).toEqual([])
    await world.settle(again.close())
  })
})
