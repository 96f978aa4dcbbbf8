import { describe, expect, it } from 'vitest'
import { CorruptionError } from '../../base/errors.ts'
import { readTables, WriteBatch, writeTable } from '../../lsm/index.ts'
import { onNode, onSimulator, openDatabase } from './environment.ts'
import { bytes, text } from './model.ts'

describe('several ranges', () => {
  it('are excised in one edit, with what was written before and one mark', () =>
    onSimulator(async (environment) => {
      const db = await openDatabase(environment, { wal: false })
      for (const key of ['a1', 'b1', 'c1', 'd1']) await db.write(new WriteBatch().put(bytes(key), bytes('v')))
      await db.seal(bytes('one'))
      await db.write(new WriteBatch().put(bytes('b2'), bytes('v')).put(bytes('c2'), bytes('v')))
      const done = db.exciseAll(
        [
          { lower: bytes('a'), upper: bytes('b') },
          { lower: bytes('c'), upper: bytes('d') },
        ],
        bytes('two'),
      )
      const keys = async (database: typeof db) => {
        const found: string[] = []
        for await (const { key } of database.iterate()) found.push(text(key))
        return found
      }
      expect(await keys(db)).toEqual(['b1', 'b2', 'd1'])
      await done
      expect(text(db.durableMark ?? new Uint8Array(0))).toBe('two')
      await db.close()
      const again = await openDatabase(environment, { wal: false })
      expect(await keys(again)).toEqual(['b1', 'b2', 'd1'])
      await again.close()
    }))
})

describe('an iterator with a prefix', () => {
  it('gives the keys that begin with it, of those within the bounds, in both directions', () =>
    onSimulator(async (environment) => {
      const db = await openDatabase(environment)
      const keys = ['', 'a', 'a\u0000', 'ab', 'a\u00ff', 'a\u00ff\u00ff', 'b', '\u00ff', '\u00ff\u00ff', '\u00ff\u00ffz'].map((key) =>
        Buffer.from(key, 'latin1'),
      )
      for (const key of keys) await db.write(new WriteBatch().put(key, key))
      const prefixes = ['', 'a', 'a\u00ff', 'c', '\u00ff', '\u00ff\u00ff'].map((key) => Buffer.from(key, 'latin1'))
      let found = 0
      for (const prefix of prefixes) {
        for (const lower of [undefined, ...keys]) {
          for (const upper of [undefined, ...keys]) {
            const isWithin = (key: Buffer) => (!lower || key.compare(lower) >= 0) && (!upper || key.compare(upper) < 0)
            const wanted = keys
              .filter((key) => isWithin(key) && key.subarray(0, prefix.length).equals(prefix))
              .map((key) => key.toString('hex'))
            for (const reverse of [false, true]) {
              const given: string[] = []
              const range = { prefix, reverse, ...(lower && { lower }), ...(upper && { upper }) }
              for await (const { key } of db.iterate(range)) given.push(Buffer.from(key).toString('hex'))
              expect(reverse ? given.reverse() : given, JSON.stringify(range)).toEqual(wanted)
              found += given.length
            }
          }
        }
      }
      expect(found).toBeGreaterThan(500)
      await db.close()
    }))
})

describe('the size of a range', () => {
  it('is about that of its records in files, and nothing once they are excised', () =>
    onNode(async (environment) => {
      const db = await openDatabase(environment, { wal: false, memtableBytes: 1024 * 1024, targetTableBytes: 1024 * 1024 })
      const batch = new WriteBatch()
      for (let i = 0; i < 1000; i++) batch.put(bytes(`${i < 250 ? 'a' : 'b'}${String(i).padStart(4, '0')}`), bytes('v'.repeat(100)))
      await db.write(batch)
      await db.seal(bytes('m'))
      const sizes = [await db.approximateBytes(bytes('a'), bytes('b')), await db.approximateBytes(bytes('b'), bytes('c'))] as const
      expect(sizes[0]).toBeGreaterThan(250 * 100)
      expect(sizes[0]).toBeLessThan(250 * 130)
      expect(sizes[1]).toBeGreaterThan(750 * 100)
      expect(sizes[1]).toBeLessThan(750 * 130)
      expect(await db.approximateBytes(bytes('c'), bytes('d'))).toBe(0)
      await db.excise(bytes('a'), bytes('b'), bytes('n'))
      expect(await db.approximateBytes(bytes('a'), bytes('b'))).toBe(0)
      expect(await db.approximateBytes(bytes('b'), bytes('c'))).toBeGreaterThan(750 * 100)
      await db.close()
    }))
})

describe('a table that is read alone', () => {
  it('gives all entries in order, and tombstones', () =>
    onNode(async ({ fileSystem, folder }) => {
      const entries = Array.from({ length: 500 }, (_, i) => ({
        key: bytes(`k${String(i).padStart(3, '0')}`),
        value: i % 7 === 0 ? undefined : bytes(`v${i}`),
      }))
      await writeTable(fileSystem, `${folder}/t.sst`, entries)
      const found: string[] = []
      let pauses = 0
      const pause = () => {
        pauses++
        return undefined
      }
      await readTables(fileSystem, [[`${folder}/t.sst`]], (key, value) => found.push(`${text(key)}=${value && text(value)}`), pause)
      expect(found).toEqual(entries.map(({ key, value }) => `${text(key)}=${value && text(value)}`))
      expect(pauses).toBeGreaterThan(1)
    }))

  it('is damage where a byte of it is another', () =>
    onNode(async ({ fileSystem, folder }) => {
      const path = `${folder}/t.sst`
      await writeTable(fileSystem, path, [{ key: bytes('key'), value: bytes('value') }])
      const file = await fileSystem.open(path, 'write')
      await file.write([bytes('X')], 6)
      await file.close()
      await expect(readTables(fileSystem, [[path]], () => undefined)).rejects.toThrow(CorruptionError)
    }))
})
