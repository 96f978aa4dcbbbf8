import { expect, it } from 'vitest'
import { SimCluster } from './sim-cluster.ts'
import { World } from './world.ts'

it('a node that starts while no controller answers waits for one, however long that takes, and serves then', async () => {
  const world = new World({ seed: 5 })
  const cluster = new SimCluster(world, { controllers: 3, nodes: 3, groups: 2, shards: 16 })
  await cluster.form()
  for (const name of cluster.names) cluster.kill(name)
  cluster.restart('n1')
  const begun = world.logLines.length
  await world.runFor(120_000)
  expect([cluster.isAlive('n1'), cluster.running('n1')]).toEqual([true, undefined])
  const told = world.logLines
    .slice(begun)
    .filter(({ process, message }) => process === 'n1' && message.startsWith('no controller has taken'))
  expect(told.length).toBeGreaterThanOrEqual(11)
  for (const name of cluster.names) if (name !== 'n1') cluster.restart(name)
  await world.runUntil(() => cluster.isReady, 60_000)
})
