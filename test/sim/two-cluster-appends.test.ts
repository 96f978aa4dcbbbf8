/**
 * What redisraft tests with Elle over two of its clusters, told again over two groups: clients append to lists whose keys lie in shards that move from one
 * to the other, read them, and see each item once, in the order of its client, in lists that are prefixes of one another. In the end who gave a shard
 * away holds no key of it.
 */
import { describe, expect, it } from 'vitest'
import { AppendLists } from '../workload/append-lists.ts'
import { recordsLeft } from './left-behind.ts'
import { unreliable } from './raft-cluster.ts'
import { ScriptStage } from './script-stage.ts'
import { World } from './world.ts'

const isFull = process.env.OSTRAKA_MIT_FULL === '1'
const moves = isFull ? 20 : 6
const clients = 5
const deadlineMs = 60_000

interface Round {
  readonly name: string
  readonly seed: number
  readonly isUnreliable?: true
  /** Whose leaders die. */
  readonly kills?: 'sources' | 'targets'
}

const table: readonly Round[] = [
  { name: 'on a good network', seed: 1101 },
  { name: 'on a bad one', seed: 1102, isUnreliable: true },
  { name: 'with leaders of the source killed at every step', seed: 1103, kills: 'sources' },
  { name: 'with leaders of the target killed at every step', seed: 1104, kills: 'targets' },
]

/** Kills the leader of one side when a migration takes a step, at each step once, and starts it again. Tells, when it is asked, how many it has killed. */
function killAtSteps(stage: ScriptStage, side: 'sources' | 'targets'): () => number {
  const order = ['import', 'export', 'files', 'ingest', 'commit', 'release', 'activate']
  let kills = 0
  stage.onStep(({ step, from, to }) => {
    if (step !== order[kills]) return
    const victim = stage.cluster.groupLeader(side === 'sources' ? from : to)
    if (victim === undefined || !stage.cluster.isAlive(victim)) return
    kills++
    if (stage.world.random.next() < 0.5) stage.cluster.kill(victim)
    else stage.cluster.powerLoss(victim)
    stage.world.schedule(500, undefined, 'it comes back', () => {
      if (!stage.cluster.isAlive(victim)) stage.cluster.restart(victim)
    })
  })
  return () => kills
}

class Appenders {
  readonly lists: AppendLists
  calls = 0
  readonly #stage: ScriptStage
  #running = 0
  #stopped = false

  /** Lists lie in `shards`, turn about. */
  constructor(stage: ScriptStage, shards: readonly number[]) {
    this.#stage = stage
    this.lists = new AppendLists(stage.world.random.fork(), (number) => stage.keyIn(shards[number % shards.length] ?? 0, 20 + number))
    for (let i = 0; i < clients; i++) void this.#drive(`appender${i}`)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#stage.world.runUntil(() => this.#running === 0, deadlineMs, 'all have their answers')
  }

  async #drive(name: string): Promise<void> {
    const { world, cluster } = this.#stage
    this.#running++
    try {
      const db = cluster.client(name, deadlineMs)
      await db.ready(deadlineMs)
      while (!this.#stopped) {
        await this.lists.one(name, db)
        this.calls++
        await new Promise<void>((resolve) => world.schedule(5 + 10 * world.random.next(), undefined, `${name} thinks`, resolve))
      }
      await db.close()
    } catch (error) {
      // No call may fail: every fault passes within the deadline.
      world.fail(error)
    } finally {
      this.#running--
    }
  }
}

describe('appends to lists in shards that move between two groups', { timeout: 120_000 }, () => {
  it.each(table.map((row) => [row.name, row] as const))('%s: each once and in order, and nothing is left behind', async (_, row) => {
    const world = new World({ seed: row.seed })
    const stage = new ScriptStage(world)
    await stage.open()
    if (row.isUnreliable) stage.cluster.network.setAllConditions(unreliable)
    const shards = stage.config.shardsOf(stage.uid('g1')).slice(0, 2)
    const appenders = new Appenders(stage, shards)
    const kills = row.kills === undefined ? undefined : killAtSteps(stage, row.kills)
    for (let round = 0; round < moves; round++) {
      const to = round % 2 === 0 ? 'g2' : 'g1'
      const before = appenders.calls
      const ids: number[] = []
      for (const shard of shards) ids.push(await stage.ask(shard, to))
      for (const id of ids) expect(await stage.ended(id, 60_000), `round ${round}, migration ${id}`).toBe('done')
      await world.runUntil(() => appenders.calls >= before + 20, 20_000)
    }
    stage.onStep(undefined)
    await appenders.stop()
    if (kills !== undefined) expect(kills()).toBeGreaterThanOrEqual(5)
    expect(appenders.lists.acknowledged).toBeGreaterThan(100)
    await stage.finish()
    // The last round took all of it to g1.
    for (const name of stage.targetNodes) expect(await recordsLeft(world, stage.cluster, name, shards)).toEqual([0, 0])
    for (const name of stage.sourceNodes) {
      for (const records of await recordsLeft(world, stage.cluster, name, shards)) expect(records).toBeGreaterThan(0)
    }
    await world.settle(appenders.lists.readAll(stage.client, (read) => read()))
    expect(appenders.lists.verdict()).toBeUndefined()
    stage.close()
  })
})
