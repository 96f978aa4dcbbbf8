/** A shard is committed to another group, and its source cannot learn of that: it goes on serving, and clients, who know of the commit, find it there. */
import { expect, it } from 'vitest'
import { ScriptStage } from './script-stage.ts'
import { World } from './world.ts'

const awayMs = 20_000
/** A call finds its way round once, by a target that has waited half a second for the source. */
const callMsMost = 1500

it.each([2101, 2102, 2103])('the source serves until it has learned of the commit (seed %i)', { timeout: 60_000 }, async (seed) => {
  const world = new World({ seed })
  const stage = new ScriptStage(world)
  await stage.open()
  await stage.fill()
  const shard = stage.someShard()
  const { controllerNames, network } = stage.cluster
  const toControllers = stage.sourceNodes.flatMap((node) =>
    controllerNames.flatMap((name) => [[node, name] as const, [name, node] as const]),
  )
  let mend: (() => void) | undefined
  stage.onStep(({ step }) => {
    // Between the last word of the target and the news of the commit.
    if (step === 'commit') mend ??= network.hold(toControllers)
  })
  const id = await stage.ask(shard, 'g2')
  await world.runUntil(() => mend !== undefined, 20_000, 'the shard is committed')
  let longestMs = 0
  let calls = 0
  for (const endMs = world.nowMs + awayMs; world.nowMs < endMs; calls++) {
    const startMs = world.nowMs
    await stage.put(stage.keyIn(shard, calls % 3), `call ${calls}`)
    longestMs = Math.max(longestMs, world.nowMs - startMs)
    await world.runFor(20)
  }
  expect(stage.stateIn(stage.uid('g1'), shard)).toBe('exporting')
  expect(stage.config.groupOf(shard)?.name).toBe('g2')
  expect(longestMs).toBeLessThan(callMsMost)
  mend?.()
  expect(await stage.ended(id)).toBe('done')
  await stage.checkData()
  await stage.finish()
  stage.close()
})
