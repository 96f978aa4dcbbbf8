import { describe, expect, it } from 'vitest'
import type { File, FileSystem } from '../../base/file-system.ts'
import { InlineExecutor } from '../../base/inline-executor.ts'
import { BlockCache, type Database, lsmJobs, TableFiles, WriteBatch } from '../../lsm/index.ts'
import { type Environment, onNode, onSimulator, openDatabase } from './environment.ts'
import { bytes, getText, scan, text } from './model.ts'
import { override } from './override.ts'

const quiet = { level0CompactionTrigger: 1000, level0SlowdownTrigger: 999, level0StopTrigger: 1000 } as const

/** Counts the tables that are open for reading. */
class OpenWatch {
  readonly fileSystem: FileSystem
  now = 0
  most = 0

  constructor(inner: FileSystem) {
    const counted = (file: File): File => {
      this.most = Math.max(this.most, ++this.now)
      let isOpen = true
      return override(file, {
        close: async () => {
          if (isOpen) this.now--
          isOpen = false
          await file.close()
        },
      })
    }
    this.fileSystem = override(inner, {
      open: async (path, mode) => {
        const file = await inner.open(path, mode)
        return mode === 'read' && path.endsWith('.sst') ? counted(file) : file
      },
      openSync: (path) => counted(inner.openSync(path)),
    })
  }
}

/** So many tables in level 0, a key in each. */
async function fill(db: Database, tables: number): Promise<void> {
  for (let i = 0; i < tables; i++) {
    await db.write(new WriteBatch().put(bytes(`k${i}`), bytes(`v${i}`)))
    await db.flush()
  }
}

describe.each([
  ['the simulator', onSimulator],
  ['the real file system', onNode],
])('open tables, on %s', (_, run) => {
  const withWatch = (test: (watch: OpenWatch, environment: Environment) => Promise<void>) =>
    run(async (environment) => {
      const watch = new OpenWatch(environment.fileSystem)
      const executor = new InlineExecutor(lsmJobs, { fileSystem: watch.fileSystem, clock: environment.clock })
      await test(watch, { ...environment, fileSystem: watch.fileSystem, executor })
      await executor.close()
      expect(watch.now).toBe(0)
    })

  it('are no more than the limit, whatever reads them, one after the other', () =>
    withWatch(async (watch, environment) => {
      const options = { ...quiet, blockCache: new BlockCache(0), tableFiles: new TableFiles(3) }
      const db = await openDatabase(environment, options)
      await fill(db, 12)
      for (let round = 0; round < 3; round++) {
        for (let i = 0; i < 12; i++) {
          expect(await getText(db, `k${i}`)).toBe(`v${i}`)
          const found = db.getSync(bytes(`k${(5 * i) % 12}`))
          expect(found && text(found)).toBe(`v${(5 * i) % 12}`)
        }
      }
      expect(db.stats().openTables).toBe(3)
      // One is opened before the other is closed, which takes its time.
      expect(watch.most).toBeLessThanOrEqual(5)
      await db.close()
    }))

  it('are all closed by close, also where each refuses; it tells of the first', () =>
    run(async (environment) => {
      const { fileSystem } = environment
      const closed: string[] = []
      const open: FileSystem['open'] = async (path, mode) => {
        const file = await fileSystem.open(path, mode)
        if (mode !== 'read' || !path.endsWith('.sst')) return file
        const close = async () => {
          await file.close()
          closed.push(path)
          throw new Error(`${path} does not close`)
        }
        return override(file, { close })
      }
      const db = await openDatabase({ ...environment, fileSystem: override(fileSystem, { open }) }, quiet)
      await fill(db, 3)
      for (let i = 0; i < 3; i++) expect(await getText(db, `k${i}`)).toBe(`v${i}`)
      await expect(db.close()).rejects.toThrow(/sst does not close/)
      expect(new Set(closed).size).toBe(3)
      expect(db.stats().openTables).toBe(0)
    }))

  it('are as many as are read at once, and then no more than the limit again', () =>
    withWatch(async (watch, environment) => {
      const options = { ...quiet, blockCache: new BlockCache(0), tableFiles: new TableFiles(1) }
      const db = await openDatabase(environment, options)
      await fill(db, 12)
      for (let round = 0; round < 5; round++) {
        const keys = Array.from({ length: 12 }, (__, i) => i)
        const values = await Promise.all(keys.map((i) => getText(db, `k${i}`)))
        expect(values).toEqual(keys.map((i) => `v${i}`))
        await Promise.all([scan(db), scan(db, undefined, undefined, true)])
      }
      expect(await getText(db, 'k3')).toBe('v3')
      await db.settle()
      expect(db.stats().openTables).toBe(1)
      expect(watch.most).toBeGreaterThan(1)
      await db.close()
    }))

  it('are shared by databases', () =>
    withWatch(async (watch, environment) => {
      const tableFiles = new TableFiles(4)
      const folders = ['one', 'two', 'three']
      const databases = await Promise.all(
        folders.map((name) => openDatabase(environment, { ...quiet, folder: `${environment.folder}/${name}`, tableFiles })),
      )
      for (const db of databases) await fill(db, 4)
      for (const db of databases) for (let i = 0; i < 4; i++) expect(await getText(db, `k${i}`)).toBe(`v${i}`)
      expect(tableFiles.count).toBe(4)
      expect(watch.now).toBe(4)
      const [first, ...others] = databases
      await first?.close()
      for (const db of others) expect((await scan(db)).length).toBe(4)
      for (const db of others) await db.close()
      expect(tableFiles.count).toBe(0)
    }))

  it('of a compaction are two for each of its runs, not all that it reads', () =>
    withWatch(async (watch, environment) => {
      const options = { targetTableBytes: 1024, tableFiles: new TableFiles(1), level1Bytes: 2 ** 30 }
      const db = await openDatabase(environment, options)
      const batch = new WriteBatch()
      for (let i = 0; i < 1000; i++) batch.put(bytes(`key${1000 + i}`), bytes('v'.repeat(50)))
      for (let round = 0; round < 2; round++) {
        await db.write(batch)
        await db.flush()
      }
      await db.compactRange()
      await db.settle()
      expect(db.stats().levels[1]?.tables).toBeGreaterThan(40)
      await db.write(batch)
      await db.flush()
      watch.most = 0
      await db.compactRange()
      expect(watch.most).toBeLessThanOrEqual(4)
      expect((await scan(db)).length).toBe(1000)
      await db.close()
    }))
})

it('a limit that cannot be is refused', () => {
  for (const limit of [0, -1, 1.5, 1_000_001, Number.NaN]) expect(() => new TableFiles(limit)).toThrow(RangeError)
})
