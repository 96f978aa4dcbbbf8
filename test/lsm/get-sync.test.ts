import { readdir } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { CorruptionError } from '../../base/errors.ts'
import { SeededRandom } from '../../base/random.ts'
import { BlockCache, type Database, WriteBatch, writeTable } from '../../lsm/index.ts'
import { environmentOf, onNode, onSimulator, openDatabase, simulate } from './environment.ts'
import { bytes, getText, text } from './model.ts'

const getSync = (
  db: Database,
  key: string,
  ...snapshot: Parameters<Database['getSync']> extends [unknown, ...infer Rest] ? Rest : never
) => {
  const value = db.getSync(bytes(key), ...snapshot)
  return value === undefined ? undefined : text(value)
}

/** Two tables above each other, and a memtable. */
async function fill(db: Database): Promise<void> {
  for (const round of [1, 2, 3]) {
    const batch = new WriteBatch()
    for (let i = round; i < 60; i += round) batch.put(bytes(`k${i}`), bytes(`v${round}-${i}`.repeat(20)))
    if (round > 1) batch.delete(bytes(`k${round + 20}`))
    await db.write(batch)
    if (round < 3) await db.flush()
  }
}

describe('getSync', () => {
  for (const [where, runIn] of [
    ['the real file system', onNode],
    ['a simulated disk', onSimulator],
  ] as const) {
    it(`finds what get finds, in memory and in files that are not open yet, on ${where}`, () =>
      runIn(async (environment) => {
        for (const blockCache of [new BlockCache(1024 * 1024), new BlockCache(0)]) {
          const folder = `${environment.folder}/${blockCache.capacityBytes}`
          const options = { blockCache, level0CompactionTrigger: 100 }
          let db = await openDatabase({ ...environment, folder }, options)
          await fill(db)
          const snapshot = db.snapshot()
          const before = getSync(db, 'k6')
          await db.write(new WriteBatch().put(bytes('k6'), bytes('new')).delete(bytes('k7')))
          expect([getSync(db, 'k6'), getSync(db, 'k7'), getSync(db, 'k6', snapshot)]).toEqual(['new', undefined, before])
          snapshot.release()
          expect(() => db.getSync(bytes('k6'), snapshot)).toThrow('released')
          await db.close()
          db = await openDatabase({ ...environment, folder }, options)
          const found = Array.from({ length: 70 }, (_, i) => getSync(db, `k${i}`))
          expect(found.filter((value) => value !== undefined).length).toBeGreaterThan(50)
          for (let i = 0; i < 70; i++) expect(await getText(db, `k${i}`), `k${i}`).toBe(found[i])
          const copy = db.getSync(bytes('k1'))
          copy?.fill(0)
          expect(getSync(db, 'k1')).toBe(found[1])
          await db.close()
          expect(() => db.getSync(bytes('k1'))).toThrow('closed')
        }
      }))
  }

  it('answers at once while the same tables and blocks are being read the other way, and nothing is opened twice', async () => {
    for (let seed = 1; seed <= 10; seed++) {
      const { world, process } = simulate(seed)
      const blockCache = new BlockCache(1024 * 1024)
      const options = { blockCache, level0CompactionTrigger: 100 }
      const first = await world.settle(openDatabase(environmentOf(process), options))
      await world.settle(fill(first))
      await world.settle(first.close())
      const db = await world.settle(openDatabase(environmentOf(process), options))
      const random = new SeededRandom(seed)
      const reads: Promise<unknown>[] = []
      for (let step = 0; step < 60; step++) {
        const key = `k${random.below(70)}`
        const read = getText(db, key)
        const now = random.below(2) === 0 ? getSync(db, key) : undefined
        reads.push(read.then((value) => now === undefined || expect(value, `seed ${seed}, ${key}`).toBe(now)))
        if (random.below(4) === 0) await world.runFor(random.below(2))
      }
      await world.settle(Promise.all(reads))
      await world.settle(db.close())
      // No block is counted that no table holds.
      expect(blockCache.bytes, `seed ${seed}`).toBe(0)
    }
  })

  it('holds no file open after close, also where getSync was faster than get', () =>
    onNode(async (environment) => {
      if (process.platform !== 'linux') return
      const db = await openDatabase(environment, { level0CompactionTrigger: 100 })
      await fill(db)
      await db.close()
      const before = (await readdir('/proc/self/fd')).length
      const again = await openDatabase(environment, { level0CompactionTrigger: 100 })
      const read = again.get(bytes('k1'))
      expect(read).toBeInstanceOf(Promise)
      expect(again.getSync(bytes('k1'))).toEqual(await read)
      await again.close()
      expect((await readdir('/proc/self/fd')).length).toBe(before)
    }))

  it('throws what a read would reject with, and the next one reads again', async () => {
    const { world, process, disk } = simulate(3)
    const db = await world.settle(openDatabase(environmentOf(process), { level0CompactionTrigger: 100, blockCache: new BlockCache(0) }))
    await world.settle(fill(db))
    for (const kind of ['openSync', 'readSync'] as const) {
      disk.failNext(kind, 'EIO')
      expect(() => db.getSync(bytes('k1'))).toThrow(expect.objectContaining({ code: 'EIO' }))
    }
    expect(getSync(db, 'k1')).toBe('v1-1'.repeat(20))
    expect(db.failed).toBe(undefined)
    await world.settle(db.close())
  })

  it('names file and offset of a damaged block, and of a file that is another table', () =>
    onNode(async (environment) => {
      const { fileSystem, folder } = environment
      const db = await openDatabase(environment, { blockCache: new BlockCache(0) })
      await db.write(new WriteBatch().put(bytes('a'), bytes('value')))
      await db.flush()
      expect(getSync(db, 'a')).toBe('value')
      const name = (await fileSystem.list(`${folder}/db`)).find((file) => file.endsWith('.sst'))
      const path = `${folder}/db/${name}`
      const file = await fileSystem.open(path, 'write')
      await file.write([bytes('X')], 12)
      const failure = (read: () => unknown): unknown => {
        try {
          return read()
        } catch (error) {
          return error
        }
      }
      const damaged = failure(() => db.getSync(bytes('a')))
      expect(damaged).toBeInstanceOf(CorruptionError)
      expect(damaged).toMatchObject({ file: path, offset: 0 })
      await db.close()
      await file.write([bytes('X')], await file.size())
      await file.close()
      const again = await openDatabase(environment)
      const longer = failure(() => again.getSync(bytes('a')))
      expect(longer).toBeInstanceOf(CorruptionError)
      expect(longer).toMatchObject({ file: path, message: expect.stringContaining('another table') })
      await again.close()
    }))

  it('does not answer while files to ingest are being opened without a WAL', () =>
    onSimulator(async (environment) => {
      const { fileSystem, folder } = environment
      const db = await openDatabase(environment, { wal: false })
      await writeTable(fileSystem, `${folder}/t.sst`, [{ key: bytes('a'), value: bytes('1') }])
      const ingested = db.ingest([{ path: `${folder}/t.sst` }], bytes('m'))
      expect(() => db.getSync(bytes('a'))).toThrow('prepareIngest')
      await ingested
      expect(getSync(db, 'a')).toBe('1')
      await db.close()
    }))
})
