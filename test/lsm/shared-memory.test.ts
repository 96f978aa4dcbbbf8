import { describe, expect, it } from 'vitest'
import { type Database, MemtableBudget, WriteBatch } from '../../lsm/index.ts'
import { Memtable } from '../../lsm/memtable.ts'
import { SharedMemoryPool } from '../../lsm/shared-memory-pool.ts'
import { onNode, openDatabase } from './environment.ts'
import { bytes } from './model.ts'

describe('memory of memtables', () => {
  // V8 does not collect for shared memory: a node under 4 KiB puts grew by 30 MB a second.
  it('is used again after each flush, so that a database under writes does not grow', () =>
    onNode(async (environment) => {
      const budget = new MemtableBudget(256 * 1024)
      const db = await openDatabase(environment, { wal: false, memtableBudget: budget })
      const value = new Uint8Array(1000)
      for (let round = 0; round < 40; round++) {
        const batch = new WriteBatch()
        for (let i = 0; i < 200; i++) batch.put(bytes(`key${round} ${i}`), value)
        db.write(batch)
        await db.seal(bytes(String(round)))
      }
      expect(budget.pool.madeBytes).toBeLessThan(6 * budget.bytes)
      await db.close()
    }))

  it('of what a log held is used by the memtable after it', () =>
    onNode(async (environment) => {
      const fill = async (db: Database) => {
        const batch = new WriteBatch()
        for (let i = 0; i < 100; i++) batch.put(bytes(`key${i}`), bytes('v'.repeat(500)))
        await db.write(batch)
      }
      const first = await openDatabase(environment, { memtableBytes: 256 * 1024 })
      await fill(first)
      await first.close()
      const budget = new MemtableBudget(256 * 1024)
      const db = await openDatabase(environment, { memtableBudget: budget })
      const { madeBytes } = budget.pool
      expect(madeBytes).toBeGreaterThan(50_000)
      expect(db.stats().memtableMemoryBytes).toBe(madeBytes)
      await fill(db)
      expect(budget.pool.madeBytes).toBe(madeBytes)
      await db.close()
    }))

  it('that an iterator reads stays until it is closed', () =>
    onNode(async (environment) => {
      const budget = new MemtableBudget(256 * 1024)
      const db = await openDatabase(environment, { wal: false, memtableBudget: budget })
      const fill = (text: string) => {
        const batch = new WriteBatch()
        for (let i = 0; i < 100; i++) batch.put(bytes(`key${i}`), bytes(text.repeat(500)))
        db.write(batch)
      }
      fill('a')
      const iterator = db.iterate({})
      for (const text of ['b', 'c', 'd', 'e', 'f']) {
        await db.seal(bytes(text))
        fill(text)
      }
      let count = 0
      while (await iterator.next()) {
        expect(iterator.value).toEqual(bytes('a'.repeat(500)))
        count++
      }
      expect(count).toBe(100)
      iterator.close()
      await db.close()
    }))

  it('is not there any more for who reads after the last release', () => {
    const pool = new SharedMemoryPool(2 ** 20)
    const memtable = new Memtable(0, 64 * 1024, pool)
    memtable.retain()
    const batch = new WriteBatch()
    batch.put(bytes('key'), bytes('value'))
    memtable.add(batch.encoded(), 1)
    expect(memtable.get(bytes('key'), 1)).toEqual(bytes('value'))
    memtable.release()
    expect(pool.bytes).toBe(pool.madeBytes)
    expect(memtable.entries).toBe(1)
    let found: unknown
    try {
      found = memtable.get(bytes('key'), 1)
    } catch (error) {
      found = error
    }
    expect(found instanceof Error || found === undefined).toBe(true)
    expect(() => memtable.release()).toThrow('released as often')
  })
})
