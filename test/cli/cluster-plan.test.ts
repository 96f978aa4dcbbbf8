import fc from 'fast-check'
import { expect, it } from 'vitest'
import { planCluster, portSpan } from '../../cli/cluster-plan.ts'

it('gives the ports of the contract', () => {
  const plan = planCluster({ nodes: 3, groups: 3, replicas: 3 }, 7400)
  expect(plan.controllers.map(({ id, address, http }) => [id, address, http])).toEqual([
    ['c1', '127.0.0.1:7400', '127.0.0.1:7420'],
    ['c2', '127.0.0.1:7401', '127.0.0.1:7421'],
    ['c3', '127.0.0.1:7402', '127.0.0.1:7422'],
  ])
  expect(plan.nodes.map(({ id, address, http }) => [id, address, http])).toEqual([
    ['n1', '127.0.0.1:7410', '127.0.0.1:7430'],
    ['n2', '127.0.0.1:7411', '127.0.0.1:7431'],
    ['n3', '127.0.0.1:7412', '127.0.0.1:7432'],
  ])
  expect(planCluster({ nodes: 1, groups: 1, replicas: 1 }, 7400).controllers).toHaveLength(1)
})

it('spreads the replicas evenly over the nodes, no two of a group on one, within its span of ports', () => {
  const shape = fc.integer({ min: 1, max: 10 }).chain((nodes) =>
    fc.record({
      nodes: fc.constant(nodes),
      groups: fc.integer({ min: 1, max: 64 }),
      replicas: fc.integer({ min: 1, max: Math.min(9, nodes) }),
    }),
  )
  fc.assert(
    fc.property(shape, (asked) => {
      const plan = planCluster(asked, 10_000)
      const held = new Map(plan.nodes.map(({ id }) => [id, 0]))
      for (const { members } of plan.groups) {
        expect(new Set(members.map(({ id }) => id)).size).toBe(asked.replicas)
        for (const { id } of members) held.set(id, (held.get(id) ?? 0) + 1)
      }
      expect(plan.groups).toHaveLength(asked.groups)
      expect(Math.max(...held.values()) - Math.min(...held.values())).toBeLessThanOrEqual(1)
      const ports = [...plan.controllers, ...plan.nodes].flatMap(({ address, http }) =>
        [address, http].map((text) => Number(text.split(':')[1])),
      )
      expect(new Set(ports).size).toBe(ports.length)
      expect(Math.max(...ports)).toBeLessThan(10_000 + portSpan)
    }),
  )
})
