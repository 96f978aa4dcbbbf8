import { mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import { compile } from '../base/compile.ts'
import { bytes, getText, scan } from './model.ts'

const compiled = compile(new URL('../../lsm/index.ts', import.meta.url), new URL('../../lsm/worker.ts', import.meta.url))
afterAll(() => compiled.remove())
// As JavaScript: its worker threads are started from the files beside it.
const {
  CorruptionError,
  DatabaseExistsError,
  DatabaseMissingError,
  FolderLockedError,
  openDatabase,
  WriteBatch,
}: typeof import('../../lsm/index.ts') = await import(compiled.url.href)

let parent = ''
let folder = ''
beforeEach(async () => {
  parent = await mkdtemp(path.join(os.tmpdir(), 'ostraka-lsm-'))
  folder = path.join(parent, 'db')
})
afterEach(() => rm(parent, { recursive: true, force: true }))

describe('openDatabase', () => {
  it('flushes and compacts in threads, and finds everything again', async () => {
    const db = await openDatabase(folder, { memtableBytes: 16 * 1024, cacheBytes: 0, blockBytes: 512, bloomBitsPerKey: 12 })
    for (let i = 0; i < 2000; i++) await db.write(new WriteBatch().put(bytes(`k${i % 500}`), bytes(`v${i}`.repeat(10))), { sync: false })
    await db.settle()
    expect(db.stats().flushes).toBeGreaterThan(0)
    await db.close()
    const again = await openDatabase(folder)
    expect(await getText(again, 'k499')).toBe('v1999'.repeat(10))
    expect(await scan(again)).toHaveLength(500)
    // What `await using` calls.
    await again[Symbol.asyncDispose]()
    await (await openDatabase(folder)).close()
  })

  it('compresses in its threads, each time as it is told', async () => {
    const bytesOf = async () => {
      const names = (await readdir(folder)).filter((name) => name.endsWith('.sst'))
      return (await Promise.all(names.map((name) => stat(path.join(folder, name))))).reduce((sum, { size }) => sum + size, 0)
    }
    const sizes: number[] = []
    for (const compression of ['none', 'deflate', 'snappy', undefined] as const) {
      const db = await openDatabase(folder, { compression })
      for (let i = 0; i < 500; i++) await db.write(new WriteBatch().put(bytes(`k${i}`), bytes(`v${i} `.repeat(20))), { sync: false })
      await db.flush()
      await db.compactRange()
      expect(await getText(db, 'k499')).toBe('v499 '.repeat(20))
      expect(await scan(db)).toHaveLength(500)
      await db.close()
      sizes.push(await bytesOf())
    }
    const [none, deflate, snappy, unset] = sizes as [number, number, number, number]
    expect(deflate).toBeLessThan(none / 3)
    expect(snappy).toBeLessThan(none / 2)
    expect(unset).toBe(none)
  })

  it.runIf(process.platform === 'linux')('ends its threads when it is closed', async () => {
    const threads = async () => (await readdir('/proc/self/task')).length
    const before = await threads()
    const db = await openDatabase(folder)
    await db.write(new WriteBatch().put(bytes('a'), bytes('1')))
    await db.flush()
    expect(await threads()).toBeGreaterThan(before)
    await db.close()
    expect(await threads()).toBeLessThanOrEqual(before)
  })

  it('drops in its threads what has expired', async () => {
    const ended = Uint8Array.of(5, 0, 0, 0, 0, 0, 0, 0)
    const horizons = () => [{ lower: bytes('a'), upper: bytes('z'), moment: 5 }]
    const db = await openDatabase(folder, { expiry: { keyOffset: 0, keyByte: 0x74, valueOffset: 0, horizons } })
    for (let i = 0; i < 2; i++) {
      for (const key of ['a', 't', 'y']) await db.put(bytes(key), ended)
      await db.flush()
    }
    expect(await db.get(bytes('t'))).toEqual(ended)
    await db.compactRange()
    expect((await scan(db)).map((record) => record[0])).toEqual(['a', 'y'])
    await db.close()
  })

  it('has the folder for itself until it is closed', async () => {
    const db = await openDatabase(folder)
    const refused = openDatabase(folder)
    await expect(refused).rejects.toBeInstanceOf(FolderLockedError)
    await expect(refused).rejects.toMatchObject({ folder, pid: process.pid })
    await db.close()
    await db.close()
    await (await openDatabase(folder)).close()
  })

  it('gives the folder back where it cannot be opened', async () => {
    await (await openDatabase(folder)).close()
    await rename(path.join(folder, 'CURRENT'), path.join(folder, 'aside'))
    await expect(openDatabase(folder)).rejects.toBeInstanceOf(CorruptionError)
    await rename(path.join(folder, 'aside'), path.join(folder, 'CURRENT'))
    await (await openDatabase(folder)).close()
  })

  it('makes what is missing, and takes what is there, unless told otherwise', async () => {
    const missing = openDatabase(folder, { createIfMissing: false })
    await expect(missing).rejects.toBeInstanceOf(DatabaseMissingError)
    await expect(missing).rejects.toMatchObject({ folder })
    expect(await readdir(parent)).toEqual([])
    await (await openDatabase(folder, { errorIfExists: true })).close()
    await expect(openDatabase(folder, { errorIfExists: true })).rejects.toBeInstanceOf(DatabaseExistsError)
    await (await openDatabase(folder, { createIfMissing: false })).close()
  })

  it('refuses options that cannot be, before it touches the folder', async () => {
    for (const [options, kind, name] of [
      [{ cacheByte: 1 }, TypeError, "'cacheByte'"],
      [{ wal: true }, TypeError, "'wal'"],
      [{ toString: 1 }, TypeError, "'toString'"],
      [{ cacheBytes: '1' }, TypeError, 'cacheBytes'],
      [{ cacheBytes: -1 }, RangeError, 'cacheBytes'],
      [{ memtableBytes: 5 }, RangeError, 'memtableBytes'],
      [{ memtableBytes: null }, TypeError, 'memtableBytes'],
      [{ blockBytes: 4096.5 }, RangeError, 'blockBytes'],
      [{ bloomBitsPerKey: 0 }, RangeError, 'bloomBitsPerKey'],
      [{ compression: 'lz4' }, RangeError, 'compression'],
      [{ compression: true }, RangeError, 'compression'],
      [{ maxCompactions: 0 }, RangeError, 'maxCompactions'],
      [{ maxCompactions: '2' }, TypeError, 'maxCompactions'],
      [{ compactionBytesPerSecond: 1000 }, RangeError, 'compactionBytesPerSecond'],
      [{ compactionBytesPerSecond: Number.NaN }, RangeError, 'compactionBytesPerSecond'],
      [{ createIfMissing: 1 }, TypeError, 'createIfMissing'],
      [{ errorIfExists: 'no' }, TypeError, 'errorIfExists'],
      [{ expiry: 5 }, TypeError, 'expiry'],
      [{ expiry: { keyOffset: 0, keyByte: 1, valueOffset: 0 } }, TypeError, 'expiry.horizons'],
      [{ expiry: { keyOffset: 0, keyByte: 256, valueOffset: 0, horizons: () => [] } }, RangeError, 'expiry.keyByte'],
      [{ logger: null }, TypeError, 'logger'],
      [{ onFailure: {} }, TypeError, 'onFailure'],
      [{ signal: {} }, TypeError, 'signal'],
    ] as const) {
      const refused = openDatabase(folder, options as object)
      await expect(refused, JSON.stringify(options)).rejects.toBeInstanceOf(kind)
      await expect(refused).rejects.toThrow(name)
    }
    await expect(openDatabase('')).rejects.toThrow('folder')
    expect(await readdir(parent)).toEqual([])
  })

  it('can be aborted, and leaves the folder free', async () => {
    await expect(openDatabase(folder, { signal: AbortSignal.abort(new Error('not now')) })).rejects.toThrow('not now')
    expect(await readdir(parent)).toEqual([])
    const controller = new AbortController()
    const opening = openDatabase(folder, { signal: controller.signal })
    controller.abort(new Error('too late'))
    await expect(opening).rejects.toThrow('too late')
    await (await openDatabase(folder, { signal: undefined })).close()
  })
})
