import { describe, expect, it } from 'vitest'
import { WriteBatch, writeTable } from '../../lsm/index.ts'
import { describeIngest, describeSealing, drained, type InDatabase, put, type RunIn, remove } from './database-contract-queue.ts'
import { openDatabase } from './environment.ts'
import { bytes, drain, getText, recordsOf, scan, text } from './model.ts'

/** What every database must do, on whatever file system `runIn` gives. Random histories beside a model: `metamorphic/`. */
export function describeDatabase(name: string, runIn: RunIn): void {
  for (const wal of [true, false]) {
    describe(`a database ${wal ? 'with' : 'without'} a WAL on ${name}`, () => {
      const inDatabase: InDatabase = (test, more = {}) =>
        runIn(async (environment) => {
          const db = await openDatabase(environment, { wal, ...more })
          await test(db, environment)
          await db.close()
        })

      it('gives back what was put, and the last value of a batch', () =>
        inDatabase(async (db) => {
          expect(await getText(db, 'a')).toBeUndefined()
          await db.write(put('a', '1', 'b', '2', 'a', '3'))
          expect([await getText(db, 'a'), await getText(db, 'b'), await getText(db, 'c')]).toEqual(['3', '2', undefined])
          await db.write(remove('a').put(bytes('c'), new Uint8Array(0)))
          expect([await getText(db, 'a'), await getText(db, 'c')]).toEqual([undefined, ''])
          await drained(db, wal)
          expect([await getText(db, 'a'), await getText(db, 'b'), await getText(db, 'c')]).toEqual([undefined, '2', ''])
          expect(await Promise.all((await db.getMany([bytes('b'), bytes('a')])).map((value) => value && text(value)))).toEqual([
            '2',
            undefined,
          ])
        }))

      it('orders keys as unsigned bytes, the shorter first', () =>
        inDatabase(async (db) => {
          const keys = [
            [],
            [0],
            [0, 0],
            [1],
            [1, 0, 0, 0, 0, 0, 0, 0, 0],
            [1, 0, 0, 0, 0, 0, 0, 0, 1],
            [127],
            [128],
            [255],
            [255, 255],
          ].map((key) => Uint8Array.from(key))
          const batch = new WriteBatch()
          for (const key of [...keys].reverse()) batch.put(key, key)
          await db.write(batch)
          for (let pass = 0; pass < 2; pass++) {
            const found: number[][] = []
            for await (const { key, value } of db.iterate()) {
              expect(value).toEqual(key)
              found.push([...key])
            }
            expect(found).toEqual(keys.map((key) => [...key]))
            const reversed: number[][] = []
            for await (const { key } of db.iterate({ reverse: true })) reversed.push([...key])
            expect(reversed).toEqual(found.reverse())
            await drained(db, wal)
          }
        }))

      it('hands out copies: neither the caller nor a later write changes them', () =>
        inDatabase(async (db) => {
          const key = bytes('key')
          const value = bytes('value')
          const batch = new WriteBatch().put(key, value)
          const written = db.write(batch)
          batch.clear()
          key.fill(0)
          value.fill(0)
          await written
          const first = await db.get(bytes('key'))
          expect(first && text(first)).toBe('value')
          first?.fill(1)
          expect(await getText(db, 'key')).toBe('value')
          await drained(db, wal)
          const fromTable = await db.get(bytes('key'))
          fromTable?.fill(1)
          expect(await getText(db, 'key')).toBe('value')
        }))

      it('keeps a snapshot and an iterator at their moment, across flush, compaction, excise and ingest', () =>
        inDatabase(async (db, { folder, fileSystem }) => {
          await db.write(put('a', '1', 'b', '1', 'd', '1'))
          const snapshot = db.snapshot()
          const iterator = db.iterate()
          await iterator.next()
          await db.write(put('a', '2', 'c', '2').delete(bytes('b')))
          await drained(db, wal)
          await db.excise(bytes('a'), bytes('c'), wal ? undefined : bytes('2'))
          await writeTable(fileSystem, `${folder}/x.sst`, [{ key: bytes('b'), value: bytes('3') }])
          await db.ingest([{ path: `${folder}/x.sst` }], wal ? undefined : bytes('3'))
          await db.compactRange()
          await db.settle()
          expect(await scan(db)).toEqual(['b=3', 'c=2', 'd=1'])
          expect(await scan(db, undefined, undefined, false, snapshot)).toEqual(['a=1', 'b=1', 'd=1'])
          expect(await scan(db, undefined, undefined, true, snapshot)).toEqual(['d=1', 'b=1', 'a=1'])
          expect([await getText(db, 'a', snapshot), await getText(db, 'c', snapshot)]).toEqual(['1', undefined])
          expect(text(iterator.key)).toBe('a')
          expect(await drain(iterator)).toEqual(['b=1', 'd=1'])
          snapshot.release()
          snapshot.release()
          expect(() => db.get(bytes('a'), snapshot)).toThrow('released')
        }))

      it('shows an iterator nothing that is written while it goes on, in either direction', () =>
        inDatabase(async (db) => {
          for (let i = 0; i < 20; i += 2) await db.write(put(`k${String(i).padStart(2, '0')}`, 'old'))
          for (const reverse of [false, true]) {
            const before = await scan(db, undefined, undefined, reverse)
            const iterator = db.iterate({ reverse })
            const seen: string[] = []
            for (let i = 0; await iterator.next(); i++) {
              seen.push(`${text(iterator.key)}=${text(iterator.value)}`)
              const batch = new WriteBatch()
              for (let j = 0; j < 30; j++) batch.put(bytes(`k${String((i * 7 + j) % 40).padStart(2, '0')}`), bytes(`new${i}`))
              await db.write(batch.delete(bytes('k10')))
            }
            expect(seen).toEqual(before)
          }
        }))

      it('gives effect to what is issued together in the order in which it was issued', () =>
        inDatabase(async (db) => {
          const expected = new Map<string, string>()
          const issued: unknown[] = []
          for (let i = 0; i < 300; i++) {
            const key = `k${(i * 7) % 25}`
            issued.push(db.write(put(key, `v${i}`), { sync: i % 3 === 0 }))
            expected.set(key, `v${i}`)
            if (i % 90 === 50) issued.push(wal ? db.flush() : db.seal(bytes(`${i}`)))
            if (i % 100 === 70) {
              issued.push(db.excise(bytes('k1'), bytes('k2'), wal ? undefined : bytes(`${i}`)))
              for (const other of [...expected.keys()]) if (other >= 'k1' && other < 'k2') expected.delete(other)
            }
          }
          await Promise.all(issued)
          expect(await scan(db)).toEqual(recordsOf(expected))
        }))

      it('drops tombstones and overwritten values at the base level, and only there', () =>
        inDatabase(async (db) => {
          for (let round = 0; round < 3; round++) {
            for (let i = 0; i < 200; i++) await db.write(put(`k${i}`, `${round}${'x'.repeat(40)}`))
            await drained(db, wal, `${round}`)
          }
          const batch = new WriteBatch()
          for (let i = 0; i < 200; i++) if (i !== 77) batch.delete(bytes(`k${i}`))
          await db.write(batch)
          await drained(db, wal, 'deleted')
          expect(await scan(db)).toEqual([`k77=2${'x'.repeat(40)}`])
          await db.compactRange()
          await db.settle()
          expect(await scan(db)).toEqual([`k77=2${'x'.repeat(40)}`])
          const { levels } = db.stats()
          expect(levels.reduce((sum, level) => sum + level.tables, 0)).toBe(1)
        }))

      it('survives a close and an open, as often as one likes', () =>
        runIn(async (environment) => {
          for (let round = 0; round < 5; round++) {
            const db = await openDatabase(environment, { wal })
            expect((await scan(db)).length).toBe(round * 50)
            for (let i = 0; i < 50; i++) await db.write(put(`${round}-${String(i).padStart(2, '0')}`, 'v'.repeat(30)))
            if (!wal) await db.seal(bytes(String(round)))
            await db.close()
          }
          const db = await openDatabase(environment, { wal })
          if (!wal) expect(text(db.durableMark ?? new Uint8Array(0))).toBe('4')
          await db.settle()
          const manifests = (await environment.fileSystem.list(`${environment.folder}/db`)).filter((file) => file.startsWith('MANIFEST'))
          expect(manifests).toHaveLength(1)
          await db.close()
        }))

      it('removes files that nothing refers to at open, and leaves those alone that are not its own', () =>
        runIn(async (environment) => {
          const { fileSystem, folder } = environment
          const db = await openDatabase(environment, { wal })
          await db.write(put('a', '1'))
          await drained(db, wal)
          await db.close()
          for (const file of ['999990.sst', 'MANIFEST-999991', 'CURRENT.tmp', 'notes.txt']) {
            await (await fileSystem.open(`${folder}/db/${file}`, 'create')).close()
          }
          const again = await openDatabase(environment, { wal })
          const files = await fileSystem.list(`${folder}/db`)
          expect(files.filter((file) => /999990|999991|tmp|notes/.test(file))).toEqual(['notes.txt'])
          expect(await getText(again, 'a')).toBe('1')
          await again.write(put('b', '2'))
          await drained(again, wal)
          // Numbers of orphans are not used again.
          expect((await fileSystem.list(`${folder}/db`)).some((file) => file.endsWith('.sst') && file > '999991')).toBe(true)
          await again.close()
        }))

      it('unlinks the inputs of a compaction once no reader uses them', () =>
        inDatabase(async (db, { fileSystem, folder }) => {
          const tables = async () => (await fileSystem.list(`${folder}/db`)).filter((file) => file.endsWith('.sst'))
          await db.write(put('a', '1', 'b', '1'))
          await drained(db, wal)
          const before = await tables()
          const snapshot = db.snapshot()
          await db.write(put('a', '2', 'b', '2'))
          await drained(db, wal)
          await db.compactRange()
          await db.settle()
          expect(await tables()).toEqual(expect.arrayContaining(before))
          expect(await getText(db, 'a', snapshot)).toBe('1')
          snapshot.release()
          await db.settle()
          const after = await tables()
          expect(after).toHaveLength(1)
          expect(before).not.toContain(after[0])
        }))

      it('ends tables at a boundary of keys once they have a quarter of their size', () =>
        inDatabase(
          async (db, { folder }) => {
            for (const shard of ['a', 'b', 'c', 'd']) {
              for (let i = 0; i < 20; i++) await db.write(put(`${shard}${String(i).padStart(3, '0')}`, 'x'.repeat(shard === 'b' ? 2 : 80)))
            }
            await drained(db, wal)
            await db.write(put('a000', 'y', 'd019', 'y'))
            await drained(db, wal)
            await db.compactRange()
            await db.settle()
            const { files } = await db.checkpoint(`${folder}/copy`)
            const tables = files
              .flatMap((file) => file.parts)
              .map((part) => `${text(part.lower).slice(0, 1)}-${text(part.upper).slice(0, 1)}`)
            // b is too small for a table of its own and shares one with c.
            expect(tables.sort()).toEqual(['a-a', 'b-c', 'd-d'])
          },
          { boundaryOf: { prefixBytes: 1 }, targetTableBytes: 4096, memtableBytes: 65536 },
        ))

      it('makes a checkpoint that is a database of its own', () =>
        inDatabase(async (db, environment) => {
          for (let i = 0; i < 300; i++) await db.write(put(`k${i}`, `v${i}`))
          if (!wal) await db.seal(bytes('mark'))
          const before = await scan(db)
          const folder = `${environment.folder}/copy`
          const { files, mark } = await db.checkpoint(folder)
          expect(mark && text(mark)).toBe(wal ? undefined : 'mark')
          expect(files.map((file) => file.name).sort()).toEqual(await environment.fileSystem.list(folder))
          await db.write(put('later', 'x'))
          await db.excise(undefined, undefined, wal ? undefined : bytes('gone'))
          const copy = await openDatabase(environment, { wal, folder })
          expect(await scan(copy)).toEqual(before)
          expect(copy.durableMark && text(copy.durableMark)).toBe(wal ? undefined : 'mark')
          await copy.write(put('own', 'x'))
          expect(await scan(db)).toEqual([])
          await copy.close()
          await expect(db.checkpoint(folder)).rejects.toThrow('not empty')
        }))

      it('refuses absurd keys, options and ranges', () =>
        inDatabase(async (db, environment) => {
          expect(() => new WriteBatch().put(new Uint8Array(65537), bytes('x'))).toThrow(RangeError)
          expect(() => new WriteBatch().delete(new Uint8Array(65537))).toThrow(RangeError)
          await expect(openDatabase(environment, { memtableBytes: 5 })).rejects.toThrow('memtableBytes')
          await expect(openDatabase(environment, { levelFactor: 2.5 })).rejects.toThrow('levelFactor')
          await expect(openDatabase(environment, { boundaryOf: { prefixBytes: 0 } })).rejects.toThrow('boundaryOf.prefixBytes')
          await expect(openDatabase(environment, { level0StopTrigger: 8 })).rejects.toThrow('level0StopTrigger')
          expect(await scan(db, 'b', 'a')).toEqual([])
          await db.write(put('a', '1'))
          await db.excise(bytes('b'), bytes('a'), wal ? undefined : bytes('1'))
          expect(await getText(db, 'a')).toBe('1')
        }))

      it('takes no more after close, and close may be called again', () =>
        runIn(async (environment) => {
          const db = await openDatabase(environment, { wal })
          await db.close()
          await db.close()
          await expect((async () => db.write(put('a', '1')))()).rejects.toThrow('closed')
          expect(() => db.get(bytes('a'))).toThrow('closed')
          await expect(db.flush()).rejects.toThrow('closed')
        }))

      it('answers from memory without a promise', () =>
        inDatabase(async (db) => {
          await db.write(put('a', '1'))
          expect(db.get(bytes('a'))).toBeInstanceOf(Uint8Array)
          await drained(db, wal)
          await db.get(bytes('a'))
          expect(db.get(bytes('a'))).toBeInstanceOf(Uint8Array)
          expect(db.getMany([bytes('a')])).toBeInstanceOf(Array)
          expect(db.get(bytes('zz'))).toBeUndefined()
          const iterator = db.iterate()
          expect(iterator.next()).toBe(true)
          expect(iterator.next()).toBe(false)
        }))

      if (!wal) describeSealing(inDatabase, runIn)
      describeIngest(wal, inDatabase)
    })
  }
}
