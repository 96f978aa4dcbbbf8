import { describe, expect, it } from 'vitest'
import { sleep } from '../../base/clock.ts'
import { SeededRandom } from '../../base/random.ts'
import { BlockCache, MemtableBudget } from '../../lsm/index.ts'
import type { GroupStateMachine } from '../../shardserver/group-state-machine.ts'
import { shardJobs } from '../../shardserver/jobs.ts'
import { openGroupStateMachine } from '../../shardserver/open-group.ts'
import { firstOf } from '../raft/standings.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'
import { openMachine, shardCount } from './builders.ts'
import { RandomHistory } from './group-history.ts'
import { resultText } from './group-model.ts'

const seeds = Array.from({ length: 12 }, (_, i) => i + 1)
const length = 600

/** One life of a replica: goes on behind what is durable, and tells how far it came. */
class Life {
  machine: GroupStateMachine | undefined
  startedAt = -1
  hash: { index: number; hash: string } | undefined
  readonly results: string[] = []

  async run(process: SimProcess, history: RandomHistory, random: SeededRandom): Promise<void> {
    this.machine = await openGroupStateMachine({
      fileSystem: process.fileSystem,
      executor: process.executor,
      clock: process.clock,
      logger: process.logger,
      folder: 'data/g1',
      first: () => firstOf(3),
      blockCache: new BlockCache(8192),
      memtableBudget: new MemtableBudget(4096),
      shardCount,
    })
    this.startedAt = this.machine.durable.index
    while (this.machine.applied < length) {
      const at = this.machine.applied
      const results = await this.machine.apply(history.log.entries.slice(at, at + 1 + random.below(30)))
      for (const result of results) this.results.push(...(result.kind === 'written' ? result.results.map(resultText) : []))
      if (random.below(20) === 0) void this.machine.flush()
      await sleep(process.clock, random.below(6))
    }
    this.hash = await this.machine.stateHash()
  }
}

describe('a group over the LSM', () => {
  it.each(seeds)('comes to the same after power cuts at any time (seed %i)', async (seed) => {
    const history = new RandomHistory(seed, length)
    const expected = await openMachine()
    const replies = (await expected.machine.apply(history.log.entries)).map((result) =>
      result.kind === 'written' ? result.results.map(resultText) : [],
    )
    const world = new World({ seed })
    const network = new SimNetwork(world)
    let process = new SimProcess(world, { name: 'n1', network, jobs: shardJobs })
    let durable = 0
    let rebirths = 0
    for (;;) {
      const life = new Life()
      void life.run(process, history, new SeededRandom(seed + rebirths)).catch((error: unknown) => world.fail(error))
      if (rebirths < 12) await world.runFor(1 + world.random.below(rebirths % 3 === 0 ? 40 : 400))
      else await world.runUntil(() => life.hash !== undefined)
      if (life.startedAt >= 0) {
        expect(life.startedAt).toBeGreaterThanOrEqual(durable)
        expect(life.results).toEqual(replies.slice(life.startedAt).flat().slice(0, life.results.length))
      }
      durable = Math.max(durable, life.machine?.durable.index ?? 0)
      if (life.hash !== undefined) {
        expect(life.hash).toEqual(await expected.machine.stateHash())
        break
      }
      if (world.random.below(2) === 0) process.kill()
      else process.powerLoss()
      rebirths++
      process = process.restart()
    }
    expect(rebirths).toBeGreaterThan(0)
    expect(durable).toBeGreaterThan(0)
  })
})
