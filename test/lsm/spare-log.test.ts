import { describe, expect, it } from 'vitest'
import { DiskError } from '../../base/errors.ts'
import { verifyDatabase } from '../../lsm/index.ts'
import { environmentOf, openDatabase, simulate } from './environment.ts'
import { bytes, scan } from './model.ts'
import { override } from './override.ts'

const count = 40
const keys = Array.from({ length: count }, (_, i) => `key${String(i).padStart(2, '0')}=v`)

/** The next log is made ahead. Its name could not be made durable once: with an error of the folder's, or of its sync. */
function failingOnce(error: Error, keepsFile: boolean) {
  const { world, process: machine } = simulate(12)
  const environment = environmentOf(machine)
  const { fileSystem } = environment
  let logs = 0
  let failed = ''
  const open: typeof fileSystem.open = async (path, mode) => {
    const file = await fileSystem.open(path, mode)
    if (mode === 'create' && path.endsWith('.log') && ++logs === 2) failed = path
    return file
  }
  const syncFolder = (path: string) => {
    if (failed === '' || logs > 2) return fileSystem.syncFolder(path)
    logs = 3
    return Promise.reject(error)
  }
  // A process that ends there has no time to take the file away.
  const unlink = (path: string) => (path === failed && keepsFile ? Promise.resolve() : fileSystem.unlink(path))
  const failing = { ...environment, fileSystem: override(fileSystem, { open, syncFolder, unlink }) }
  return { world, machine, failing, environment, failed: () => failed }
}

const emfile = () => Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' })

describe.each([false, true])('a log that could not be made ahead, its file kept: %s', (keepsFile) => {
  it.each([false, true])('hides nothing from the next open: sync %s', async (sync) => {
    const { world, machine, failing, failed } = failingOnce(emfile(), keepsFile)
    const endless = { run: () => new Promise<never>(() => undefined), close: () => Promise.resolve() }
    const writing = async () => {
      const db = await openDatabase(failing, { executor: endless })
      for (const key of keys) await db.put(bytes(key.slice(0, 5)), bytes('v'), { sync })
      // More than a memtable.
      for (let i = 0; i < 40; i++) await db.put(bytes('big'), new Uint8Array(100), { sync })
      await db.put(bytes('last'), bytes('v'), { sync })
    }
    await world.settle(writing(), 10_000_000)
    expect(failed()).not.toBe('')
    machine.kill()
    const environment = environmentOf(machine.restart())
    const reading = async () => {
      const damages: unknown[] = []
      await verifyDatabase(environment.fileSystem, `${environment.folder}/db`, { onDamage: (damage) => damages.push(damage) })
      expect(damages).toEqual([])
      const again = await openDatabase(environment)
      expect((await scan(again)).filter((record) => !record.startsWith('big'))).toEqual([...keys, 'last=v'])
      await again.close()
    }
    await world.settle(reading(), 10_000_000)
  })
})

it('a failed sync of a log made ahead is final', () => {
  const { world, failing } = failingOnce(new DiskError('sync of the folder failed'), false)
  return world.settle(
    (async () => {
      const db = await openDatabase(failing)
      await expect(
        (async () => {
          for (let i = 0; i < 100; i++) await db.put(bytes('big'), new Uint8Array(100))
        })(),
      ).rejects.toThrow('sync of the folder failed')
      expect(db.failed).toBeInstanceOf(DiskError)
      await db.close()
    })(),
    10_000_000,
  )
})

it('a log stays where the end of the one before it may be on the disk although it was refused', async () => {
  const { world, process: machine } = simulate(13)
  const environment = environmentOf(machine)
  const { fileSystem } = environment
  let logs = 0
  const open: typeof fileSystem.open = async (path, mode) => {
    const file = await fileSystem.open(path, mode)
    if (mode !== 'create' || !path.endsWith('.log') || ++logs > 1) return file
    // A record with nothing but its type is the end.
    const write: typeof file.write = async (chunks, position) => {
      await file.write(chunks, position)
      if (logs > 1 && chunks[1]?.length === 1 && chunks[2]?.length === 7) throw Object.assign(new Error('EIO: too late'), { code: 'EIO' })
    }
    return override(file, { write })
  }
  const scenario = async () => {
    const db = await openDatabase({ ...environment, fileSystem: override(fileSystem, { open }) })
    const writing = async () => {
      for (let i = 0; i < 100; i++) await db.put(bytes(`key${i}`), new Uint8Array(100))
    }
    await expect(writing()).rejects.toThrow('too late')
    await db.close()
    const again = await openDatabase(environment)
    expect((await scan(again)).length).toBeGreaterThan(20)
    await again.close()
  }
  await world.settle(scenario(), 10_000_000)
})

it('a log made ahead is closed and removed also where the one before it does not close', () => {
  const { world, process: machine } = simulate(14)
  const environment = environmentOf(machine)
  const { fileSystem } = environment
  const logs: string[] = []
  const closed: string[] = []
  const open: typeof fileSystem.open = async (path, mode) => {
    const file = await fileSystem.open(path, mode)
    if (mode !== 'create' || !path.endsWith('.log')) return file
    logs.push(path)
    const close = async () => {
      await file.close()
      if (closed.push(path) === 1) throw new Error('it does not close')
    }
    return override(file, { close })
  }
  const scenario = async () => {
    const db = await openDatabase({ ...environment, fileSystem: override(fileSystem, { open }) })
    while (logs.length < 2) await db.put(bytes('key'), new Uint8Array(100))
    await expect(db.close()).rejects.toThrow('it does not close')
    expect(closed).toEqual(logs)
    expect(await fileSystem.exists(logs[1] as string)).toBe(false)
  }
  return world.settle(scenario(), 10_000_000)
})
