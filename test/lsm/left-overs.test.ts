import { expect, it } from 'vitest'
import type { File, FileSystem } from '../../base/file-system.ts'
import { silentLogger } from '../../base/logger.ts'
import { Manifest } from '../../lsm/manifest.ts'
import { environmentOf, onNode, openDatabase, simulate } from './environment.ts'
import { bytes, scan } from './model.ts'
import { override } from './override.ts'

const code = (name: string) => Object.assign(new Error(`${name}: refused by the test`), { code: name })

it('files that cannot be removed are no failure: of compactions, flushes, manifests and at open', () =>
  onNode(async (environment) => {
    const { fileSystem } = environment
    const stuck = { ...environment, fileSystem: override(fileSystem, { unlink: () => Promise.reject(code('EPERM')) }) }
    for (let life = 0; life < 3; life++) {
      const db = await openDatabase(stuck)
      for (let i = 0; i < 100; i++) await db.put(bytes(`key${i}`), bytes(`${life}`.repeat(100)))
      await db.compactRange()
      await db.settle()
      expect(db.failed).toBe(undefined)
      await db.close()
    }
    const db = await openDatabase(environment)
    expect(await scan(db)).toHaveLength(100)
    await db.settle()
    const tables = (await fileSystem.list(`${environment.folder}/db`)).filter((name) => name.endsWith('.sst'))
    expect(tables).toHaveLength(db.stats().levels.reduce((sum, level) => sum + level.tables, 0))
    await db.close()
  }))

it('files whose names are not ours are left alone, in a new folder and at each later open', () =>
  onNode(async (environment) => {
    const { fileSystem } = environment
    const folder = `${environment.folder}/db`
    await fileSystem.makeFolder(folder)
    const foreign = ['0000007.log', '7.log', '99999.sst', 'MANIFEST-1', 'app.log', 'x.sst']
    for (const name of foreign) await (await fileSystem.open(`${folder}/${name}`, 'create')).close()
    for (let life = 0; life < 2; life++) {
      const db = await openDatabase(environment)
      await db.put(bytes(`key${life}`), bytes('v'))
      await db.close()
    }
    const db = await openDatabase(environment)
    expect(await scan(db)).toEqual(['key0=v', 'key1=v'])
    await db.close()
    expect(await fileSystem.list(folder)).toEqual(expect.arrayContaining(foreign))
  }))

it.each(['000007.log', '1000007.sst'])('%s, without CURRENT, is what is left of a database', (name) =>
  onNode(async (environment) => {
    const { fileSystem } = environment
    await fileSystem.makeFolder(`${environment.folder}/db`)
    await (await fileSystem.open(`${environment.folder}/db/${name}`, 'create')).close()
    await expect(openDatabase(environment)).rejects.toThrow(`missing, though ${name} is there`)
  }),
)

it('a manifest that finds no room leaves no file and no descriptor', () => {
  const { world, process: machine } = simulate(3)
  const environment = environmentOf(machine)
  const { fileSystem } = environment
  const open = new Set<string>()
  let refusals = 5
  const opening: FileSystem['open'] = async (path, mode) => {
    const file: File = await fileSystem.open(path, mode)
    if (!path.includes('MANIFEST') || mode !== 'create') return file
    open.add(path)
    return override(file, {
      write: (chunks, position) => (--refusals >= 0 ? Promise.reject(code('ENOSPC')) : file.write(chunks, position)),
      close: () => {
        open.delete(path)
        return file.close()
      },
    })
  }
  let waits = 0
  const space = {
    isLow: false,
    isCritical: false,
    fits: () => true,
    spend: () => true,
    exhausted: () => {
      waits++
      return Promise.resolve()
    },
    whenMore: () => new Promise<never>(() => undefined),
  }
  return world.settle(
    (async () => {
      const db = await openDatabase({ ...environment, fileSystem: override(fileSystem, { open: opening }) }, { space })
      expect(waits).toBe(5)
      expect(open.size).toBe(1)
      expect((await fileSystem.list('data/db')).filter((name) => name.startsWith('MANIFEST'))).toHaveLength(1)
      await db.close()
      expect(open.size).toBe(0)
    })(),
    10_000_000,
  )
})

it('a manifest that follows one that cannot be closed is closed itself', () =>
  onNode(async ({ fileSystem, folder }) => {
    const closed: string[] = []
    const open: FileSystem['open'] = async (path, mode) => {
      const file = await fileSystem.open(path, mode)
      if (!path.includes('MANIFEST')) return file
      const close = async () => {
        await file.close()
        if (closed.push(path.slice(-6)) === 1) throw code('EIO')
      }
      return override(file, { close })
    }
    const manifest = await Manifest.open({ fileSystem: override(fileSystem, { open }), folder, logger: silentLogger }, [])
    await manifest.roll()
    await expect(manifest.roll()).rejects.toThrow('EIO')
    await manifest.close()
    expect(closed).toEqual(['000001', '000002'])
  }))

it('what was compressed may come out of a compaction many times as large', () =>
  onNode(async (environment) => {
    const packed = await openDatabase(environment, { compression: 'deflate', memtableBytes: 1024 * 1024, blockBytes: 4096 })
    for (let i = 0; i < 400; i++) await packed.put(bytes(`key${i}`), new Uint8Array(400), { sync: false })
    await packed.flush()
    await packed.compactRange()
    const before = await scan(packed)
    await packed.close()
    const db = await openDatabase(environment, { boundaryOf: { prefixBytes: 6 } })
    await db.compactRange()
    expect(db.failed).toBe(undefined)
    await db.put(bytes('key0'), new Uint8Array(400))
    await db.flush()
    await db.compactRange()
    expect(db.stats().levels.reduce((sum, level) => sum + level.tables, 0)).toBeGreaterThan(20)
    expect(db.failed).toBe(undefined)
    expect(await scan(db)).toEqual(before)
    await db.close()
  }))
