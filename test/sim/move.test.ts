/** One shard moved under load in a cluster without faults; the faults are those of `cluster-run.ts`. */
import { expect, it, vi } from 'vitest'
import { must } from '../../base/assert.ts'
import { pb } from '../../proto/messages.ts'
import { fileMethods } from '../../proto/methods.ts'
import { type DigestInput, digestJobName } from '../../shardserver/jobs.ts'
import { HistoryRecorder } from '../linearizability/history.ts'
import type { OstrakaInput, OstrakaOutput } from '../linearizability/ostraka-model.ts'
import { Workload } from '../workload/workload.ts'
import { checkHistory, convergeAndCompare } from './convergence.ts'
import { Load } from './load.ts'
import { SimCluster } from './sim-cluster.ts'
import { SimExecutor } from './sim-executor.ts'
import { World } from './world.ts'

const { MigrationPhase } = pb.v1

const apart = [
  ['n1', 'n2', 'n3'],
  ['n4', 'n5', 'n6'],
]
const together = [
  ['n1', 'n2', 'n3'],
  ['n1', 'n2', 'n3'],
]

it.each([
  ['from nodes to others and back', apart],
  ['between groups on the same nodes, which pull no file from each other', together],
])(
  'shards move under load %s, and only the pause of milliseconds is seen',
  async (_name, placement) => {
    const world = new World({ seed: 401 })
    const cluster = new SimCluster(world, { controllers: 3, nodes: new Set(placement.flat()).size, groups: 2, shards: 16, placement })
    await cluster.form()
    const jobs = vi.spyOn(SimExecutor.prototype, 'run')
    let pulled = 0
    cluster.network.overhear((path) => {
      if (path === fileMethods.read.path) pulled++
    })
    const admin = cluster.admin('mover')
    const recorder = new HistoryRecorder<OstrakaInput, OstrakaOutput>()
    const workload = new Workload(recorder, world.random.fork(), { keys: 8, valueBytes: 24, nowMs: () => world.nowMs })
    const load = new Load(world, cluster, workload, { clients: 4, deadlineMs: 5000 })
    await world.runUntil(() => workload.counts.ok >= 50, 30_000)
    const options = { timeoutMs: 5000 }
    const call = <T>(promise: Promise<T>) => world.settle(promise, 20_000)
    const pauses: number[] = []
    for (const [shard, group] of [
      [0, 'g1'],
      [0, 'g2'],
      [1, 'g2'],
      [1, 'g1'],
      [0, 'g1'],
    ] as const) {
      const { migrations } = await call(admin.move({ shard, group, author: 'test' }, options))
      for (const id of migrations) {
        let migration: pb.v1.Migration.$Properties | undefined
        for (let round = 0; round < 300; round++) {
          migration = (await call(admin.migrations(options))).find((known) => known.id === id)
          if (migration?.phase !== MigrationPhase.COPYING && migration?.fromConfirmed && migration.toConfirmed) break
          await world.runFor(50)
        }
        expect(migration?.phase, `migration ${id}: ${migration?.reason}`).toBe(MigrationPhase.DONE)
        expect(migration?.fromConfirmed && migration.toConfirmed, `migration ${id} is confirmed`).toBe(true)
        pauses.push(must(migration?.pauseUs, 'a pause'))
      }
    }
    const after = workload.counts.ok
    await world.runUntil(() => workload.counts.ok >= after + 50, 30_000)
    load.stop()
    await world.runUntil(() => load.idle, 30_000)
    await convergeAndCompare(world, cluster, 2)
    checkHistory(world.seed, recorder)
    expect(pauses.length).toBeGreaterThanOrEqual(3)
    expect(pulled > 0).toBe(placement === apart)
    // What came from elsewhere is read whole where it arrives; linked files were read on that node a moment ago.
    const digested = jobs.mock.calls.filter(([name]) => name === digestJobName).map(([, input]) => (input as DigestInput).folder)
    expect(digested.some((folder) => folder.includes('exports/'))).toBe(true)
    expect(digested.some((folder) => folder.includes('imports/'))).toBe(placement === apart)
    jobs.mockRestore()
    expect(Math.max(...pauses)).toBeLessThan(200_000)
    expect(Math.min(...pauses)).toBeGreaterThan(0)
    expect(workload.counts.failed).toBe(0)
  },
  120_000,
)
