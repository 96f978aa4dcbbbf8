/** Real processes: shards move by `ostraka admin move` while clients write. Every acknowledged write is there afterwards, and no call fails. */
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { type Client, connect } from '../../client/index.ts'
import { jsonOf, thinkMs } from './expectations.ts'
import { Up } from './up.ts'

interface MigrationLine {
  readonly id: number
  readonly shards: readonly number[]
  readonly phase: string
  readonly pauseMs: number
}

/** Writes numbered values under keys of its own, a few calls at a time, until stopped. */
class Writer {
  readonly written = new Map<string, string>()
  longestMs = 0
  readonly #db: Client
  #stopped = false
  readonly #loops: readonly Promise<void>[]

  constructor(db: Client) {
    this.#db = db
    this.#loops = Array.from({ length: 8 }, (_, i) => this.#run(i))
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#loops)
  }

  async #run(loop: number): Promise<void> {
    for (let i = 0; !this.#stopped; i++) {
      const key = `move ${loop} ${i % 2000}`
      const startedMs = performance.now()
      await this.#db.put(key, `${i}`)
      this.longestMs = Math.max(this.longestMs, performance.now() - startedMs)
      this.written.set(key, `${i}`)
      await delay(thinkMs)
    }
  }
}

describe('shards that move while clients write', () => {
  let up: Up
  let db: Client
  beforeAll(async () => {
    up = await Up.start(['--nodes', '3', '--groups', '3', '--shards', '16'])
    db = await connect({ controllers: up.ready.controllers })
  }, 60_000)
  afterAll(async () => {
    await db?.close()
    await up?.dispose()
  })

  /** The newest migration of the shard. */
  async function newestOf(shard: number): Promise<MigrationLine | undefined> {
    const all = (await jsonOf((words) => up.run(words), ['admin', 'migrations'])) as MigrationLine[]
    return all.filter(({ shards }) => shards.includes(shard)).at(-1)
  }

  it('lose no acknowledged write, fail no call, and pause for milliseconds', async () => {
    const writer = new Writer(db)
    const pauses: number[] = []
    for (let shard = 0; shard < 6; shard++) {
      const { group } = must(await explainOf(shard), `a key of shard ${shard}`)
      const to = ['g1', 'g2', 'g3'].find((name) => name !== group) ?? ''
      const moved = await up.run(['admin', 'move', String(shard), to, '--wait'])
      expect(moved.code, moved.stderr).toBe(0)
      const migration = must(await newestOf(shard), `the migration of shard ${shard}`)
      expect(migration.phase).toBe('done')
      pauses.push(migration.pauseMs)
      expect((await explainOf(shard))?.group).toBe(to)
    }
    await writer.stop()
    expect(writer.written.size).toBeGreaterThan(1000)
    const found = await db.getMany([...writer.written.keys()])
    expect(found.map((record) => record?.value.toString())).toEqual([...writer.written.values()])
    console.log(
      JSON.stringify({ moves: pauses.length, pauseMs: pauses, longestCallMs: Math.round(writer.longestMs), keys: writer.written.size }),
    )
    expect(Math.max(...pauses)).toBeLessThan(1000)
  }, 120_000)

  /** Where a key of the shard is. */
  async function explainOf(shard: number) {
    for (let i = 0; i < 2000; i++) {
      const found = await db.explain(`probe ${i}`)
      if (found.shard === shard) return found
    }
    return undefined
  }
})
