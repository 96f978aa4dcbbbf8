import { describe, expect, it } from 'vitest'
import { CorruptionError, type Database, verifyDatabase } from '../../lsm/index.ts'
import { environmentOf, openDatabase, simulate } from './environment.ts'
import { bytes, scan } from './model.ts'

const folder = 'data/db'
/** The last record of a closed log, which is not synced. */
const markBytes = 24

/** A database with ten records in its log, closed (or killed), and the path of that log. */
async function setUp(how: 'closed' | 'killed' = 'closed') {
  const { world, process } = simulate(6)
  const environment = environmentOf(process)
  const open = () => world.settle(openDatabase(environment))
  let db: Database = await open()
  for (let i = 0; i < 10; i++) await world.settle(Promise.resolve(db.put(bytes(`k${i}`), bytes('v'))))
  if (how === 'closed') await world.settle(db.close())
  const log = process.disk.paths().find((path) => path.endsWith('.log')) ?? ''
  const cut = async (end: number) => {
    const file = await world.settle(environment.fileSystem.open(log, 'write'))
    await world.settle(file.truncate(end))
    await world.settle(file.close())
  }
  const damages = async () => {
    const told: string[] = []
    await world.settle(verifyDatabase(environment.fileSystem, folder, { onDamage: ({ file, what }) => told.push(`${file}: ${what}`) }))
    return told
  }
  const count = async () => {
    db = await open()
    const records = await world.settle(scan(db))
    await world.settle(db.close())
    return records.length
  }
  return { world, disk: process.disk, open, log, cut, damages, count }
}

describe('the log that a close leaves', () => {
  it('is opened and verified as it is, again and again', async () => {
    const { damages, count } = await setUp()
    for (let i = 0; i < 3; i++) {
      expect(await damages()).toEqual([])
      expect(await count()).toBe(10)
    }
  })

  it('is damaged where it is shorter than it was, cut anywhere, to nothing, too', async () => {
    const whole = await setUp()
    const { length } = whole.disk.bytesOf(whole.log)
    for (const end of [0, 1, 40, 200, length - markBytes - 1]) {
      const { log, cut, open, damages } = await setUp()
      await cut(end)
      const told = await damages()
      expect(told.some((text) => text.startsWith(`${log}: `))).toBe(true)
      await expect(open()).rejects.toMatchObject({ name: 'CorruptionError', file: log })
    }
  })

  it('may lack the mark that ends it', async () => {
    const { disk, log, cut, count } = await setUp()
    await cut(disk.bytesOf(log).length - 1)
    expect(await count()).toBe(10)
  })

  it('is damage where it is gone', async () => {
    const { disk, log, open, damages } = await setUp()
    disk.unlink(log)
    expect(await damages()).toEqual([`${log}: missing, though a close left records in it`])
    await expect(open()).rejects.toThrow(CorruptionError)
  })

  it('is not missed once it was turned into a table, nor where nothing lay in it', async () => {
    const { world, disk, open, count, damages } = await setUp()
    expect(await count()).toBe(10)
    const db = await open()
    await world.settle(db.close())
    for (const path of disk.paths()) if (path.endsWith('.log')) disk.unlink(path)
    expect(await damages()).toEqual([])
    expect(await count()).toBe(10)
  })

  it('is no part of a checkpoint', async () => {
    const { world, open } = await setUp()
    const db = await open()
    await world.settle(Promise.resolve(db.put(bytes('more'), bytes('v'))))
    await world.settle(db.checkpoint('data/copy'))
    await world.settle(db.close())
    const again = await open()
    expect((await world.settle(scan(again))).length).toBe(11)
    await world.settle(again.close())
  })
})
