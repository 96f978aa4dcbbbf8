/** A copy that takes its time under writes: what they do is fetched meanwhile, and replayed once the files are in, whoever leads by then. */
import { expect, it } from 'vitest'
import { migrationMethods } from '../../proto/methods.ts'
import { EntryCode } from '../../shardserver/entry.ts'
import { ScriptStage } from './script-stage.ts'
import { World } from './world.ts'

const keys = 60

it.each([
  { seed: 1401, who: 'nobody' },
  { seed: 1402, who: 'target' },
  { seed: 1403, who: 'source' },
])(
  'a copy of seconds has the delta on its way as well, and nothing is missing or twice where $who goes away meanwhile (seed $seed)',
  async ({ seed, who }) => {
    const world = new World({ seed })
    const stage = new ScriptStage(world, { migrationBytesPerSecond: 16 * 1024 })
    await stage.open()
    await stage.fill()
    const shard = stage.someShard()
    for (let number = 0; number < keys; number++) await stage.put(stage.keyIn(shard, number), `old ${number}`.padEnd(1000, '.'))
    const id = await stage.ask(shard, 'g2')
    const has = (kind: number) => stage.heard.some((entry) => entry.id === id && entry.kind === kind)
    const isIngested = () => has(EntryCode.Ingest)
    const asked = { early: 0, beforeReplay: 0 }
    stage.cluster.network.overhear((path) => {
      if (path !== migrationMethods.delta.path) return
      if (!isIngested()) asked.early++
      else if (!has(EntryCode.Replay)) asked.beforeReplay++
    })
    const victim = who === 'nobody' ? undefined : stage.cluster.groupLeader(stage.uid(who === 'target' ? 'g2' : 'g1'))
    const startedMs = world.nowMs
    for (let number = 0; !isIngested() && world.nowMs - startedMs < 60_000; number++) {
      await stage.put(stage.keyIn(shard, number % keys), `new ${number}`.padEnd(8000, '.'))
      if (number === 100 && victim !== undefined) stage.cluster.kill(victim)
      await world.runFor(10)
    }
    expect(world.nowMs - startedMs).toBeGreaterThan(2000)
    expect(await stage.ended(id)).toBe('done')
    expect(has(EntryCode.Replay)).toBe(true)
    expect(asked.early).toBeGreaterThan(0)
    if (who === 'nobody') expect(asked.beforeReplay).toBe(0)
    await stage.finish()
    stage.close()
  },
  120_000,
)
