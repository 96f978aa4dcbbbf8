/** Links that are cut in part: no leader is deposed by one who was away, and a group goes on while some majority reaches each other. */
import { describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { HistoryRecorder } from '../linearizability/history.ts'
import type { OstrakaInput, OstrakaOutput } from '../linearizability/ostraka-model.ts'
import { Workload } from '../workload/workload.ts'
import { checkHistory, convergeAndCompare } from './convergence.ts'
import { Load } from './load.ts'
import type { DirectedLink } from './partition.ts'
import { RaftChecker } from './raft-checker.ts'
import { SimCluster } from './sim-cluster.ts'
import type { CutMode } from './sim-network.ts'
import { World } from './world.ts'

async function setUp(seed: number, nodes: number) {
  const world = new World({ seed })
  const cluster = new SimCluster(world, { controllers: 1, nodes, groups: 1, shards: 16 })
  const checker = new RaftChecker(world, cluster)
  checker.start()
  await cluster.form()
  const recorder = new HistoryRecorder<OstrakaInput, OstrakaOutput>()
  const workload = new Workload(recorder, world.random.fork(), { keys: 8, valueBytes: 24, nowMs: () => world.nowMs })
  const load = new Load(world, cluster, workload, { clients: 4, deadlineMs: 2000, thinkMs: 150 })
  await world.runUntil(() => workload.counts.ok >= 50, 30_000)
  const group = must(cluster.hosted('n1')[0], 'a replica').replica.group
  const leader = () => must(cluster.groupLeader(group), 'a leader')
  const term = () => must(cluster.hosted(leader())[0], 'a replica').replica.term
  const end = async () => {
    load.stop()
    await world.runUntil(() => load.idle && cluster.isReady, 60_000)
    await convergeAndCompare(world, cluster, 1)
    checker.stop()
    checkHistory(seed, recorder)
  }
  return { world, cluster, workload, checker, leader, term, end }
}

describe('a follower that is cut off for 10 s and comes back, 10 times', () => {
  it.each<CutMode>(['stall', 'refuse'])(
    'changes neither leader nor term (%s)',
    async (mode) => {
      const { world, cluster, workload, leader, term, end } = await setUp(501, 3)
      const before = [leader(), term()]
      for (let round = 0; round < 10; round++) {
        const followers = cluster.nodeNames.filter((name) => name !== leader())
        cluster.network.isolate(must(followers[round % 2], 'a follower'), mode)
        const answered = workload.counts.ok
        await world.runFor(10_000)
        cluster.network.heal()
        await world.runFor(3000)
        expect([leader(), term()], `round ${round + 1}`).toEqual(before)
        expect(workload.counts.ok - answered, `answers in round ${round + 1}`).toBeGreaterThan(100)
      }
      await end()
    },
    120_000,
  )
})

/** Graphs of five nodes by who leads: the links between nodes that remain. */
const graphs: Readonly<Record<string, (leader: string, others: readonly string[]) => readonly (readonly string[])[]>> = {
  // Two sides that reach each other only over one node, who follows; the leader stands on a side.
  'a bridge beside the leader': (leader, [a = '', b = '', c = '', d = '']) => [
    [leader, a, b],
    [b, c, d],
  ],
  'the leader as the bridge': (leader, [a = '', b = '', c = '', d = '']) => [
    [a, b, leader],
    [leader, c, d],
  ],
  // Everybody reaches the two neighbours: a majority, and each another one.
  'a ring of majorities': (leader, [a = '', b = '', c = '', d = '']) => [
    [leader, a],
    [a, b],
    [b, c],
    [c, d],
    [d, leader],
  ],
  // The leader has lost its quorum, and only one follower reaches a majority.
  'a star around a follower': (leader, [a = '', b = '', c = '', d = '']) => [
    [a, leader],
    [a, b],
    [a, c],
    [a, d],
  ],
  // Nobody who is not in the middle reaches a majority.
  'a chain': (leader, [a = '', b = '', c = '', d = '']) => [
    [leader, a],
    [a, b, c],
    [c, d],
  ],
}

describe('five nodes with partial connectivity', () => {
  for (const [index, [name, graph]] of Object.entries(graphs).entries()) {
    it(`answers at least 80 % after 5 s and changes its leader at most 3 times: ${name}`, async () => {
      const { world, cluster, workload, checker, leader, end } = await setUp(510 + index, 5)
      const lead = leader()
      const cliques = graph(
        lead,
        cluster.nodeNames.filter((node) => node !== lead),
      )
      const elections = checker.elections
      const release = cluster.network.hold(cutBetween(cluster.nodeNames, cliques), index % 2 === 0 ? 'stall' : 'refuse')
      await world.runFor(5000)
      const { ok, failed, unknown } = workload.counts
      await world.runFor(30_000)
      const answered = workload.counts.ok - ok
      const lost = workload.counts.failed - failed + workload.counts.unknown - unknown
      expect(answered, 'answers').toBeGreaterThan(100)
      expect(answered / (answered + lost), `${answered} answered, ${lost} not`).toBeGreaterThanOrEqual(0.8)
      expect(checker.elections - elections, 'leader changes').toBeLessThanOrEqual(3)
      release()
      await end()
    }, 120_000)
  }
})

function cutBetween(nodes: readonly string[], cliques: readonly (readonly string[])[]): DirectedLink[] {
  const isOpen = (a: string, b: string) => cliques.some((clique) => clique.includes(a) && clique.includes(b))
  return nodes.flatMap((a) => nodes.filter((b) => a !== b && !isOpen(a, b)).map((b): DirectedLink => [a, b]))
}
