import { describe, expect, it } from 'vitest'
import type { Executor } from '../../base/executor.ts'
import { type Database, verifyDatabase, type WrittenTable } from '../../lsm/index.ts'
import { WriteBatch } from '../../lsm/write-batch.ts'
import { type Environment, onNode, onSimulator, openDatabase } from './environment.ts'
import { bytes, getText, scan } from './model.ts'

/** Nothing is compacted for another reason. */
const quiet = { level0CompactionTrigger: 1000, level0SlowdownTrigger: 999, level0StopTrigger: 1000, level1Bytes: 2 ** 40 } as const
const own = { wal: false, memtableBytes: 2 ** 20, targetTableBytes: 2 ** 20, ...quiet } as const

/** `count` records of about 120 bytes under each prefix. */
function records(prefixes: string, count: number, value = 'v'): WriteBatch {
  const batch = new WriteBatch()
  for (const prefix of prefixes) {
    for (let i = 0; i < count; i++) batch.put(bytes(`${prefix}${String(i).padStart(4, '0')}`), bytes(value.repeat(100)))
  }
  return batch
}

async function write(db: Database, batch: WriteBatch): Promise<void> {
  await db.write(batch)
  await db.seal(bytes('written'))
}

const excise = (db: Database, lower: string, upper: string) => db.excise(bytes(lower), bytes(upper), bytes('excised'))

/** Of all tables in the folder. */
async function tableBytes({ fileSystem, folder }: Environment): Promise<number> {
  let sum = 0
  for (const name of await fileSystem.list(`${folder}/db`)) {
    if (!name.endsWith('.sst')) continue
    const file = await fileSystem.open(`${folder}/db/${name}`, 'read')
    sum += await file.size()
    await file.close()
  }
  return sum
}

async function damages({ fileSystem, folder }: Environment): Promise<string[]> {
  const found: string[] = []
  await verifyDatabase(fileSystem, `${folder}/db`, { onDamage: (damage) => found.push(JSON.stringify(damage)) })
  return found
}

describe.each([
  ['on the simulator', onSimulator],
  ['on the real file system', onNode],
])('what was clipped off, %s', (_, run) => {
  it('is given back once it is more than a third of a file, in level 0 and below, and no sooner', () =>
    run(async (environment) => {
      const db = await openDatabase(environment, own)
      await write(db, records('abcdef', 50))
      await db.compactRange()
      await write(db, records('abcdef', 50, 'w'))
      await db.settle()
      expect(
        db
          .stats()
          .levels.slice(0, 2)
          .map(({ tables }) => tables),
      ).toEqual([1, 1])
      const whole = await tableBytes(environment)
      await excise(db, 'a', 'b')
      await db.settle()
      expect(await tableBytes(environment)).toBe(whole)
      const expected = (await scan(db)).filter((record) => !/^[abc]/.test(record))
      await excise(db, 'a', 'd')
      await db.settle()
      expect(await tableBytes(environment)).toBeLessThan(0.55 * whole)
      // Each in its place, and each once: what is whole is not written again.
      expect(
        db
          .stats()
          .levels.slice(0, 2)
          .map(({ tables }) => tables),
      ).toEqual([1, 1])
      expect(db.stats().compactions).toBe(2)
      expect(await scan(db)).toEqual(expected)
      await db.close()
      expect(await damages(environment)).toEqual([])
      const again = await openDatabase(environment, own)
      await again.settle()
      expect(await scan(again)).toEqual(expected)
      expect(again.stats().compactions).toBe(0)
      await again.close()
    }))

  it('is given back at the next open, where the database was closed at once', () =>
    run(async (environment) => {
      const db = await openDatabase(environment, own)
      await write(db, records('abcdef', 50))
      await db.settle()
      const whole = await tableBytes(environment)
      const excised = excise(db, 'b', 'f')
      await db.close()
      await excised
      const again = await openDatabase(environment, own)
      await again.settle()
      expect(await tableBytes(environment)).toBeLessThan(0.5 * whole)
      expect((await scan(again)).length).toBe(100)
      await again.close()
    }))

  it('leaves two parts of a table of level 0, in which nothing is damaged', () =>
    run(async (environment) => {
      const db = await openDatabase(environment, own)
      await write(db, records('abcdef', 50))
      await excise(db, 'c', 'd')
      await db.settle()
      expect(db.stats().levels[0]?.tables).toBe(2)
      expect(db.bytes).toBe((await tableBytes(environment)) + db.stats().memtableBytes)
      await db.close()
      expect(await damages(environment)).toEqual([])
    }))

  it('goes from level 0 without what its tombstones hide coming back from older tables of it', () =>
    run(async (environment) => {
      const db = await openDatabase(environment, own)
      await write(db, records('z', 1, 'old'))
      const deletes = records('abc', 50).delete(bytes('z0000'))
      await write(db, deletes)
      await write(db, records('y', 1))
      await excise(db, 'a', 'c')
      await db.settle()
      expect(db.stats().compactions).toBe(1)
      expect(await getText(db, 'z0000')).toBeUndefined()
      expect((await scan(db)).length).toBe(51)
      await db.close()
      const again = await openDatabase(environment, own)
      expect(await getText(again, 'z0000')).toBeUndefined()
      await again.close()
    }))

  it('stays for as long as a snapshot sees it', () =>
    run(async (environment) => {
      const db = await openDatabase(environment, own)
      await write(db, records('abcdef', 50))
      const before = await scan(db)
      const whole = await tableBytes(environment)
      const snapshot = db.snapshot()
      await excise(db, 'b', 'f')
      await db.settle()
      expect(await tableBytes(environment)).toBeGreaterThan(whole)
      expect(await scan(db, undefined, undefined, false, snapshot)).toEqual(before)
      snapshot.release()
      await db.settle()
      expect(await tableBytes(environment)).toBeLessThan(0.5 * whole)
      await db.close()
    }))
})

it('bytes written to give space back are at most twice those that came to be dead, and tables at most 1.5 times what counts', () =>
  onSimulator(async (environment) => {
    let written = 0
    const { executor } = environment
    const counted: Executor = {
      async run<Input, Output>(name: string, input: Input): Promise<Output> {
        const output = await executor.run<Input, Output>(name, input)
        for (const { size } of output as WrittenTable[]) written += size
        return output
      },
      close: () => executor.close(),
    }
    const db = await openDatabase(environment, { ...own, compactionExecutor: counted })
    await write(db, records('abcdefghijklmnop', 40))
    await db.settle()
    const whole = await tableBytes(environment)
    // Shards leave one after the other.
    for (const [i, shard] of [...'abcdefghijklmno'].entries()) {
      await excise(db, shard, String.fromCharCode(shard.charCodeAt(0) + 1))
      await db.settle()
      const live = (whole * (15 - i)) / 16
      // A block, a filter and an index are not cut finer than they are.
      expect(await tableBytes(environment)).toBeLessThan(1.5 * live + 1024)
    }
    expect(written).toBeGreaterThan(0)
    expect(written).toBeLessThan((2 * whole * 15) / 16)
    expect((await scan(db)).length).toBe(40)
    await db.close()
  }))
