import { describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { SimCluster } from './sim-cluster.ts'
import { World } from './world.ts'

/**
 * A group without load: nothing but the change itself is written. Those that are left lose their power as soon as a controller knows that the
 * others are out, and come back when the others are deleted.
 */
async function shrunk(seed: number, nodes: readonly string[], removed: readonly string[]) {
  const world = new World({ seed })
  const cluster = new SimCluster(world, { controllers: 3, nodes: nodes.length, groups: 1, shards: 16 })
  await cluster.form()
  const client = cluster.client('client', 10_000)
  await world.settle(client.ready())
  await world.settle(client.put('key', 'before'))
  const left = nodes.filter((name) => !removed.includes(name))
  const foldersOn = (name: string) =>
    cluster
      .disk(name)
      .paths()
      .filter((path) => path.includes('groups/g1@'))
  const request = { group: 'g1', add: [], remove: [...removed], author: 'script' }
  await world.settle(cluster.admin('admin').changeMembers(request, { timeoutMs: 10_000 }))
  const configs = () => cluster.controllerNames.map((name) => cluster.controllerState(name)?.config)
  await world.runUntil(() => configs().some((config) => config?.groupByName('g1')?.members.length === left.length))
  for (const name of left) cluster.powerLoss(name)
  await world.runUntil(() => removed.every((name) => foldersOn(name).length === 0))
  for (const name of left) cluster.restart(name)
  return { world, cluster, client, left }
}

describe('those that are left lose their power before those that were removed are deleted', () => {
  const nodes = ['n1', 'n2', 'n3']
  it.each([
    ['one of two', ['n1', 'n2'], ['n1'], 1],
    ['the other of two', ['n1', 'n2'], ['n2'], 2],
    ['two of three', nodes, ['n1', 'n2'], 3],
    ['two of three, another two', nodes, ['n2', 'n3'], 4],
    ['one of three', nodes, ['n3'], 5],
  ])('%s: they know that they are all that is left', async (_, all, removed, seed) => {
    const { world, cluster, client, left } = await shrunk(seed, all, removed)
    await world.runUntil(() => left.every((name) => cluster.running(name)?.ready() === true), 30_000)
    expect(must(await world.settle(client.get('key')), 'the record').value.toString()).toBe('before')
    await world.settle(client.put('key', 'after'))
  })
})
