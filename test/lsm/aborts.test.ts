import { describe, expect, it } from 'vitest'
import { sleep } from '../../base/clock.ts'
import { WriteBatch, writeTable } from '../../lsm/index.ts'
import { onNode, onSimulator, openDatabase } from './environment.ts'
import { bytes, drain, scan, text } from './model.ts'
import { override } from './override.ts'

const reason = new Error('enough')

function fill(count: number): WriteBatch {
  const batch = new WriteBatch()
  for (let i = 0; i < count; i++) batch.put(bytes(`k${String(i).padStart(4, '0')}`), bytes('v'.repeat(50)))
  return batch
}

/** Aborted as soon as the caller has begun to wait. */
function soon(): AbortSignal {
  const controller = new AbortController()
  queueMicrotask(() => controller.abort(reason))
  return controller.signal
}

describe('an abort', () => {
  it('ends an iterator with its reason, between two records and while it reads, and lets go of files', () =>
    onSimulator(async (environment) => {
      const db = await openDatabase(environment)
      await db.write(fill(100))
      await db.flush()
      const controller = new AbortController()
      const iterator = db.iterate({ signal: controller.signal })
      expect(await iterator.next()).toBe(true)
      controller.abort(reason)
      expect(() => iterator.next()).toThrow(reason)
      await expect(drain(db.iterate({ signal: soon() }))).rejects.toBe(reason)
      const seen: string[] = []
      const loop = async () => {
        const inLoop = new AbortController()
        for await (const { key } of db.iterate({ signal: inLoop.signal, reverse: true })) {
          seen.push(text(key))
          if (seen.length === 3) inLoop.abort(reason)
        }
      }
      await expect(loop()).rejects.toBe(reason)
      expect(seen).toEqual(['k0099', 'k0098', 'k0097'])
      // None of them holds the tables that are excised now.
      await db.excise(undefined, undefined)
      await db.settle()
      expect((await environment.fileSystem.list(`${environment.folder}/db`)).filter((name) => name.endsWith('.sst'))).toEqual([])
      await db.close()
    }))

  it('ends a compaction between two of its steps, and the database is as before', () =>
    onSimulator(async (environment) => {
      // Nothing is due by itself.
      const db = await openDatabase(environment, { level0CompactionTrigger: 100, level1Bytes: 2 ** 30, targetTableBytes: 1024 })
      for (let round = 0; round < 4; round++) {
        await db.write(fill(200))
        await db.flush()
      }
      const before = await scan(db)
      await expect(db.compactRange(undefined, undefined, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
      expect(db.stats().compactions).toBe(0)
      await expect(db.compactRange(undefined, undefined, { signal: soon() })).rejects.toBe(reason)
      await db.settle()
      expect(db.stats().compactions).toBeLessThanOrEqual(1)
      expect(await scan(db)).toEqual(before)
      await db.compactRange()
      expect(db.stats().levels[0]?.tables).toBe(0)
      expect(await scan(db)).toEqual(before)
      await db.close()
    }))

  it('leaves no table in the folder of a checkpoint', () =>
    onSimulator(async (environment) => {
      const { fileSystem, folder } = environment
      const db = await openDatabase(environment, { targetTableBytes: 1024 })
      for (let round = 0; round < 2; round++) {
        await db.write(fill(200))
        await db.flush()
      }
      await db.compactRange()
      const target = `${folder}/checkpoint`
      await expect(db.checkpoint(target, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
      expect(await fileSystem.exists(target)).toBe(false)
      const controller = new AbortController()
      const linked: string[] = []
      const { link } = fileSystem
      fileSystem.link = async (from, to) => {
        await link.call(fileSystem, from, to)
        linked.push(to)
        if (linked.length === 2) controller.abort(reason)
      }
      await db.flush()
      expect(db.stats().levels.reduce((sum, { tables }) => sum + tables, 0)).toBeGreaterThan(2)
      await expect(db.checkpoint(target, { signal: controller.signal })).rejects.toBe(reason)
      expect(linked.length).toBe(2)
      expect(await fileSystem.list(target)).toEqual([])
      const { files } = await db.checkpoint(target, { signal: new AbortController().signal })
      expect(await fileSystem.list(target)).toEqual(files.map(({ name }) => name).sort())
      await db.close()
    }))

  it('of an ingest counts as long as it has not taken its place', () =>
    onSimulator(async (environment) => {
      const { fileSystem, folder } = environment
      const db = await openDatabase(environment)
      for (const name of ['a', 'b']) await writeTable(fileSystem, `${folder}/${name}.sst`, [{ key: bytes(name), value: bytes('1') }])
      const files = [{ path: `${folder}/a.sst` }, { path: `${folder}/b.sst` }]
      const names = await fileSystem.list(`${folder}/db`)
      await expect(db.ingest(files, undefined, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
      await expect(db.ingest(files, undefined, { signal: soon() })).rejects.toBe(reason)
      await expect(db.prepareIngest(files, { signal: soon() })).rejects.toBe(reason)
      expect(await fileSystem.list(`${folder}/db`)).toEqual(names)
      expect([await scan(db), db.failed]).toEqual([[], undefined])
      const controller = new AbortController()
      await db.ingest(files, undefined, { signal: controller.signal })
      controller.abort(reason)
      expect(await scan(db)).toEqual(['a=1', 'b=1'])
      await db.close()
    }))

  it('of an ingest counts while it waits behind writes, and nothing of it is left', () =>
    onSimulator(async (environment) => {
      const { fileSystem, folder } = environment
      await writeTable(fileSystem, `${folder}/a.sst`, [{ key: bytes('a'), value: bytes('1') }])
      const controller = new AbortController()
      let linked = () => {}
      const isLinked = new Promise<void>((resolve) => {
        linked = resolve
      })
      const link = async (from: string, to: string) => {
        await fileSystem.link(from, to)
        linked()
      }
      const db = await openDatabase({ ...environment, fileSystem: override(fileSystem, { link }) })
      const ingesting = db.ingest([{ path: `${folder}/a.sst` }], undefined, { signal: controller.signal })
      await isLinked
      // It is behind this one in the queue, and no write has begun.
      const written = db.write(fill(100))
      controller.abort(reason)
      await expect(ingesting).rejects.toBe(reason)
      await written
      expect(db.failed).toBe(undefined)
      expect((await scan(db)).length).toBe(100)
      await db.flush()
      await db.settle()
      const tables = async () => (await fileSystem.list(`${folder}/db`)).filter((name) => name.endsWith('.sst'))
      expect(await tables()).toHaveLength(db.stats().levels.reduce((sum, level) => sum + level.tables, 0))
      await db.close()
    }))

  it.each([
    ['while it waits behind a large write', true],
    ['that came before it was called', false],
  ])('of an ingest of what is prepared counts %s, and its files are gone', (_, waits) =>
    onSimulator(async (environment) => {
      const { fileSystem, folder } = environment
      await writeTable(fileSystem, `${folder}/a.sst`, [{ key: bytes('a'), value: bytes('1') }])
      const db = await openDatabase(environment, { memtableBytes: 2 ** 20 })
      const before = await fileSystem.list(`${folder}/db`)
      const prepared = await db.prepareIngest([{ path: `${folder}/a.sst` }])
      const controller = new AbortController()
      if (!waits) controller.abort(reason)
      const written = db.write(fill(2000))
      const ingesting = db.ingest(prepared, undefined, { signal: controller.signal })
      controller.abort(reason)
      await expect(ingesting).rejects.toBe(reason)
      await written
      expect(db.failed).toBe(undefined)
      expect(await scan(db)).toHaveLength(2000)
      const tables = (names: readonly string[]) => names.filter((name) => name.endsWith('.sst'))
      expect(tables(await fileSystem.list(`${folder}/db`))).toEqual(tables(before))
      await expect(db.ingest(prepared)).rejects.toThrow('used once')
      await db.close()
    }),
  )

  it.each([true, false])('of an ingest of what is prepared counts no more when it took its place, with a WAL: %s', (wal) =>
    onSimulator(async (environment) => {
      const { fileSystem, folder } = environment
      await writeTable(fileSystem, `${folder}/a.sst`, [{ key: bytes('a'), value: bytes('1') }])
      const db = await openDatabase(environment, { wal })
      const prepared = await db.prepareIngest([{ path: `${folder}/a.sst` }])
      const controller = new AbortController()
      const ingesting = db.ingest(prepared, bytes('m'), { signal: controller.signal })
      while (db.stats().queueLength === 0) await sleep(environment.clock, 0.1)
      controller.abort(reason)
      await ingesting
      expect(await scan(db)).toEqual(['a=1'])
      await db.close()
    }),
  )

  it('of a flush ends the waiting, not the flush', () =>
    onNode(async (environment) => {
      const db = await openDatabase(environment)
      await db.write(fill(10))
      await expect(db.flush({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
      expect(db.stats().queueLength).toBe(0)
      await expect(db.flush({ signal: soon() })).rejects.toBe(reason)
      await expect(db.settle({ signal: soon() })).rejects.toBe(reason)
      await db.flush()
      await db.settle({ signal: new AbortController().signal })
      expect(db.stats()).toMatchObject({ queueLength: 0, memtableEntries: 0 })
      expect(await scan(db)).toHaveLength(10)
      await db.close()
    }))
})
