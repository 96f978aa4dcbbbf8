import { expect, it } from 'vitest'
import { utf8, utf8Text } from '../../base/bytes.ts'
import type { File, FileSystem } from '../../base/file-system.ts'
import { type Database, WriteBatch } from '../../lsm/index.ts'
import { type Environment, onNode, openDatabase } from './environment.ts'
import { override } from './override.ts'

/** A file system of which a byte of all tables cannot be read. */
class BadSector {
  readonly fileSystem: FileSystem
  /** Offset of the byte; below 0: none. */
  at = -1
  /** How many reads of it fail. */
  times = Number.POSITIVE_INFINITY
  /** All reads wait, however fast they could be. */
  slow = false

  constructor(inner: FileSystem) {
    this.fileSystem = override(inner, {
      open: async (path, mode) => this.#wrap(await inner.open(path, mode)),
    })
  }

  #wrap(inner: File): File {
    if (!inner.path.endsWith('.sst')) return inner
    return override(inner, {
      read: async (target, position) => {
        this.#check(target.length, position)
        return inner.read(target, position)
      },
      readNow: (target, position) => {
        if (this.slow) return undefined
        this.#check(target.length, position)
        return inner.readNow(target, position)
      },
    })
  }

  #check(length: number, position: number): void {
    if (this.at < position || this.at >= position + length) return
    if (--this.times <= 0) this.at = -1
    throw Object.assign(new Error('EIO: bad sector'), { code: 'EIO' })
  }
}

const key = (i: number) => utf8(`k${String(i).padStart(5, '0')}`)

async function withRecords(count: number, test: (db: Database, disk: BadSector) => Promise<void>): Promise<void> {
  await onNode(async (environment: Environment) => {
    const disk = new BadSector(environment.fileSystem)
    const db = await openDatabase(
      { ...environment, fileSystem: disk.fileSystem },
      { memtableBytes: 2 ** 24, targetTableBytes: 2 ** 24, blockBytes: 4096, level0CompactionTrigger: 100 },
    )
    const batch = new WriteBatch()
    for (let i = 0; i < count; i++) batch.put(key(i), new Uint8Array(100))
    await db.write(batch)
    await db.flush()
    await test(db, disk)
    await db.close()
  })
}

// A read ahead is tried again without what lies ahead.
it.each([
  [0, 1],
  [50_000, Number.POSITIVE_INFINITY],
])('an iterator whose read fails (at %i) passes nothing over: it goes on failing', (at, times) =>
  withRecords(3000, async (db, disk) => {
    const iterator = db.iterate()
    disk.at = at
    disk.times = times
    const found: number[] = []
    let failure: unknown
    while (failure === undefined) {
      try {
        if (!(await iterator.next())) break
        found.push(Number(utf8Text(iterator.key.slice()).slice(1)))
      } catch (error) {
        failure = error
      }
    }
    expect(failure).toMatchObject({ code: 'EIO' })
    expect(found).toEqual(found.map((_, i) => i))
    expect(found.length).toBeLessThan(3000)
    await expect((async () => iterator.next())()).rejects.toBe(failure)
  }),
)

it('a bad sector ahead fails nothing before it: an iteration comes as far as gets do', () =>
  withRecords(10_000, async (db, disk) => {
    disk.at = 600_000
    let reached = 0
    const iterator = db.iterate()
    await expect(
      (async () => {
        while (await iterator.next()) reached++
      })(),
    ).rejects.toThrow('EIO')
    let got = 0
    const get = async (i: number) => db.get(key(i))
    while (await get(got).catch(() => undefined)) got++
    expect(reached).toBe(got)
    expect(got).toBeGreaterThan(4000)
  }))

it('a get answers for the key as it was when it was called', () =>
  withRecords(3000, async (db, disk) => {
    disk.slow = true
    for (const where of [1000, 2000]) {
      const mine = key(where)
      const other = utf8('absent')
      const value = db.get(mine)
      mine.set(other)
      expect((await value)?.length).toBe(100)
    }
  }))
