import { expect, it } from 'vitest'
import { sleep } from '../../base/clock.ts'
import type { Executor } from '../../base/executor.ts'
import { SeededRandom } from '../../base/random.ts'
import type { Database } from '../../lsm/index.ts'
import { type CompactionInput, compactionJobName } from '../../lsm/jobs.ts'
import { WriteBatch } from '../../lsm/write-batch.ts'
import type { World } from '../sim/world.ts'
import { type Environment, environmentOf, openDatabase, simulate } from './environment.ts'
import { bytes, scan } from './model.ts'

/** Sees which compactions run at the same time, and that no table is in two of them. */
class CompactionWatch implements Executor {
  readonly #inner: Executor
  readonly #read = new Set<number>()
  #gate = Promise.resolve()
  underWay = 0
  most = 0
  /** With the number of those that ran at that moment. */
  readonly begun: { readonly input: CompactionInput; readonly others: number }[] = []

  constructor(inner: Executor) {
    this.#inner = inner
  }

  /** Those that begin from now on do nothing before the returned function is called. */
  hold(): () => void {
    let release = () => {}
    this.#gate = new Promise((resolve) => {
      release = resolve
    })
    return release
  }

  async run<Input, Output>(name: string, input: Input): Promise<Output> {
    if (name !== compactionJobName) return this.#inner.run(name, input)
    const compaction = input as CompactionInput
    this.begun.push({ input: compaction, others: this.underWay })
    const tables = compaction.inputs.flat()
    for (const { id } of tables) {
      expect(this.#read.has(id), `table ${id} in two compactions`).toBe(false)
      this.#read.add(id)
    }
    this.most = Math.max(this.most, ++this.underWay)
    try {
      await this.#gate
      return await this.#inner.run(name, input)
    } finally {
      this.underWay--
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

interface Watched {
  readonly world: World
  readonly environment: Environment
  readonly watch: CompactionWatch
}

/** Runs `test` on a simulated machine. */
function watched(seed: number, test: (watched: Watched) => Promise<void>): Promise<void> {
  const { world, process: machine } = simulate(seed)
  const environment = environmentOf(machine)
  return world.settle(test({ world, environment, watch: new CompactionWatch(environment.executor) }), 10_000_000)
}

const records = (model: Map<string, string>) => [...model].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `${key}=${value}`)

it.each([1, 3])(
  'up to %i compactions run at once, none of them over a table of another, and the records are those that were written',
  (maxCompactions) => {
    return watched(31, async ({ environment, watch }) => {
      const db = await openDatabase(environment, { wal: false, compactionExecutor: watch, maxCompactions, levelFactor: 2 })
      const model = await fill(db, 5, 400)
      await db.settle()
      expect(watch.most).toBe(maxCompactions)
      expect(await scan(db)).toEqual(records(model))
      await db.close()
    })
  },
)

it('a range waits for what runs, nothing else begins meanwhile, and then it comes first', () => {
  return watched(32, async ({ environment, watch }) => {
    const db = await openDatabase(environment, { wal: false, compactionExecutor: watch, maxCompactions: 3, levelFactor: 2 })
    const release = watch.hold()
    await fill(db, 8, 20)
    expect(watch.begun.length).toBeGreaterThan(0)
    const ranged = db.compactRange()
    await Promise.resolve()
    const before = watch.begun.length
    await fill(db, 9, 20)
    expect(watch.begun).toHaveLength(before)
    release()
    await ranged
    expect(watch.begun[before]).toMatchObject({ others: 0 })
    expect(watch.begun[before]?.input.inputs.flat().length).toBeGreaterThan(3)
    await db.settle()
    await db.close()
  })
})

it('what is due goes on between ranges, however many callers ask for one after the other', () => {
  return watched(34, async ({ environment, watch }) => {
    const later = { level0CompactionTrigger: 1000, level0SlowdownTrigger: 999, level0StopTrigger: 1000 }
    const filled = await openDatabase(environment, { wal: false, ...later })
    const model = await fill(filled, 10, 200)
    await filled.close()
    const db = await openDatabase(environment, { wal: false, compactionExecutor: watch, levelFactor: 2 })
    const [lower, upper] = [bytes('key00500'), bytes('key00600')]
    let done = false
    const callers = [1, 2].map(async () => {
      while (!done) {
        await db.compactRange(lower, upper)
        // Where nothing is left to do no time passes.
        await sleep(environment.clock, 1)
      }
    })
    // Level 1 holds far more than it should, nearly all of it outside of the range: it goes down table by table.
    for (let ms = 0; ms < 1000 && db.stats().trivialMoves < 50; ms++) await sleep(environment.clock, 1)
    expect(db.stats().trivialMoves).toBeGreaterThanOrEqual(50)
    done = true
    await Promise.all(callers)
    await db.settle()
    expect(await scan(db)).toEqual(records(model))
    await db.close()
  })
})

it('to close is to wait for no rate', () => {
  return watched(35, async ({ world, environment, watch }) => {
    const options = {
      compactionBytesPerSecond: 2 ** 20,
      compactionExecutor: watch,
      level1Bytes: 1024,
      level0CompactionTrigger: 1,
    } as const
    const db = await openDatabase(environment, {
      wal: false,
      memtableBytes: 2 ** 24,
      blockBytes: 4096,
      targetTableBytes: 2 ** 24,
      ...options,
    })
    const round = async (mark: string) => {
      for (let i = 0; i < 1000; i++) db.put(bytes(`key${i}`), new Uint8Array(10_000))
      await db.seal(bytes(mark))
    }
    await round('one')
    await db.settle()
    await round('two')
    while (watch.underWay === 0) await sleep(environment.clock, 1)
    const startMs = world.nowMs
    await db.close()
    // Ten megabytes would take ten seconds.
    expect(world.nowMs - startMs).toBeLessThan(2000)
  })
})

it.each([
  [2 ** 20, 1800, 3000],
  [Number.POSITIVE_INFINITY, 0, 1000],
])('at %d bytes/s two megabytes are merged in %i to %i ms', (compactionBytesPerSecond, leastMs, mostMs) => {
  return watched(33, async ({ world, environment }) => {
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
  })
})
