import { describe, expect, it } from 'vitest'
import { DiskSpace } from '../../../base/disk-space.ts'
import { CorruptionError, DiskError } from '../../../base/errors.ts'
import { SeededRandom } from '../../../base/random.ts'
import { BlockCache, type Database, type DatabaseOptions, type Snapshot, WriteBatch, writeTable } from '../../../lsm/index.ts'
import type { SimDisk } from '../../sim/sim-disk.ts'
import type { SimProcess } from '../../sim/sim-process.ts'
import { environmentOf, onSimulator, openDatabase, simulate } from '../environment.ts'
import { bytes, getText, type Model, recordsOf, scan, text } from '../model.ts'
import { modelAfter, Performer, randomOperation } from '../random-operations.ts'

/** Nothing is flushed or compacted but what a test asks for. */
const quiet = {
  memtableBytes: 1024 * 1024,
  targetTableBytes: 1024 * 1024,
  level0CompactionTrigger: 100,
  level0SlowdownTrigger: 999,
  level0StopTrigger: 1000,
} as const

/** A process with a disk, and what each step of a test needs of it. */
class Bench {
  readonly disk: SimDisk
  process: SimProcess
  readonly #world: ReturnType<typeof simulate>['world']

  constructor(seed = 1) {
    const { world, process, disk } = simulate(seed)
    this.#world = world
    this.process = process
    this.disk = disk
  }

  within<T>(promise: Promise<T>): Promise<T> {
    return this.#world.settle(promise, 1_000_000)
  }

  open(options: Partial<DatabaseOptions> = {}): Promise<Database> {
    return this.within(openDatabase(environmentOf(this.process), { ...quiet, ...options }))
  }

  /** The next process on the same disk. */
  restart(how: 'kill' | 'powerLoss' = 'kill'): void {
    this.process[how]()
    this.process = this.process.restart()
  }

  write(db: Database, ...pairs: string[]): Promise<void> {
    const batch = new WriteBatch()
    for (let i = 0; i < pairs.length; i += 2) batch.put(bytes(pairs[i] as string), bytes(pairs[i + 1] as string))
    return this.within((async () => db.write(batch))())
  }

  scan(db: Database): Promise<string[]> {
    return this.within(scan(db))
  }

  get(db: Database, key: string): Promise<string | undefined> {
    return this.within(getText(db, key))
  }

  files(pattern: RegExp): string[] {
    return this.disk.paths().filter((path) => pattern.test(path))
  }
}

describe('a database whose disk fails', () => {
  it('takes no more writes after one sync that failed, though the disk is well again; what was acknowledged is found', async () => {
    const bench = new Bench()
    const db = await bench.open()
    await bench.write(db, 'a', '1')
    bench.disk.failNext('sync', 'EIO')
    await expect(bench.write(db, 'b', '1')).rejects.toThrow(DiskError)
    for (let i = 0; i < 3; i++) await expect(bench.write(db, 'c', '1')).rejects.toBe(db.failed)
    expect(await bench.get(db, 'a')).toBe('1')
    bench.restart('powerLoss')
    const records = await bench.scan(await bench.open())
    expect(records[0]).toBe('a=1')
    expect(records).not.toContain('c=1')
  })

  it('unlinks no table when the sync of the manifest that names it failed', async () => {
    const bench = new Bench()
    const db = await bench.open()
    await bench.write(db, 'a', '1')
    bench.disk.inject = ({ kind, path }) => (kind === 'sync' && path.includes('MANIFEST') ? 'EIO' : undefined)
    await expect(bench.within(db.flush())).rejects.toThrow(DiskError)
    bench.disk.inject = undefined
    await bench.within(db.close())
    expect(bench.files(/\.sst$/)).toHaveLength(1)
    bench.restart()
    expect(await bench.scan(await bench.open())).toEqual(['a=1'])
  })

  it('tells of a last sync that failed where it is closed', async () => {
    const bench = new Bench()
    let failure: Error | undefined
    const db = await bench.open({ onFailure: (error) => (failure = error) })
    await bench.write(db, 'a', '1')
    await bench.within((async () => db.write(new WriteBatch().put(bytes('b'), bytes('1')), { sync: false }))())
    bench.disk.failNext('sync', 'EIO')
    await bench.within(db.close())
    expect(failure).toBeInstanceOf(DiskError)
    bench.restart('powerLoss')
    expect((await bench.scan(await bench.open()))[0]).toBe('a=1')
  })

  it.each(['log that was ended', 'table that was written'])(
    'takes no more writes once a %s could not be closed; what was acknowledged is found',
    async (which) => {
      const bench = new Bench()
      const db = await bench.open()
      await bench.write(db, 'a', '1')
      const ending = which.startsWith('log') ? '.log' : '.sst'
      bench.disk.inject = ({ kind, path }) => (kind === 'close' && path.endsWith(ending) ? 'EIO' : undefined)
      // The log is closed beside it.
      await bench.within(db.flush().catch(() => undefined))
      await expect(bench.write(db, 'b', '1')).rejects.toThrow('EIO')
      bench.disk.inject = undefined
      await expect(bench.write(db, 'c', '1')).rejects.toBe(db.failed)
      expect(await bench.get(db, 'a')).toBe('1')
      await bench.within(db.close())
      bench.restart('powerLoss')
      const records = await bench.scan(await bench.open())
      expect(records[0]).toBe('a=1')
      expect(records).not.toContain('c=1')
    },
  )

  it('tells of a log that could not be closed where it is closed itself', async () => {
    const bench = new Bench()
    const db = await bench.open()
    await bench.write(db, 'a', '1')
    bench.disk.inject = ({ kind, path }) => (kind === 'close' && path.endsWith('.log') ? 'EIO' : undefined)
    await expect(bench.within(db.close())).rejects.toThrow('EIO')
    bench.disk.inject = undefined
    bench.restart('powerLoss')
    expect(await bench.scan(await bench.open())).toEqual(['a=1'])
  })

  it('reads again what it could not open for the limit of open files', async () => {
    const bench = new Bench()
    const db = await bench.open()
    await bench.write(db, 'a', '1')
    await bench.within(db.flush())
    bench.disk.inject = ({ kind }) => (kind === 'open' ? 'EMFILE' : undefined)
    await expect(bench.get(db, 'a')).rejects.toThrow('EMFILE')
    await expect(bench.scan(db)).rejects.toThrow('EMFILE')
    bench.disk.inject = undefined
    expect(await bench.get(db, 'a')).toBe('1')
    expect(await bench.scan(db)).toEqual(['a=1'])
    expect(db.failed).toBeUndefined()
    await bench.within(db.close())
  })
})

describe('a compaction', () => {
  it('that meets damage fails the database, and leaves its inputs: mended, all is there', async () => {
    const bench = new Bench()
    const db = await bench.open()
    await bench.write(db, 'a', '1', 'b', '1')
    await bench.within(db.flush())
    await bench.write(db, 'b', '2', 'c', '2')
    await bench.within(db.flush())
    const [damaged] = bench.files(/\.sst$/) as [string]
    bench.disk.flip(damaged, 3)
    await expect(bench.within(db.compactRange())).rejects.toThrow(CorruptionError)
    expect(db.failed).toBeInstanceOf(CorruptionError)
    await expect(bench.write(db, 'd', '1')).rejects.toBe(db.failed)
    expect(await bench.get(db, 'c')).toBe('2')
    await bench.within(db.close())
    bench.disk.flip(damaged, 3)
    bench.restart()
    expect(await bench.scan(await bench.open())).toEqual(['a=1', 'b=2', 'c=2'])
  })

  it('leaves keys alone that are in no damaged table: they are read, written, flushed', async () => {
    const bench = new Bench()
    const db = await bench.open()
    await bench.write(db, 'a', '1', 'b', '1')
    await bench.within(db.flush())
    bench.disk.flip(bench.files(/\.sst$/)[0] as string, 3)
    await expect(bench.get(db, 'a')).rejects.toThrow(CorruptionError)
    await bench.write(db, 'x', '1')
    await bench.within(db.flush())
    expect(await bench.get(db, 'x')).toBe('1')
    expect(db.failed).toBeUndefined()
    await bench.within(db.close())
  })

  it('of a range that finds no room is refused, and the database goes on, where it waits for room; it leaves no files behind', async () => {
    const bench = new Bench()
    const { fileSystem, clock, logger } = bench.process
    const space = await bench.within(DiskSpace.open({ fileSystem, clock, logger, folder: 'data', reserveBytes: 0, lowBytes: 0 }))
    const db = await bench.open({ space, wal: false })
    for (const round of ['1', '2']) {
      for (let i = 0; i < 20; i++) db.write(new WriteBatch().put(bytes(`key${i}`), bytes(round.repeat(100))))
      await bench.within(db.seal(bytes(round)))
    }
    const before = bench.files(/\.sst$/)
    const records = await bench.scan(db)
    bench.disk.quotaBytes = bench.disk.usedBytes() + 1000
    for (let i = 0; i < 3; i++) await expect(bench.within(db.compactRange())).rejects.toThrow('ENOSPC')
    expect(db.failed).toBeUndefined()
    expect(bench.files(/\.sst$/)).toEqual(before)
    expect(await bench.scan(db)).toEqual(records)
    bench.disk.quotaBytes = Number.POSITIVE_INFINITY
    await bench.within(db.compactRange())
    expect(db.stats().levels.reduce((sum, { tables }) => sum + tables, 0)).toBe(1)
    expect(await bench.scan(db)).toEqual(records)
    await bench.within(db.close())
    await bench.within(space.close())
  })
})

describe('recovery', () => {
  it('makes several tables of a log that is larger than the memtable may be', async () => {
    const bench = new Bench()
    const db = await bench.open()
    for (let i = 0; i < 200; i++) await bench.write(db, `key${i % 70}`, `${i}${'.'.repeat(100)}`)
    const records = await bench.scan(db)
    bench.restart()
    const again = await bench.open({ memtableBytes: 4096 })
    expect(again.stats().levels[0]?.tables).toBeGreaterThan(3)
    expect(await bench.scan(again)).toEqual(records)
  })

  it('does not read a log again that is back though its table is in the manifest', async () => {
    const bench = new Bench()
    const db = await bench.open()
    await bench.write(db, 'a', 'old')
    const [log] = bench.files(/\.log$/) as [string]
    const content = bench.disk.bytesOf(log)
    await bench.within(db.flush())
    await bench.write(db, 'a', 'new')
    await bench.within(db.flush())
    await bench.within(db.excise(bytes('b'), bytes('c')))
    bench.restart()
    bench.disk.openFile(log, 'create').write(content, 0)
    expect(await bench.scan(await bench.open())).toEqual(['a=new'])
    expect(bench.files(/\.log$/)).not.toContain(log)
  })

  it('lets later writes win over all earlier ones, from the log, from tables and from files that came in', async () => {
    const bench = new Bench()
    for (let round = 0; round < 6; round++) {
      const db = await bench.open()
      if (round > 0) expect(await bench.get(db, 'a')).toBe(`${round - 1} last`)
      await bench.write(db, 'a', `${round} first`)
      if (round % 3 === 1) await bench.within(db.flush())
      if (round % 2 === 1) {
        const path = `data/in${round}`
        await bench.within(writeTable(bench.process.fileSystem, path, [{ key: bytes('a'), value: bytes(`${round} in`) }]))
        await bench.within(db.ingest([{ path }]))
        expect(await bench.get(db, 'a')).toBe(`${round} in`)
      }
      await bench.write(db, 'a', `${round} last`)
      expect(await bench.get(db, 'a')).toBe(`${round} last`)
      bench.restart('powerLoss')
    }
  })

  it('finds the marks whole where the power is lost at any operation while a manifest that has grown is begun anew', async () => {
    const mark = (i: number) => bytes(`${String(i).padStart(2, '0')}${'.'.repeat(100_000)}`)
    const marks = 14
    let rolled = 0
    for (let k = 1, isOver = false; !isOver; k++) {
      const bench = new Bench(k)
      const db = await bench.open({ wal: false })
      for (let i = 0; i < 10; i++) await bench.within(db.seal(mark(i)))
      const [before] = bench.files(/MANIFEST/) as [string]
      const target = bench.disk.operations + k
      bench.disk.inject = ({ index }) => (index === target ? 'crash' : undefined)
      let acknowledged = 9
      const seals = (async () => {
        for (let i = 10; i < marks; i++) {
          await db.seal(mark(i))
          acknowledged = i
        }
      })()
      let ended = false
      void seals.then(() => (ended = true))
      await bench.process.world.runUntil(() => ended || !bench.process.alive, 1_000_000)
      isOver = ended
      bench.disk.inject = undefined
      if (!bench.files(/MANIFEST/).includes(before)) rolled++
      bench.restart('powerLoss')
      const again = await bench.open({ wal: false })
      const found = Number(text((again.durableMark as Uint8Array).subarray(0, 2)))
      expect(found, `power loss at operation ${k}`).toBeGreaterThanOrEqual(acknowledged)
      expect(found).toBeLessThanOrEqual(acknowledged + 1)
      const manifests = bench.files(/MANIFEST/)
      expect(manifests).toHaveLength(1)
      expect(bench.disk.bytesOf(manifests[0] as string).length).toBeLessThan(250_000)
      await bench.within(again.close())
    }
    expect(rolled).toBeGreaterThan(0)
  })
})

describe('reads', () => {
  it('take one block each, and those of keys that are not there hardly any: the filter spares them', () =>
    onSimulator(async (environment) => {
      const count = 1000
      let reads = 0
      const { fileSystem } = environment
      const counting = new Proxy(fileSystem, {
        get: (target, name) => {
          if (name !== 'open') return Reflect.get(target, name).bind(target)
          return async (path: string, mode: 'read' | 'write' | 'create') => {
            const file = await target.open(path, mode)
            return {
              path,
              read: (buffer: Uint8Array, position: number) => file.read(buffer, position).finally(() => reads++),
              readNow: () => undefined,
              write: (chunks: readonly Uint8Array[], position: number) => file.write(chunks, position),
              sync: () => file.sync(),
              truncate: (length: number) => file.truncate(length),
              size: () => file.size(),
              close: () => file.close(),
            }
          }
        },
      })
      const db = await openDatabase({ ...environment, fileSystem: counting }, { ...quiet, wal: false, blockCache: new BlockCache(0) })
      for (let i = 0; i < count; i++) db.write(new WriteBatch().put(bytes(`key${i}`), bytes('v'.repeat(50))))
      await db.seal(bytes('1'))
      await getText(db, 'key1')
      reads = 0
      for (let i = 0; i < count; i++) expect(await getText(db, `key${i}`)).toBe('v'.repeat(50))
      expect(reads).toBeLessThanOrEqual(count * 1.02)
      reads = 0
      for (let i = 0; i < count; i++) expect(await getText(db, `key${i}.missing`)).toBeUndefined()
      expect(reads).toBeLessThanOrEqual(count * 0.03)
      await db.close()
    }))

  it('of a hundred snapshots each give their own moment, through random operations (seed 320)', () =>
    onSimulator(async (environment) => {
      const random = new SeededRandom(320)
      const performer = new Performer(await openDatabase(environment), environment, true)
      const snapshots: { snapshot: Snapshot; model: Model }[] = []
      let model: Model = new Map()
      for (let step = 1; step <= 400; step++) {
        const operation = randomOperation(random, step)
        await performer.perform(operation, step, model)
        model = modelAfter(model, operation, performer.checkpoint)
        if (step % 4 === 0) snapshots.push({ snapshot: performer.db.snapshot(), model })
      }
      expect(snapshots).toHaveLength(100)
      for (const { snapshot, model: old } of snapshots) {
        expect(await scan(performer.db, undefined, undefined, false, snapshot)).toEqual(recordsOf(old))
        snapshot.release()
      }
      await performer.db.settle()
      expect(await scan(performer.db)).toEqual(recordsOf(model))
      // Files that only snapshots held are gone.
      const tables = performer.db.stats().levels.reduce((sum, level) => sum + level.tables, 0)
      const files = (await environment.fileSystem.list(`${environment.folder}/db`)).filter((name) => name.endsWith('.sst'))
      expect(files.length).toBeLessThanOrEqual(tables)
      await performer.db.close()
    }))
})

it('a file that is ingested twice, with other writes between, hides those the second time', () =>
  onSimulator(async (environment) => {
    const db = await openDatabase(environment)
    const path = `${environment.folder}/in`
    await writeTable(environment.fileSystem, path, [{ key: bytes('a'), value: bytes('in') }])
    await db.ingest([{ path }])
    await db.write(new WriteBatch().put(bytes('a'), bytes('between')))
    expect(await getText(db, 'a')).toBe('between')
    await db.ingest([{ path }])
    expect(await scan(db)).toEqual(['a=in'])
    await db.compactRange()
    expect(await scan(db)).toEqual(['a=in'])
    await db.close()
  }))
