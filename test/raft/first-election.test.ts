/** A group that never had a leader: its first voter stands at once. On the rig an election timeout is 500 ms at least, and a heartbeat is due each 50 ms. */
import { expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { Rig } from './host-rig.ts'

const soonMs = 200

it('the first voter leads long before an election timeout', async () => {
  const rig = new Rig(3)
  for (const node of rig.nodes) await node.run()
  await rig.world.runUntil(() => rig.nodes[0]?.replica?.role === 'leader', soonMs)
  expect(await rig.leader()).toBe(rig.nodes[0])
})

it('the first voter that is there before the others leads soon after a second is', async () => {
  const rig = new Rig(3)
  const [first, second] = rig.nodes
  await must(first, 'a node').run()
  await rig.world.runFor(3000)
  expect(first?.replica).toMatchObject({ role: expect.not.stringMatching('leader'), term: 0 })
  await must(second, 'a node').run()
  await rig.world.runUntil(() => first?.replica?.role === 'leader', 1000)
})

it('without the first voter another leads behind the timeout; when the first comes it follows, in the same term', async () => {
  const rig = new Rig(3)
  const [first, ...others] = rig.nodes
  for (const node of others) await node.run()
  await rig.world.runFor(soonMs)
  expect(others.map(({ replica }) => replica?.term)).toEqual([0, 0])
  const leader = await rig.leader()
  const term = leader.replica?.term
  await must(first, 'a node').run()
  await rig.world.runUntil(() => first?.replica?.leader === leader.number, 1000)
  await rig.world.runFor(1000)
  expect(leader.replica).toMatchObject({ role: 'leader', term })
})

it('a voter that has had a leader waits for the timeout after a restart', async () => {
  const rig = new Rig(3)
  await rig.run()
  for (const node of rig.nodes) await node.again()
  await rig.world.runFor(soonMs)
  expect(rig.nodes.map(({ replica }) => replica?.role)).toEqual(['follower', 'follower', 'follower'])
  await rig.leader()
})
