import { expect, it } from 'vitest'
import type { Executor } from '../../base/executor.ts'
import { SeededRandom } from '../../base/random.ts'
import type { Database } from '../../lsm/index.ts'
import { type CompactionInput, compactionJobName } from '../../lsm/jobs.ts'
import { WriteBatch } from '../../lsm/write-batch.ts'
import { environmentOf, openDatabase, simulate } from './environment.ts'
import { bytes, scan } from './model.ts'

/** Counts the compactions that run at the same time, and sees to it that no table is in two of them. */
class CompactionWatch implements Executor {
  readonly #inner: Executor
  readonly #read = new Set<number>()
  #underWay = 0
  most = 0
  inputs: CompactionInput[] = []

  constructor(inner: Executor) {
    this.#inner = inner
  }

  async run<Input, Output>(name: string, input: Input): Promise<Output> {
    if (name !== compactionJobName) return this.#inner.run(name, input)
    const compaction = input as CompactionInput
    this.inputs.push(compaction)
    const tables = compaction.inputs.flat()
    for (const { id } of tables) {
      expect(this.#read.has(id), `table ${id} in two compactions`).toBe(false)
      this.#read.add(id)
    }
    this.most = Math.max(this.most, ++this.#underWay)
    try {
      return await this.#inner.run(name, input)
    } finally {
      this.#underWay--
      for (const { id } of tables) this.#read.delete(id)
    }
  }

  close(): Promise<void> {
    return this.#inner.close()
  }
}

/** Many keys in random order, written again and again. */
async function fill(db: Database, seed: number, rounds: number): Promise<Map<string, string>> {
  const random = new SeededRandom(seed)
  const model = new Map<string, string>()
  for (let round = 0; round < rounds; round++) {
    const batch = new WriteBatch()
    for (let i = 0; i < 50; i++) {
      const key = `key${String(random.below(3000)).padStart(5, '0')}`
      if (random.below(10) === 0) {
        batch.delete(bytes(key))
        model.delete(key)
      } else {
        const value = `${round}.${'v'.repeat(random.below(60))}`
        batch.put(bytes(key), bytes(value))
        model.set(key, value)
      }
    }
    db.write(batch)
    if (db.wantsSeal) await db.seal(bytes(String(round)))
  }
  await db.seal(bytes('end'))
  return model
}

const records = (model: Map<string, string>) => [...model].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `${key}=${value}`)

it.each([1, 3])(
  'up to %i compactions run at once, none of them over a table of another, and the records are those that were written',
  (maxCompactions) => {
    const { world, process: machine } = simulate(31)
    const environment = environmentOf(machine)
    const watch = new CompactionWatch(environment.executor)
    return world.settle(
      (async () => {
        const db = await openDatabase(environment, { wal: false, compactionExecutor: watch, maxCompactions, levelFactor: 2 })
        const model = await fill(db, 5, 400)
        await db.settle()
        expect(watch.most).toBe(maxCompactions)
        expect(await scan(db)).toEqual(records(model))
        // A range is compacted alone.
        watch.most = 0
        await Promise.all([db.compactRange(), db.compactRange(bytes('key00500'), bytes('key01000'))])
        expect(watch.most).toBe(1)
        expect(await scan(db)).toEqual(records(model))
        await db.close()
      })(),
      10_000_000,
    )
  },
)

it('a compaction below level 0 writes no faster than it may, and one of level 0 as fast as it goes', () => {
  const { world, process: machine } = simulate(32)
  const environment = environmentOf(machine)
  const watch = new CompactionWatch(environment.executor)
  const compactionBytesPerSecond = 4 * 2 ** 20
  return world.settle(
    (async () => {
      const options = { wal: false, compactionExecutor: watch, maxCompactions: 2, compactionBytesPerSecond, levelFactor: 2 } as const
      const db = await openDatabase(environment, options)
      await fill(db, 7, 200)
      await db.settle()
      const rates = (ofLevel0: boolean) => {
        const some = watch.inputs.filter(({ inputs }) => inputs.flat().some(({ level }) => level === 0) === ofLevel0)
        return new Set(some.map(({ bytesPerSecond }) => bytesPerSecond))
      }
      expect(rates(true)).toEqual(new Set([undefined]))
      expect(rates(false)).toEqual(new Set([compactionBytesPerSecond / 2]))
      await db.close()
    })(),
    10_000_000,
  )
})

it.each([
  [2 ** 20, 1800, 3000],
  [Number.POSITIVE_INFINITY, 0, 1000],
])('at %d bytes/s two megabytes are merged in %i to %i ms', (compactionBytesPerSecond, leastMs, mostMs) => {
  const { world, process: machine } = simulate(33)
  const environment = environmentOf(machine)
  return world.settle(
    (async () => {
      const db = await openDatabase(environment, {
        wal: false,
        memtableBytes: 2 ** 22,
        blockBytes: 4096,
        targetTableBytes: 2 ** 24,
        level0CompactionTrigger: 1,
        level1Bytes: 1024,
        levelFactor: 10,
        compactionBytesPerSecond,
      })
      const value = new Uint8Array(10_000)
      const round = async (mark: string) => {
        for (let i = 0; i < 200; i++) db.put(bytes(`key${i}`), value)
        await db.seal(bytes(mark))
        await db.settle()
      }
      // Goes down as it is, to the first level that has room for it.
      await round('one')
      expect(db.stats().compactions).toBe(0)
      const startMs = world.nowMs
      await round('two')
      expect(db.stats().compactions).toBe(1)
      expect(world.nowMs - startMs).toBeGreaterThanOrEqual(leastMs)
      expect(world.nowMs - startMs).toBeLessThan(mostMs)
      await db.close()
    })(),
    10_000_000,
  )
})
