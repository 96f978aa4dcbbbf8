import { expect, it } from 'vitest'
import { type Database, type DatabaseOptions, MemtableBudget, WriteBatch, writeTable } from '../../lsm/index.ts'
import { type Environment, openDatabase } from './environment.ts'
import { bytes, drain, getText, scan, text } from './model.ts'

export type RunIn = (test: (environment: Environment) => Promise<void>) => Promise<void>

export type InDatabase = (test: (db: Database, environment: Environment) => Promise<void>, more?: Partial<DatabaseOptions>) => Promise<void>

export function put(...pairs: string[]): WriteBatch {
  const batch = new WriteBatch()
  for (let i = 0; i < pairs.length; i += 2) batch.put(bytes(pairs[i] as string), bytes(pairs[i + 1] as string))
  return batch
}

export function remove(...keys: string[]): WriteBatch {
  const batch = new WriteBatch()
  for (const key of keys) batch.delete(bytes(key))
  return batch
}

/** Everything in tables and nothing more to do. */
export async function drained(db: Database, wal: boolean, mark = 'm'): Promise<void> {
  await (wal ? db.flush() : db.seal(bytes(mark)))
  await db.settle()
}

/** The part of the contract about the ordered queue, without a WAL. */
export function describeSealing(inDatabase: InDatabase, runIn: RunIn): void {
  it('writes at once, and has nothing durable before a seal', () =>
    runIn(async (environment) => {
      const db = await openDatabase(environment, { wal: false })
      expect(db.write(put('a', '1'))).toBeUndefined()
      expect(db.get(bytes('a'))).toBeInstanceOf(Uint8Array)
      const sealed = db.seal(bytes('one'))
      db.write(put('a', '2', 'b', '2'))
      expect(await getText(db, 'a')).toBe('2')
      await sealed
      expect(text(db.durableMark ?? new Uint8Array(0))).toBe('one')
      await db.close()
      const again = await openDatabase(environment, { wal: false })
      expect(await scan(again)).toEqual(['a=1'])
      await again.close()
    }))

  it('makes marks durable strictly in order, also where nothing was written', () =>
    inDatabase(async (db) => {
      const order: string[] = []
      const sealed: Promise<void>[] = []
      for (const mark of ['1', '2', '3', '4', '5']) {
        if (mark !== '3') db.write(put(`k${mark}`, mark))
        sealed.push(
          db.seal(bytes(mark)).then(() => {
            order.push(mark)
            expect(text(db.durableMark ?? new Uint8Array(0)) >= mark).toBe(true)
          }),
        )
      }
      expect(db.stats().immutableMemtables).toBe(4)
      await Promise.all(sealed)
      await db.settle()
      expect(order).toEqual(['1', '2', '3', '4', '5'])
    }))

  it('slows writers smoothly while two full memtables wait, and ever more where they write on', () =>
    inDatabase(
      async (db) => {
        const delays: number[] = []
        for (let memtable = 0; memtable < 12; memtable++) {
          for (let i = 0; !db.wantsSeal; i++) {
            db.write(put(`key${i}`, 'x'.repeat(30)))
            delays.push(db.writeDelayMs)
          }
          // The last is left open.
          if (memtable < 11) db.seal(bytes(String(memtable))).catch(() => undefined)
        }
        const perMemtable = delays.length / 12
        expect(Math.max(...delays.slice(0, Math.floor(1.9 * perMemtable)))).toBe(0)
        const atThree = delays[Math.ceil(3 * perMemtable)] as number
        expect(atThree).toBeGreaterThan(30)
        expect(atThree).toBeLessThan(80)
        for (let i = 1; i < delays.length; i++) expect((delays[i] as number) - (delays[i - 1] as number)).toBeLessThan(50)
        expect(delays.at(-1)).toBe(1000)
        await db.settle()
        expect(db.writeDelayMs).toBe(0)
      },
      { memtableBytes: 32_768 },
    ))

  it('shares a budget with other databases', () =>
    runIn(async (environment) => {
      const memtableBudget = new MemtableBudget(16_384)
      const open = (name: string) =>
        openDatabase({ ...environment, folder: `${environment.folder}/${name}` }, { wal: false, memtableBudget })
      const busy = await open('busy')
      const quiet = await open('quiet')
      const fill = (db: Database, bytesMax: number) => {
        for (let i = 0; !db.wantsSeal && db.stats().memtableBytes < bytesMax; i++) db.write(put(`key${i}`, 'x'.repeat(100)))
      }
      fill(quiet, 4096)
      fill(busy, 100_000)
      expect(busy.wantsSeal).toBe(true)
      expect(busy.stats().memtableBytes).toBeGreaterThan(8192)
      expect(busy.stats().memtableBytes + quiet.stats().memtableBytes).toBeLessThan(20_000)
      await quiet.close()
      expect(busy.wantsSeal).toBe(false)
      await busy.close()
    }))

  it('wants a seal when the memtable is over its budget, and takes more until then', () =>
    inDatabase(async (db) => {
      let count = 0
      for (; !db.wantsSeal; count++) db.write(put(`key${count}`, 'x'.repeat(100)))
      expect(count).toBeGreaterThan(10)
      db.write(put('last', 'x'.repeat(20_000)))
      await db.seal(bytes('m'))
      expect(db.wantsSeal).toBe(false)
      expect((await scan(db)).length).toBe(count + 1)
    }))

  it('shows an ingest and an excise before they are durable', () =>
    inDatabase(async (db, { fileSystem, folder }) => {
      db.write(put('a', '1', 'b', '1', 'c', '1'))
      await writeTable(fileSystem, `${folder}/x.sst`, [
        { key: bytes('b'), value: bytes('2') },
        { key: bytes('bb'), value: bytes('2') },
      ])
      const prepared = await db.prepareIngest([{ path: `${folder}/x.sst` }])
      const excised = db.excise(bytes('a'), bytes('b\u0001'), bytes('1'))
      expect([db.get(bytes('a')), db.get(bytes('b'))]).toEqual([undefined, undefined])
      const ingested = db.ingest(prepared, bytes('2'))
      db.write(put('bb', '3'))
      expect(db.get(bytes('bb'))).toEqual(bytes('3'))
      expect(await getText(db, 'b')).toBe('2')
      expect(await scan(db)).toEqual(['b=2', 'bb=3', 'c=1'])
      expect(await scan(db, undefined, undefined, true)).toEqual(['c=1', 'bb=3', 'b=2'])
      await Promise.all([excised, ingested])
      await db.settle()
      expect(await scan(db)).toEqual(['b=2', 'bb=3', 'c=1'])
    }))

  it('lets reads wait for files that are still being opened', () =>
    inDatabase(async (db, { fileSystem, folder }) => {
      await writeTable(fileSystem, `${folder}/x.sst`, [{ key: bytes('b'), value: bytes('2') }])
      const ingested = db.ingest([{ path: `${folder}/x.sst` }], bytes('1'))
      const value = db.get(bytes('b'))
      const iterator = db.iterate()
      db.write(put('b', '3'))
      expect(await value).toEqual(bytes('2'))
      expect(await drain(iterator)).toEqual(['b=2'])
      expect(await getText(db, 'b')).toBe('3')
      await ingested
    }))

  it('fails for good over an ingest of a damaged file', () =>
    runIn(async (environment) => {
      const { fileSystem, folder } = environment
      let failure: Error | undefined
      const db = await openDatabase(environment, { wal: false, onFailure: (error) => (failure = error) })
      db.write(put('a', '1'))
      await db.seal(bytes('1'))
      const file = await fileSystem.open(`${folder}/bad.sst`, 'create')
      await file.write([new Uint8Array(500)], 0)
      await file.close()
      db.write(put('b', '1'))
      await expect(db.ingest([{ path: `${folder}/bad.sst` }], bytes('2'))).rejects.toThrow('bad.sst at offset 436, footer: no table footer')
      expect(db.failed).toBe(failure)
      expect(failure?.name).toBe('CorruptionError')
      expect(() => db.write(put('c', '1'))).toThrow(failure)
      await expect(db.seal(bytes('3'))).rejects.toThrow(failure)
      await db.close()
      const again = await openDatabase(environment, { wal: false })
      expect(await scan(again)).toEqual(['a=1'])
      await again.close()
    }))
}

/** The part of the contract about files that come in. */
export function describeIngest(wal: boolean, inDatabase: InDatabase): void {
  const mark = (name: string) => (wal ? undefined : bytes(name))

  it('puts foreign tables over what is there, as deep as they fit', () =>
    inDatabase(async (db, { fileSystem, folder }) => {
      await db.write(put('b', '1', 'm', '1'))
      await writeTable(fileSystem, `${folder}/x.sst`, [{ key: bytes('a'), value: bytes('2') }])
      await writeTable(fileSystem, `${folder}/y.sst`, [
        { key: bytes('b'), value: undefined },
        { key: bytes('n'), value: bytes('2') },
      ])
      await db.ingest([{ path: `${folder}/y.sst` }, { path: `${folder}/x.sst` }], mark('1'))
      expect(await scan(db)).toEqual(['a=2', 'm=1', 'n=2'])
      expect(db.stats().levels[6]?.tables).toBe(1)
      await db.write(put('b', '3'))
      expect(await scan(db)).toEqual(['a=2', 'b=3', 'm=1', 'n=2'])
      await drained(db, wal)
      await db.compactRange()
      expect(await scan(db)).toEqual(['a=2', 'b=3', 'm=1', 'n=2'])
      // The files that came in stay where they are.
      expect(await fileSystem.exists(`${folder}/x.sst`)).toBe(true)
    }))

  it('puts foreign tables that overlap one another in the order given, the last above all', () =>
    inDatabase(async (db, { fileSystem, folder }) => {
      await db.write(put('b', '0', 'd', '0'))
      const files: { path: string }[] = []
      for (const [i, keys] of ['abc', 'b', 'cd'].entries()) {
        const path = `${folder}/${i}.sst`
        const entries = [...keys].map((key) => ({ key: bytes(key), value: key === 'd' ? undefined : bytes(`${i + 1}`) }))
        await writeTable(fileSystem, path, entries)
        files.push({ path })
      }
      await db.ingest(files, mark('1'))
      expect(await scan(db)).toEqual(['a=1', 'b=2', 'c=3'])
      await db.write(put('c', '4'))
      await drained(db, wal)
      await db.compactRange()
      expect(await scan(db)).toEqual(['a=1', 'b=2', 'c=4'])
    }))

  it('refuses files that overlap one another, and levels that are none', () =>
    inDatabase(async (db, { fileSystem, folder }) => {
      await writeTable(fileSystem, `${folder}/x.sst`, [{ key: bytes('a'), value: bytes('2') }])
      const file = { path: `${folder}/x.sst` }
      await expect(
        db.prepareIngest([
          { ...file, level: 1 },
          { ...file, level: 1 },
        ]),
      ).rejects.toThrow('overlap')
      await expect(db.prepareIngest([{ ...file, level: 1 }, file])).rejects.toThrow('overlap')
      await expect(db.prepareIngest([{ ...file, level: 7 }])).rejects.toThrow('no level 7')
      await expect(db.prepareIngest([{ path: `${folder}/none.sst` }])).rejects.toThrow('ENOENT')
      await expect(writeTable(fileSystem, `${folder}/y.sst`, [])).rejects.toThrow(RangeError)
      const twice = { key: bytes('a'), value: bytes('2') }
      await expect(writeTable(fileSystem, `${folder}/y.sst`, [twice, twice])).rejects.toThrow(RangeError)
      expect(await fileSystem.exists(`${folder}/y.sst`)).toBe(false)
      const prepared = await db.prepareIngest([file])
      await db.discardIngest(prepared)
      expect(await scan(db)).toEqual([])
    }))

  it('takes the tables of a checkpoint at their levels, clipped, into an excised span', () =>
    inDatabase(async (db, environment) => {
      for (let i = 0; i < 400; i++) await db.write(put(`k${String((i * 37) % 400).padStart(3, '0')}`, `old${i}${'.'.repeat(30)}`))
      if (!wal) await db.seal(bytes('1'))
      const before = await scan(db)
      const folder = `${environment.folder}/copy`
      const { files } = await db.checkpoint(folder)
      const batch = new WriteBatch()
      for (let i = 0; i < 400; i++) batch.put(bytes(`k${String(i).padStart(3, '0')}`), bytes('new'))
      await db.write(batch)
      const [lower, upper] = [bytes('k100'), bytes('k200')]
      const parts = files.flatMap(({ name, parts }) => parts.map(({ level }) => ({ path: `${folder}/${name}`, level, lower, upper })))
      await db.ingest(parts, mark('2'), { excise: [{ lower, upper }] })
      const expected = before.map((record, i) => (i >= 100 && i < 200 ? record : `k${String(i).padStart(3, '0')}=new`))
      expect(await scan(db)).toEqual(expected)
      expect(await scan(db, undefined, undefined, true)).toEqual([...expected].reverse())
      await drained(db, wal)
      await db.compactRange()
      expect(await scan(db)).toEqual(expected)
    }))
}
