import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import { compile } from '../base/compile.ts'

const compiled = compile(new URL('../../level/index.ts', import.meta.url), new URL('../../lsm/worker.ts', import.meta.url))
afterAll(() => compiled.remove())
// As JavaScript: its worker threads are started from the files beside it.
const { OstrakaLevel }: typeof import('../../level/index.ts') = await import(compiled.url.href)

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'ostraka-level-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** What abstract-level's own suite (`suite.test.ts`) does not ask for. */
describe('OstrakaLevel', () => {
  it('finds again what was written, by each encoding', async () => {
    const db = new OstrakaLevel<string, unknown>(folder, { valueEncoding: 'json' })
    await db.put('a', { b: 1 })
    await db.put('c', Buffer.from([0, 255]), { valueEncoding: 'buffer', sync: true })
    await db.sublevel('s').put('d', 'e')
    await db.close()
    await db.open()
    expect(await db.get('a')).toEqual({ b: 1 })
    expect(db.getSync('a')).toEqual({ b: 1 })
    const buffer = await db.get<string, Buffer>('c', { valueEncoding: 'buffer' })
    expect(Buffer.isBuffer(buffer) && [...buffer]).toEqual([0, 255])
    expect(await db.sublevel('s').keys().all()).toEqual(['d'])
    expect(await db.keys({ keyEncoding: 'view', gte: new Uint8Array([0x61]) }).next()).toEqual(new Uint8Array([0x61]))
    await db.close()
  })

  it('tells truly what it supports', () => {
    const db = new OstrakaLevel(folder)
    const { supports } = db
    expect(supports).toMatchObject({
      permanence: true,
      seek: true,
      has: true,
      getSync: true,
      createIfMissing: true,
      errorIfExists: true,
      implicitSnapshots: true,
      explicitSnapshots: true,
      deferredOpen: true,
      signals: { iterators: true },
      additionalMethods: { approximateSize: true, compactRange: true },
      encodings: { buffer: true, view: true, utf8: true, json: true, hex: true, base64: true },
    })
    for (const name of Object.keys(supports.additionalMethods)) expect(db).toHaveProperty(name)
    return db.close()
  })

  it('refuses a folder that another has, and options that cannot be', async () => {
    const first = new OstrakaLevel(folder)
    await first.open()
    await expect(new OstrakaLevel(folder).open()).rejects.toMatchObject({
      code: 'LEVEL_DATABASE_NOT_OPEN',
      cause: { name: 'FolderLockedError', pid: process.pid },
    })
    await first.close()
    await expect(new OstrakaLevel(folder, { cacheBytes: -1 }).open()).rejects.toMatchObject({ cause: { name: 'RangeError' } })
    await expect(new OstrakaLevel(folder, { compression: 'lz4' as 'snappy' }).open()).rejects.toMatchObject({
      cause: { name: 'RangeError' },
    })
    expect(() => new OstrakaLevel('')).toThrow(TypeError)
  })

  it("compresses as it is told, and passes over classic-level's switch for it", async () => {
    const sizes: number[] = []
    for (const compression of ['snappy', true] as const) {
      const db = new OstrakaLevel(folder, { compression: compression as 'snappy' })
      await db.batch(Array.from({ length: 500 }, (_, i) => ({ type: 'put', key: `k${i}`, value: 'v'.repeat(100) })))
      await db.compactRange('', '~')
      sizes.push(await db.approximateSize('', '~'))
      await db.close()
    }
    const [snappy, none] = sizes as [number, number]
    expect(snappy).toBeGreaterThan(0)
    expect(snappy).toBeLessThan(none / 2)
  })

  it('clears few records and many, a range of them, and so many from an end', async () => {
    const db = new OstrakaLevel(folder)
    const fill = (count: number) =>
      db.batch(Array.from({ length: count }, (_, i) => ({ type: 'put', key: String(i).padStart(5, '0'), value: 'v' })))
    for (const count of [10, 5000]) {
      await fill(count)
      await db.clear({ gt: '00001', lte: '00003' })
      expect(await db.keys({ limit: 4 }).all()).toEqual(['00000', '00001', '00004', '00005'])
      await db.clear({ reverse: true, limit: count - 5 })
      expect(await db.keys().all()).toEqual(['00000', '00001', '00004'])
      await db.del('00004', { sync: true })
      await db.batch([{ type: 'del', key: '00000' }], { sync: true })
      expect(await db.keys().all()).toEqual(['00001'])
      await db.clear({ sync: true })
      expect(await db.keys().all()).toEqual([])
    }
    await fill(2500)
    const snapshot = db.snapshot()
    await db.put('later', 'v')
    await db.clear({ snapshot })
    await snapshot.close()
    expect(await db.keys().all()).toEqual(['later'])
    await db.close()
  })

  it('gives its engine, and what the engine knows of sizes', async () => {
    const db = new OstrakaLevel(folder)
    expect(() => db.engine).toThrow(expect.objectContaining({ code: 'LEVEL_DATABASE_NOT_OPEN' }))
    expect(await db.approximateSize('a', 'z')).toBe(0)
    await db.batch(Array.from({ length: 1000 }, (_, i) => ({ type: 'put', key: `k${i}`, value: 'v'.repeat(100) })))
    await db.compactRange('a', 'z')
    expect(await db.approximateSize('a', 'z')).toBeGreaterThan(100_000)
    expect(db.engine.stats().flushes).toBe(1)
    await db.close()
    await expect(db.approximateSize('a', 'z')).rejects.toMatchObject({ code: 'LEVEL_DATABASE_NOT_OPEN' })
  })

  it('ends an iterator whose signal is aborted, with the reason as its cause', async () => {
    const db = new OstrakaLevel(folder)
    await db.batch(Array.from({ length: 3000 }, (_, i) => ({ type: 'put', key: `k${i}`, value: 'v' })))
    const controller = new AbortController()
    const reason = new Error('enough')
    const iterator = db.iterator({ signal: controller.signal })
    expect(await iterator.nextv(10)).toHaveLength(10)
    const all = iterator.all()
    controller.abort(reason)
    await expect(all).rejects.toMatchObject({ code: 'LEVEL_ABORTED', name: 'AbortError', cause: reason })
    await db.close()
  })
})
