/**
 * A whole cluster under faults, whose clients read in every way: by the leader's round, by its lease, by any replica, and stale within a bound. All
 * reads are checked by one search for an order: a stale one as if it had been called so much earlier.
 */
import { assert } from '../../base/assert.ts'
import type { ReadMode } from '../../client/types.ts'
import { HistoryRecorder } from '../linearizability/history.ts'
import type { OstrakaInput, OstrakaOutput } from '../linearizability/ostraka-model.ts'
import { Workload } from '../workload/workload.ts'
import { checkHistory } from './convergence.ts'
import { Load } from './load.ts'
import { Nemesis } from './nemesis.ts'
import { SimCluster } from './sim-cluster.ts'
import { World } from './world.ts'

export interface ReadsRunOptions {
  readonly seed: number
  /** Virtual time under faults. */
  readonly faultsMs: number
}

/** Within the bound of a lease: their ratio is below 1 / 0.9. */
const slowestRate = 0.952
const fastestRate = 1.047

const maxStalenessMs = 700

const allModes: readonly ReadMode[] = ['linearizable', 'lease', 'follower', 'stale']

/** Rejects with the seed in the message when anything is wrong. Returns how many calls were answered. */
export async function runReads({ seed, faultsMs }: ReadsRunOptions): Promise<number> {
  const world = new World({ seed })
  const cluster = new SimCluster(world, {
    controllers: 3,
    nodes: 3,
    groups: 2,
    shards: 16,
    readMode: 'lease',
    pausedClocks: 'running',
    clockOf: () => ({
      rate: slowestRate + world.random.next() * (fastestRate - slowestRate),
      monotonicOffsetMs: world.random.below(1_000_000),
    }),
  })
  await cluster.form()
  const recorder = new HistoryRecorder<OstrakaInput, OstrakaOutput>(() => world.nowMs)
  const workload = new Workload(recorder, world.random.fork(), {
    keys: 8,
    valueBytes: 24,
    nowMs: () => world.nowMs,
    reads: allModes,
    maxStalenessMs,
    staleForMs: maxStalenessMs / slowestRate,
  })
  const load = new Load(world, cluster, workload, { clients: 5, deadlineMs: 5000 })
  const nemesis = new Nemesis(world, cluster.network, cluster, { intervalMs: 800, deadMsMax: 2500, partitionMsMax: 2500 })
  nemesis.start()
  await world.runFor(faultsMs)
  nemesis.stop()
  await world.runUntil(() => cluster.isReady, 30_000)
  const before = workload.counts.ok
  await world.runUntil(() => workload.counts.ok >= before + 200, 60_000)
  load.stop()
  await world.runUntil(() => load.idle, 30_000)
  checkHistory(seed, recorder)
  assert(workload.counts.ok >= 250, `seed ${seed}: only ${workload.counts.ok} calls were answered: the run tested nothing`)
  return workload.counts.ok
}
