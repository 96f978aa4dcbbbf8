import { describe, expect, it } from 'vitest'
import { concatBytes, writeU64 } from '../../base/bytes.ts'
import { NodeExecutor } from '../../base/node-executor.ts'
import { type Database, type DatabaseOptions, type Expiry, type ExpiryHorizon, WriteBatch, writeTable } from '../../lsm/index.ts'
import { compile } from '../base/compile.ts'
import type { RunIn } from './database-contract-queue.ts'
import { type Environment, onNode, onSimulator, openDatabase } from './environment.ts'
import { bytes, getText, scan, text } from './model.ts'

/** Keys are a range, a kind ('r': values that may end) and a name. */
const layout = { keyOffset: 1, keyByte: 0x72, valueOffset: 2 }
const forAll: readonly ExpiryHorizon[] = [{ lower: bytes('a'), upper: bytes('z'), moment: 100 }]

function expiring(horizons: readonly ExpiryHorizon[] = forAll): Expiry {
  return { ...layout, horizons: () => horizons }
}

/** Two bytes, the moment, a text. */
function ending(moment: number, name = 'v'): Uint8Array {
  const value = new Uint8Array(10)
  writeU64(value, 2, moment)
  return concatBytes(value, bytes(name))
}

/** A table of level 0. */
async function flushed(db: Database, records: Readonly<Record<string, Uint8Array>>): Promise<void> {
  const batch = new WriteBatch()
  for (const [key, value] of Object.entries(records)) batch.put(bytes(key), value)
  await db.write(batch)
  await db.seal(bytes('m'))
}

/** Merges all there is: one table alone would only be moved. */
async function compacted(db: Database): Promise<void> {
  await flushed(db, { '0': bytes('first'), zz: bytes('last') })
  await flushed(db, { '0': bytes('first'), zz: bytes('last') })
  await db.compactRange()
  await db.settle()
}

async function keysOf(db: Database): Promise<string[]> {
  const keys = (await scan(db)).map((record) => record.split('=')[0] as string)
  return keys.filter((key) => key !== '0' && key !== 'zz')
}

async function inWorker(test: (environment: Environment) => Promise<void>): Promise<void> {
  const compiled = compile(new URL('../../lsm/worker.ts', import.meta.url))
  const executor = new NodeExecutor({ entry: compiled.url })
  try {
    await onNode((environment) => test({ ...environment, executor }))
  } finally {
    await executor.close()
    compiled.remove()
  }
}

function describeExpiry(name: string, runIn: RunIn): void {
  describe(`values that expire, ${name}`, () => {
    const inDatabase = (test: (db: Database, environment: Environment) => Promise<void>, options: Partial<DatabaseOptions>) =>
      runIn(async (environment) => {
        const db = await openDatabase(environment, { wal: false, level0CompactionTrigger: 3, level1Bytes: 1024 * 1024, ...options })
        await test(db, environment)
        await db.close()
      })

    it('are dropped by a compaction up to the very moment, and stay until one meets them', () =>
      inDatabase(
        async (db) => {
          await flushed(db, { ar1: ending(99), ar2: ending(100), ar3: ending(101), ar4: ending(0) })
          expect(await keysOf(db)).toEqual(['ar1', 'ar2', 'ar3', 'ar4'])
          const snapshot = db.snapshot()
          await compacted(db)
          expect(await keysOf(db)).toEqual(['ar3', 'ar4'])
          expect(db.stats().levels.reduce((tables, level) => tables + level.tables, 0)).toBe(1)
          expect(await getText(db, 'ar1', snapshot)).toBeDefined()
          snapshot.release()
        },
        { expiry: expiring() },
      ))

    it('hide older versions as deletes do, for as long as there are any below', () =>
      inDatabase(
        async (db, { fileSystem, folder }) => {
          await writeTable(fileSystem, `${folder}/old.sst`, [{ key: bytes('ar1'), value: ending(0, 'old') }])
          await db.ingest([{ path: `${folder}/old.sst`, level: 3 }], bytes('1'))
          await flushed(db, { ar0: ending(50), ar1: ending(50, 'new'.padEnd(3000)) })
          for (let i = 0; i < 2; i++) await flushed(db, { '0': bytes('first'), zz: bytes('last') })
          await db.settle()
          expect(db.stats().levels.map(({ tables }) => tables)).toEqual([0, 1, 0, 1, 0, 0, 0])
          expect(db.stats().levels[1]?.bytes).toBeLessThan(1500)
          expect(await keysOf(db)).toEqual([])
          await db.compactRange()
          await db.settle()
          expect(db.stats().levels.map(({ tables }) => tables)).toEqual([0, 0, 0, 1, 0, 0, 0])
          expect(await keysOf(db)).toEqual([])
        },
        { expiry: expiring() },
      ))

    it('are only those of the keys and places that the option names', () =>
      inDatabase(
        async (db) => {
          const outOfRange = new Uint8Array(10).fill(255)
          await flushed(db, {
            a: ending(1),
            ak1: ending(1),
            ar1: ending(1).subarray(0, 9),
            ar2: outOfRange,
            ar3: ending(1).subarray(0, 10),
            // Short, behind a longer key.
            b: ending(1),
          })
          await compacted(db)
          expect(await keysOf(db)).toEqual(['a', 'ak1', 'ar1', 'ar2', 'b'])
        },
        { expiry: expiring() },
      ))

    it('are kept outside of the horizons, each of which counts for its range alone', () =>
      inDatabase(
        async (db) => {
          for (const range of ['a', 'b', 'c', 'd', 'e']) {
            await flushed(db, { [`${range}r1`]: ending(10), [`${range}r2`]: ending(20), [`${range}r3`]: ending(30) })
          }
          await compacted(db)
          expect(await keysOf(db)).toEqual(['ar1', 'ar2', 'ar3', 'br2', 'br3', 'cr1', 'cr3', 'dr3', 'er1', 'er2', 'er3'])
        },
        {
          expiry: expiring([
            { lower: bytes('b'), upper: bytes('c'), moment: 10 },
            { lower: bytes('cr2'), upper: bytes('cr3'), moment: 100 },
            { lower: bytes('cz'), upper: bytes('cz'), moment: 100 },
            { lower: bytes('d'), upper: bytes('er1'), moment: 29 },
          ]),
        },
      ))

    it('are kept where nothing is said of them', () =>
      inDatabase(async (db) => {
        await flushed(db, { ar1: ending(1) })
        await compacted(db)
        expect(await keysOf(db)).toEqual(['ar1'])
      }, {}))
  })
}

describeExpiry('on the real file system', onNode)
describeExpiry('on a simulated disk', onSimulator)
describeExpiry('in a worker thread', inWorker)

describe('horizons', () => {
  it('are dropped from the deepest level when a range is compacted', () =>
    onSimulator(async (environment) => {
      let horizons: readonly ExpiryHorizon[] = []
      const db = await openDatabase(environment, { wal: false, expiry: { ...layout, horizons: () => horizons } })
      await flushed(db, { ar0: ending(50), ar1: ending(200) })
      await compacted(db)
      expect(await keysOf(db)).toEqual(['ar0', 'ar1'])
      horizons = forAll
      await db.compactRange()
      expect(await keysOf(db)).toEqual(['ar1'])
      await db.close()
    }))

  it('are asked for as each compaction begins, for the range of its keys', () =>
    onSimulator(async (environment) => {
      const asked = new Set<string>()
      let answer: readonly ExpiryHorizon[] = []
      const horizons: Expiry['horizons'] = ({ lower, upper }) => {
        asked.add(`${text(lower)} ${text(upper)}`)
        return answer
      }
      const db = await openDatabase(environment, { wal: false, level0CompactionTrigger: 100, expiry: { ...layout, horizons } })
      await flushed(db, { ar1: ending(1), mr1: ending(1) })
      await flushed(db, { br1: ending(1) })
      expect([...asked]).toEqual([])
      await db.compactRange()
      expect([...asked]).toEqual(['ar1 mr1\0'])
      expect(await keysOf(db)).toEqual(['ar1', 'br1', 'mr1'])
      asked.clear()
      answer = forAll
      await flushed(db, { cr1: ending(1) })
      await db.compactRange()
      expect([...asked]).toEqual(['ar1 mr1\0'])
      expect(await keysOf(db)).toEqual([])
      await db.close()
    }))

  it('that overlap or are out of order are a bug of who gives them', () =>
    onSimulator(async (environment) => {
      const at = (lower: string, upper: string) => ({ lower: bytes(lower), upper: bytes(upper), moment: 1 })
      for (const wrong of [[at('a', 'c'), at('b', 'd')], [at('c', 'd'), at('a', 'b')], [at('b', 'a')]]) {
        const folder = `data/${wrong.length}${text((wrong[0] as ExpiryHorizon).lower)}`
        const db = await openDatabase(environment, { wal: false, folder, expiry: expiring(wrong) })
        await expect(compacted(db)).rejects.toThrow(/horizon/)
        expect(db.failed?.name).toBe('AssertionError')
        await db.close().catch(() => undefined)
      }
    }))

  it('lie at places that keys and values can have', () =>
    onSimulator(async (environment) => {
      for (const [name, value] of [
        ['keyOffset', -1],
        ['keyByte', 256],
        ['valueOffset', 1.5],
      ] as const) {
        await expect(openDatabase(environment, { expiry: { ...expiring(), [name]: value } })).rejects.toThrow(`expiry.${name}`)
      }
    }))
})
