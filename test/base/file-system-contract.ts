import { describe, expect, it } from 'vitest'
import { type FileSystem, makeFolderDurably, readFile, replaceFile } from '../../base/file-system.ts'

export interface FileSystemBench {
  readonly fileSystem: FileSystem
  /** An empty folder. */
  readonly folder: string
  /** Lets the world that the files live in go on until `body` has ended. */
  run(body: () => Promise<void>): Promise<void>
  dispose(): Promise<void>
}

const bytes = (...values: number[]) => new Uint8Array(values)

/** What every FileSystem promises. Run over each implementation. */
export function fileSystemContract(name: string, makeBench: () => Promise<FileSystemBench>): void {
  const check = (promise: string, body: (fileSystem: FileSystem, folder: string) => Promise<void>) =>
    it(promise, async () => {
      const bench = await makeBench()
      try {
        await bench.run(() => body(bench.fileSystem, bench.folder))
      } finally {
        await bench.dispose()
      }
    })
  const write = async (fileSystem: FileSystem, path: string, content: Uint8Array) => {
    const file = await fileSystem.open(path, 'create')
    await file.write([content], 0)
    await file.close()
  }

  describe(`file system contract: ${name}`, () => {
    check('tells how much can still be written where a path lies', async (fileSystem, folder) => {
      expect(await fileSystem.freeBytes(folder)).toBeGreaterThan(0)
      await expect(fileSystem.freeBytes(`${folder}/absent`)).rejects.toMatchObject({ code: 'ENOENT' })
    })

    check('writes chunks one after the other, and reads them back', async (fileSystem, folder) => {
      const file = await fileSystem.open(`${folder}/a`, 'create')
      expect(file.path).toBe(`${folder}/a`)
      await file.write([bytes(1, 2), bytes(), bytes(3)], 0)
      await file.write([], 100)
      expect(await file.size()).toBe(3)
      const target = new Uint8Array(8)
      expect(await file.read(target, 0)).toBe(3)
      expect(target).toEqual(bytes(1, 2, 3, 0, 0, 0, 0, 0))
      expect(await file.read(target.subarray(0, 1), 2)).toBe(1)
      expect(target[0]).toBe(3)
      expect(await file.read(target, 3)).toBe(0)
      expect(await file.read(target, 99)).toBe(0)
      expect(await file.read(new Uint8Array(0), 0)).toBe(0)
      await file.close()
    })

    check('reads at once what was written', async (fileSystem, folder) => {
      const file = await fileSystem.open(`${folder}/a`, 'create')
      await file.write([bytes(5, 6, 7)], 0)
      const target = new Uint8Array(2)
      const readNow = async (position: number) => {
        for (;;) {
          const count = file.readNow(target, position)
          if (count !== undefined) return count
          // It may have to wait, today and in this turn: the other way always works.
          expect(await file.read(new Uint8Array(1), position)).toBe(1)
          await new Promise((resolve) => setImmediate(resolve))
        }
      }
      expect(await readNow(1)).toBe(2)
      expect(target).toEqual(bytes(6, 7))
      expect(await readNow(2)).toBe(1)
      await file.close()
    })

    check('opens and reads in one turn', async (fileSystem, folder) => {
      await write(fileSystem, `${folder}/a`, bytes(5, 6, 7))
      const file = fileSystem.openSync(`${folder}/a`)
      expect(file.path).toBe(`${folder}/a`)
      const target = new Uint8Array(2)
      // More often than a turn may read where that is for others to say.
      for (let i = 0; i < 500; i++) expect(file.readSync(target, 1)).toBe(2)
      expect(target).toEqual(bytes(6, 7))
      expect(file.readSync(target, 2)).toBe(1)
      expect(file.readSync(target, 3)).toBe(0)
      await expect(file.write([bytes(1)], 0)).rejects.toMatchObject({ code: 'EBADF' })
      await file.close()
      expect(() => file.readSync(target, 0)).toThrow('EBADF')
      expect(() => fileSystem.openSync(`${folder}/absent`)).toThrow(expect.objectContaining({ code: 'ENOENT' }))
    })

    check('writes more chunks and bytes than one system call takes', async (fileSystem, folder) => {
      const file = await fileSystem.open(`${folder}/a`, 'create')
      const chunks = Array.from({ length: 3000 }, (_, i) => new Uint8Array(1500).fill(i % 251))
      await file.write(chunks, 10)
      const whole = await readFile(fileSystem, `${folder}/a`)
      expect(whole.length).toBe(10 + 3000 * 1500)
      for (let i = 0; i < 3000; i++) expect(whole[10 + i * 1500 + 1499]).toBe(i % 251)
      await file.close()
    })

    check('fills a gap with zeros, also after a truncation', async (fileSystem, folder) => {
      const file = await fileSystem.open(`${folder}/a`, 'create')
      await file.write([bytes(1, 1, 1, 1)], 0)
      await file.truncate(2)
      expect(await file.size()).toBe(2)
      await file.write([bytes(9)], 5)
      await file.truncate(8)
      expect(await readFile(fileSystem, `${folder}/a`)).toEqual(bytes(1, 1, 0, 0, 0, 9, 0, 0))
      await file.close()
    })

    check('creates only what is not there, opens only what is', async (fileSystem, folder) => {
      await expect(fileSystem.open(`${folder}/a`, 'read')).rejects.toMatchObject({ code: 'ENOENT' })
      await expect(fileSystem.open(`${folder}/a`, 'write')).rejects.toMatchObject({ code: 'ENOENT' })
      await expect(fileSystem.open(`${folder}/no/a`, 'create')).rejects.toMatchObject({ code: 'ENOENT' })
      await write(fileSystem, `${folder}/a`, bytes(1))
      await expect(fileSystem.open(`${folder}/a`, 'create')).rejects.toMatchObject({ code: 'EEXIST' })
      const file = await fileSystem.open(`${folder}/a`, 'write')
      await file.write([bytes(2)], 1)
      await file.close()
      expect(await readFile(fileSystem, `${folder}/a`)).toEqual(bytes(1, 2))
    })

    check('does not write to a file opened for reading', async (fileSystem, folder) => {
      await write(fileSystem, `${folder}/a`, bytes(1))
      const file = await fileSystem.open(`${folder}/a`, 'read')
      await expect(file.write([bytes(2)], 0)).rejects.toMatchObject({ code: 'EBADF' })
      await expect(file.truncate(0)).rejects.toMatchObject({ code: 'EINVAL' })
      await file.close()
    })

    check('refuses operations on a closed file, and closes twice', async (fileSystem, folder) => {
      const file = await fileSystem.open(`${folder}/a`, 'create')
      await file.close()
      await file.close()
      await expect(file.read(new Uint8Array(1), 0)).rejects.toMatchObject({ code: 'EBADF' })
      await expect(file.write([bytes(1)], 0)).rejects.toMatchObject({ code: 'EBADF' })
      await expect(file.sync()).rejects.toMatchObject({ code: 'EBADF' })
      expect(() => file.readNow(new Uint8Array(1), 0)).toThrow('EBADF')
    })

    check('renames over what is there, and keeps open files open', async (fileSystem, folder) => {
      await write(fileSystem, `${folder}/a`, bytes(1))
      await write(fileSystem, `${folder}/b`, bytes(2))
      const replaced = await fileSystem.open(`${folder}/b`, 'read')
      await fileSystem.rename(`${folder}/a`, `${folder}/b`)
      expect(await fileSystem.list(folder)).toEqual(['b'])
      expect(await readFile(fileSystem, `${folder}/b`)).toEqual(bytes(1))
      const target = new Uint8Array(1)
      await replaced.read(target, 0)
      expect(target[0]).toBe(2)
      await replaced.close()
      await expect(fileSystem.rename(`${folder}/a`, `${folder}/c`)).rejects.toMatchObject({ code: 'ENOENT' })
    })

    check('links a file under a second name', async (fileSystem, folder) => {
      await write(fileSystem, `${folder}/a`, bytes(1))
      await fileSystem.link(`${folder}/a`, `${folder}/b`)
      await expect(fileSystem.link(`${folder}/a`, `${folder}/b`)).rejects.toMatchObject({ code: 'EEXIST' })
      await expect(fileSystem.link(`${folder}/no`, `${folder}/c`)).rejects.toMatchObject({ code: 'ENOENT' })
      await fileSystem.unlink(`${folder}/a`)
      expect(await readFile(fileSystem, `${folder}/b`)).toEqual(bytes(1))
      await expect(fileSystem.unlink(`${folder}/a`)).rejects.toMatchObject({ code: 'ENOENT' })
      expect(await fileSystem.exists(`${folder}/a`)).toBe(false)
      expect(await fileSystem.exists(`${folder}/b`)).toBe(true)
    })

    check('makes folders with their parents, lists them sorted, and removes them whole', async (fileSystem, folder) => {
      await fileSystem.makeFolder(`${folder}/x/y/z`)
      await fileSystem.makeFolder(`${folder}/x/y/z`)
      await write(fileSystem, `${folder}/x/b`, bytes())
      await write(fileSystem, `${folder}/x/a`, bytes())
      expect(await fileSystem.list(`${folder}/x`)).toEqual(['a', 'b', 'y'])
      expect(await fileSystem.exists(`${folder}/x/y`)).toBe(true)
      expect(await fileSystem.exists(`${folder}/x/a/nothing`)).toBe(false)
      await expect(fileSystem.list(`${folder}/no`)).rejects.toMatchObject({ code: 'ENOENT' })
      await expect(fileSystem.list(`${folder}/x/a`)).rejects.toMatchObject({ code: 'ENOTDIR' })
      await fileSystem.removeFolder(`${folder}/x`)
      await fileSystem.removeFolder(`${folder}/x`)
      expect(await fileSystem.list(folder)).toEqual([])
    })

    check('syncs files and folders', async (fileSystem, folder) => {
      const file = await fileSystem.open(`${folder}/a`, 'create')
      await file.write([bytes(1)], 0)
      await file.sync()
      await file.sync()
      await file.close()
      await fileSystem.syncFolder(folder)
      await expect(fileSystem.syncFolder(`${folder}/no`)).rejects.toMatchObject({ code: 'ENOENT' })
    })

    check('carries the helpers: durable folders and replaced files', async (fileSystem, folder) => {
      await makeFolderDurably(fileSystem, `${folder}/p/q`)
      await replaceFile(fileSystem, `${folder}/p/q/f`, bytes(1, 2, 3))
      await replaceFile(fileSystem, `${folder}/p/q/f`, bytes(4))
      expect(await readFile(fileSystem, `${folder}/p/q/f`)).toEqual(bytes(4))
      expect(await fileSystem.list(`${folder}/p/q`)).toEqual(['f'])
    })

    check('takes many operations at once', async (fileSystem, folder) => {
      const file = await fileSystem.open(`${folder}/a`, 'create')
      await Promise.all(Array.from({ length: 64 }, (_, i) => file.write([new Uint8Array(100).fill(i)], i * 100)))
      const reads = Array.from({ length: 64 }, async (_, i) => {
        const target = new Uint8Array(100)
        await file.read(target, i * 100)
        return target.every((byte) => byte === i)
      })
      const size = file.size()
      const sync = file.sync()
      expect(await Promise.all(reads)).toEqual(Array.from({ length: 64 }, () => true))
      expect(await size).toBe(6400)
      await sync
      await file.close()
    })
  })
}
