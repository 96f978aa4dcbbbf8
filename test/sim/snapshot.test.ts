import { describe, expect, it } from 'vitest'
import { HistoryRecorder } from '../linearizability/history.ts'
import type { OstrakaInput, OstrakaOutput } from '../linearizability/ostraka-model.ts'
import { Workload } from '../workload/workload.ts'
import { checkHistory, convergeAndCompare } from './convergence.ts'
import { Load } from './load.ts'
import { SimCluster, type SimClusterOptions } from './sim-cluster.ts'
import { World } from './world.ts'

const snapshotLogBytes = 8 * 1024

async function fill(world: World, cluster: SimCluster, bytes: number): Promise<void> {
  const client = cluster.client('filler', 10_000)
  await world.settle(client.ready(), 10_000)
  for (let i = 0; i * 4000 < bytes; i++) await world.settle(client.put(`big${i}`, new Uint8Array(4000)))
  await world.settle(client.close())
}

/** One node is away until the others' logs no longer reach back to it; `disturb` is called when it is back. */
async function runLagging(
  seed: number,
  disturb: (world: World, cluster: SimCluster, away: string) => Promise<void>,
  options: Partial<SimClusterOptions> = {},
  stateBytes = 0,
) {
  const world = new World({ seed })
  const cluster = new SimCluster(world, { controllers: 3, nodes: 3, groups: 2, shards: 16, snapshotLogBytes, ...options })
  await cluster.form()
  await fill(world, cluster, stateBytes)
  const recorder = new HistoryRecorder<OstrakaInput, OstrakaOutput>()
  const workload = new Workload(recorder, world.random.fork(), { keys: 8, valueBytes: 24, nowMs: () => world.nowMs })
  const load = new Load(world, cluster, workload, { clients: 5, deadlineMs: 5000 })
  const away = cluster.nodeNames[world.random.below(3)] as string
  const last = new Map(cluster.hosted(away).map(({ replica }) => [replica.group, replica.log.lastIndex]))
  if (world.random.below(2) === 0) cluster.kill(away)
  else cluster.powerLoss(away)
  const others = cluster.nodeNames.filter((name) => name !== away)
  const logs = () => others.flatMap((name) => cluster.hosted(name).map(({ replica }) => replica))
  const isPast = () => logs().every((replica) => replica.log.firstIndex > (last.get(replica.group) ?? 0) + 1)
  await world.runUntil(isPast, 120_000)
  for (const replica of logs()) expect(replica.log.bytes).toBeLessThan(4 * snapshotLogBytes)
  const installed = () => world.logLines.filter(({ process, message }) => process === away && message === 'installed a snapshot').length
  const before = installed()
  cluster.restart(away)
  await disturb(world, cluster, away)
  await world.runUntil(() => cluster.isReady, 60_000)
  load.stop()
  await world.runUntil(() => load.idle, 30_000)
  await convergeAndCompare(world, cluster, 2)
  checkHistory(seed, recorder)
  // Reads agree as soon as a majority does: the one that was away may be on its way yet.
  const reached = new Map(logs().map(({ group, commit }) => [group, commit]))
  const isThere = () => cluster.hosted(away).every(({ replica }) => replica.applied >= (reached.get(replica.group) ?? 0))
  await world.runUntil(isThere, 60_000, `${away} has caught up`)
  return installed() - before
}

describe('a node that was away past the truncation of the logs', () => {
  for (const seed of [1, 2, 3, 4]) {
    it(`catches up by snapshots under load, and agrees (seed ${seed})`, async () => {
      // One for each of its two groups; more where it fell behind again.
      expect(await runLagging(seed, async () => {})).toBeGreaterThanOrEqual(2)
    }, 120_000)
  }

  for (const seed of [21, 22]) {
    it(`needs one snapshot a group also where fetching it takes longer than the others' logs would be kept (seed ${seed})`, async () => {
      let tookMs = 0
      const installs = await runLagging(
        seed,
        async (world, cluster, away) => {
          const startMs = world.nowMs
          const goal = new Map(
            cluster.nodeNames.flatMap((name) => cluster.hosted(name).map(({ replica }) => [replica.group, replica.applied])),
          )
          const isThere = () =>
            cluster.hosted(away).length === goal.size &&
            cluster.hosted(away).every(({ replica }) => replica.applied >= (goal.get(replica.group) ?? 0))
          await world.runUntil(isThere, 120_000)
          tookMs = world.nowMs - startMs
        },
        // In what the fetch takes the load writes more than sixteen times `snapshotLogBytes`, and less than the state.
        { snapshotBytesPerSecond: 60_000, snapshotLogBytes: 2048 },
        600_000,
      )
      expect(tookMs).toBeGreaterThan(5000)
      expect(installs).toBe(2)
    }, 120_000)
  }

  for (const seed of [11, 12, 13, 14]) {
    it(`loses power and restarts while it catches up (seed ${seed})`, async () => {
      const installs = await runLagging(seed, async (world, cluster, away) => {
        for (let round = 0; round < 6; round++) {
          await world.runFor(20 + world.random.below(1500))
          if (round % 2 === 0) cluster.powerLoss(away)
          else cluster.kill(away)
          cluster.restart(away)
        }
      })
      expect(installs).toBeGreaterThanOrEqual(1)
    }, 120_000)
  }
})
