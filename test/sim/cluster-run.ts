/** One run of a whole cluster under faults: a phase of faults and load, then all must heal, converge and agree. */
import { assert } from '../../base/assert.ts'
import type { UnsafeRaft } from '../../raft/raft-host.ts'
import { HistoryRecorder } from '../linearizability/history.ts'
import type { OstrakaInput, OstrakaOutput } from '../linearizability/ostraka-model.ts'
import { Workload } from '../workload/workload.ts'
import { checkHistory, convergeAndCompare } from './convergence.ts'
import { Load } from './load.ts'
import { Nemesis } from './nemesis.ts'
import { RaftChecker } from './raft-checker.ts'
import { SimCluster, type SimClusterOptions } from './sim-cluster.ts'
import { World } from './world.ts'

export interface ClusterRunOptions {
  readonly seed: number
  readonly unsafe?: UnsafeRaft
  /** Virtual time under faults. Default 20 s. */
  readonly faultsMs?: number
  readonly recordTrace?: boolean
}

export interface ClusterRun {
  readonly seed: number
  readonly traceHash: string
  readonly traceLines: readonly string[]
  readonly virtualMs: number
  readonly events: number
  readonly operations: number
  readonly unknown: number
  readonly failed: number
  readonly faults: number
}

const shape: SimClusterOptions = { controllers: 3, nodes: 3, groups: 2, shards: 16 }
const shapeOfLoad = { clients: 5, deadlineMs: 5000 }
/** Calls that must be answered once everything is healed. */
const healedOperations = 200
/** A run in which fewer calls were answered tested nothing. */
const leastOperations = 200

/** Rejects with the seed in the message when anything is wrong. */
export async function runCluster(options: ClusterRunOptions): Promise<ClusterRun> {
  const { seed, unsafe, faultsMs = 20_000, recordTrace = false } = options
  const world = new World({ seed, recordTrace })
  const cluster = new SimCluster(world, unsafe === undefined ? shape : { ...shape, unsafe })
  const observer = new RaftChecker(world, cluster)
  await cluster.form()
  observer.start()
  const recorder = new HistoryRecorder<OstrakaInput, OstrakaOutput>()
  const workload = new Workload(recorder, world.random.fork(), { keys: 8, valueBytes: 24, nowMs: () => world.nowMs })
  const load = new Load(world, cluster, workload, shapeOfLoad)
  const nemesis = new Nemesis(world, cluster.network, cluster, { intervalMs: 800, deadMsMax: 2500, partitionMsMax: 2500 })
  nemesis.start()
  await world.runFor(faultsMs)
  nemesis.stop()
  await world.runUntil(() => cluster.isReady, 30_000)
  const before = workload.counts.ok
  await world.runUntil(() => workload.counts.ok >= before + healedOperations, 60_000)
  load.stop()
  await world.runUntil(() => load.idle, 30_000)
  await convergeAndCompare(world, cluster, shape.groups)
  observer.stop()
  checkHistory(seed, recorder)
  assert(workload.counts.ok >= leastOperations, `seed ${seed}: only ${workload.counts.ok} calls were answered: the run tested nothing`)
  return {
    seed,
    traceHash: world.traceHash(),
    traceLines: world.traceLines,
    virtualMs: world.nowMs,
    events: world.events,
    operations: workload.counts.ok,
    unknown: workload.counts.unknown,
    failed: workload.counts.failed,
    faults: [...nemesis.done.values()].reduce((sum, count) => sum + count, 0),
  }
}
