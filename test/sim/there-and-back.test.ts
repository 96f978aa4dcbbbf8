/**
 * A shard that leaves a group and comes back (class 20 of bugs known from other systems: what is cleaned up late, or read from an old snapshot, kills or
 * revives data of a later stay). It goes there and back again and again, with records written, overwritten and deleted on either side, everything sealed
 * and compacted in between, and a leader killed at one step of each move. A model knows what must be there: nothing more, nothing less.
 */
import { describe, expect, it } from 'vitest'
import { migrationFiles, recordsLeft } from './left-behind.ts'
import { migrationSteps } from './migration-steps.ts'
import { ScriptStage } from './script-stage.ts'
import { World } from './world.ts'

const isFull = process.env.OSTRAKA_MIT_FULL === '1'
const rounds = isFull ? 20 : 6
const seeds = isFull ? [1301, 1302, 1303, 1304, 1305] : [1301, 1302]
const keys = 40

/** Some records are written, some deleted; of each two keys one is left as it is. */
async function change(stage: ScriptStage, shard: number, what: string): Promise<void> {
  const { random } = stage.world
  for (let number = 0; number < keys; number++) {
    const draw = random.next()
    if (draw < 0.25) await stage.put(stage.keyIn(shard, number), `${what}, number ${number}`.padEnd(500, '.'))
    else if (draw < 0.5) await stage.delete(stage.keyIn(shard, number))
  }
}

/** What is in memory goes into tables. */
async function sealAll(stage: ScriptStage): Promise<void> {
  for (const name of stage.cluster.nodeNames) {
    for (const { stateMachine } of stage.cluster.hosted(name)) await stage.world.settle(stateMachine.flush())
  }
}

/** Kills the leader of one of the two groups when a migration takes step `at`, and starts it again. Tells, when it is asked, whether it has. */
function killOnceAt(stage: ScriptStage, at: string): () => boolean {
  let isKilled = false
  stage.onStep(({ step, from, to }) => {
    if (step !== at || isKilled) return
    const victim = stage.cluster.groupLeader(stage.world.random.next() < 0.5 ? from : to)
    if (victim === undefined || !stage.cluster.isAlive(victim)) return
    isKilled = true
    if (stage.world.random.next() < 0.5) stage.cluster.kill(victim)
    else stage.cluster.powerLoss(victim)
    stage.world.schedule(1000 * stage.world.random.next(), undefined, 'it comes back', () => {
      if (!stage.cluster.isAlive(victim)) stage.cluster.restart(victim)
    })
  })
  return () => isKilled
}

describe('a shard that goes there and back', { timeout: 240_000 }, () => {
  it.each(seeds)('has what was put and not what was deleted, and leaves nothing in the other group (seed %i)', async (seed) => {
    const world = new World({ seed })
    // Small, so that each change makes tables and each few of them are compacted.
    const stage = new ScriptStage(world, { memtableBytes: 8 * 1024 })
    await stage.open()
    await stage.fill()
    const shard = stage.someShard()
    let kills = 0
    for (let round = 0; round < 2 * rounds; round++) {
      await change(stage, shard, `round ${round}`)
      if (world.random.next() < 0.5) await sealAll(stage)
      const steps = migrationSteps.filter((step) => step !== 'replay')
      const isKilled = killOnceAt(stage, steps[round % steps.length] ?? '')
      const id = await stage.ask(shard, round % 2 === 0 ? 'g2' : 'g1')
      await change(stage, shard, `round ${round}, on its way`)
      expect(await stage.ended(id, 60_000), `round ${round}`).toBe('done')
      await stage.checkData()
      stage.onStep(undefined)
      kills += Number(isKilled())
    }
    expect(kills).toBeGreaterThan(rounds)
    await stage.finish()
    for (const name of stage.cluster.nodeNames) {
      await world.runUntil(() => migrationFiles(stage.cluster, name).length === 0, 20_000, `${name} has no files of migrations`)
      const [left] = await recordsLeft(world, stage.cluster, name, [shard])
      if (stage.sourceNodes.includes(name)) expect(left).toBeGreaterThan(0)
      else expect(left).toBe(0)
    }
    stage.close()
  })
})
