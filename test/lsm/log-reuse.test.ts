import { describe, expect, it } from 'vitest'
import { verifyDatabase } from '../../lsm/index.ts'
import { type Environment, environmentOf, openDatabase, simulate } from './environment.ts'
import { bytes, scan } from './model.ts'
import { override } from './override.ts'

const folder = 'data/db'
const value = (i: number) => new Uint8Array(100).fill(i)

/** Environment whose operations on logs are told: `+` made, `>` renamed, `-` unlinked. */
function watched(environment: Environment) {
  const { fileSystem } = environment
  const told: string[] = []
  const tell = (what: string, path: string) => {
    if (path.endsWith('.log')) told.push(what)
  }
  const open: typeof fileSystem.open = (path, mode) => {
    if (mode === 'create') tell('+', path)
    return fileSystem.open(path, mode)
  }
  const rename = (from: string, to: string) => {
    tell('>', from)
    return fileSystem.rename(from, to)
  }
  const unlink = (path: string) => {
    tell('-', path)
    return fileSystem.unlink(path)
  }
  return { environment: { ...environment, fileSystem: override(fileSystem, { open, rename, unlink }) }, told }
}

describe('the file of a log that nobody needs any more', () => {
  const write = async (environment: Environment, sync: boolean) => {
    const db = await openDatabase(environment)
    for (let i = 0; i < 200; i++) {
      await db.put(bytes(`k${i % 10}`), value(i), { sync })
      if (i % 10 === 9) await db.settle()
    }
    await db.close()
    return await environment.fileSystem.list(folder)
  }

  it('is the next one\u2019s where writes are synced, and is gone after a close', async () => {
    const { world, process } = simulate(5)
    const { environment, told } = watched(environmentOf(process))
    const left = await world.settle(write(environment, true), 10_000_000)
    expect(told.filter((what) => what === '>').length).toBeGreaterThan(3)
    expect(told.filter((what) => what === '+').length).toBeLessThan(4)
    expect(left.filter((name) => name.endsWith('.log'))).toHaveLength(1)
  })

  it('goes where they are not', async () => {
    const { world, process } = simulate(5)
    const { environment, told } = watched(environmentOf(process))
    await world.settle(write(environment, false), 10_000_000)
    expect(told).not.toContain('>')
    expect(told.filter((what) => what === '-').length).toBeGreaterThan(3)
  })

  it('is cut where a large batch has made it long', async () => {
    const { world, process } = simulate(5)
    const environment = environmentOf(process)
    const longest = async () => {
      const db = await openDatabase(environment)
      await db.put(bytes('large'), new Uint8Array(200_000))
      for (let i = 0; i < 60; i++) {
        await db.put(bytes(`k${i % 10}`), value(i))
        if (i % 10 === 9) await db.settle()
      }
      const sizes: number[] = []
      for (const name of await environment.fileSystem.list(folder)) {
        if (name.endsWith('.log')) sizes.push(process.disk.bytesOf(`${folder}/${name}`).length)
      }
      await db.close()
      return Math.max(...sizes)
    }
    expect(await world.settle(longest(), 10_000_000)).toBeLessThan(50_000)
  })

  it('says nothing of what it held, wherever the power fails', async () => {
    let renames = 0
    for (let seed = 1; seed <= 60; seed++) {
      const { world, process } = simulate(seed)
      const { environment, told } = watched(environmentOf(process))
      const acknowledged = new Map<string, number>()
      const writing = (async () => {
        const db = await openDatabase(environment)
        for (let i = 0; ; i++) {
          const key = `k${i % 7}`
          await db.put(bytes(key), value(i))
          acknowledged.set(key, i)
        }
      })()
      writing.catch(() => undefined)
      await world.runFor(20 + 7 * seed)
      renames += told.filter((what) => what === '>').length
      const expected = new Map(acknowledged)
      process.powerLoss()
      const again = environmentOf(process.restart())
      const reading = async () => {
        const damages: unknown[] = []
        await verifyDatabase(again.fileSystem, folder, { onDamage: (damage) => damages.push(damage) })
        expect(damages, `seed ${seed}`).toEqual([])
        const db = await openDatabase(again)
        const found = new Map((await scan(db)).map((record) => [record.slice(0, 2), record]))
        for (const [key, i] of expected) {
          const got = (await db.get(bytes(key)))?.[0] as number
          // The write under way may be there, too.
          expect([i & 255, (i + 7) & 255], `seed ${seed}, ${key}`).toContain(got)
        }
        expect(found.size, `seed ${seed}`).toBeGreaterThanOrEqual(expected.size)
        await db.close()
      }
      await world.settle(reading(), 10_000_000)
    }
    expect(renames).toBeGreaterThan(60)
  })
})
