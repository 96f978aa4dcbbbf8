/** One run of a whole cluster under faults: a phase of faults and load, then all must heal, converge and agree. */
import { assert } from '../../base/assert.ts'
import type { Client } from '../../client/client.ts'
import type { UnsafeRaft } from '../../raft/raft-host.ts'
import { checkLinearizable, describeVerdict } from '../linearizability/checker.ts'
import { HistoryRecorder } from '../linearizability/history.ts'
import { type OstrakaInput, type OstrakaOutput, ostrakaModel } from '../linearizability/ostraka-model.ts'
import { Workload } from '../workload/workload.ts'
import { LeaderObserver } from './leader-observer.ts'
import { Nemesis } from './nemesis.ts'
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
const clients = 5
const deadlineMs = 5000
/** Calls that must be answered once everything is healed. */
const healedOperations = 200
/** A run in which fewer calls were answered tested nothing. */
const leastOperations = 200

/** Rejects with the seed in the message when anything is wrong. */
export async function runCluster(options: ClusterRunOptions): Promise<ClusterRun> {
  const { seed, unsafe, faultsMs = 20_000, recordTrace = false } = options
  const world = new World({ seed, recordTrace })
  const cluster = new SimCluster(world, unsafe === undefined ? shape : { ...shape, unsafe })
  const observer = new LeaderObserver(world, cluster)
  await cluster.form()
  observer.start()
  const recorder = new HistoryRecorder<OstrakaInput, OstrakaOutput>()
  const workload = new Workload(recorder, world.random.fork(), { keys: 8, valueBytes: 24, nowMs: () => world.nowMs })
  const load = new Load(world, cluster, workload)
  const nemesis = new Nemesis(world, cluster.network, cluster, { intervalMs: 800, deadMsMax: 2500, partitionMsMax: 2500 })
  nemesis.start()
  await world.runFor(faultsMs)
  nemesis.stop()
  await world.runUntil(() => cluster.isReady, 30_000)
  const before = workload.counts.ok
  await world.runUntil(() => workload.counts.ok >= before + healedOperations, 60_000)
  load.stop()
  await world.runUntil(() => load.idle, 30_000)
  await convergeAndCompare(world, cluster)
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

function checkHistory(seed: number, recorder: HistoryRecorder<OstrakaInput, OstrakaOutput>): void {
  const verdict = checkLinearizable(ostrakaModel, recorder.operations())
  if (verdict.verdict !== 'linearizable') throw new Error(`seed ${seed}: ${describeVerdict(ostrakaModel, verdict)}`)
}

/** All replicas of a group at the same index hold the same records, sessions and shard states. */
async function convergeAndCompare(world: World, cluster: SimCluster): Promise<void> {
  for (let round = 0; round < 100; round++) {
    const states = new Map<string, Set<string>>()
    const failures: string[] = []
    for (const name of cluster.nodeNames) {
      const running = cluster.running(name)
      if (running === undefined) continue
      const { replicas } = await world.settle(running.status({ hash: true }))
      for (const { group, hashIndex, stateHash, failure } of replicas) {
        if (failure) failures.push(`${name} ${group}: ${failure}`)
        const seen = states.get(group ?? '') ?? new Set()
        states.set(group ?? '', seen.add(`${hashIndex} ${stateHash}`))
      }
    }
    assert(failures.length === 0, `seed ${world.seed}: replicas stopped: ${failures.join('; ')}`)
    const indexes = [...states.values()].map((seen) => new Set([...seen].map((state) => state.split(' ')[0])))
    if (indexes.every((seen) => seen.size === 1)) {
      for (const [group, seen] of states)
        assert(seen.size === 1, `seed ${world.seed}: the replicas of ${group} differ: ${[...seen].join(', ')}`)
      assert(states.size === cluster.groupNames.length, `seed ${world.seed}: only ${states.size} groups are there`)
      return
    }
    await world.runFor(200)
  }
  throw new Error(`seed ${world.seed}: the replicas did not come to one index`)
}

class Load {
  readonly #world: World
  readonly #workload: Workload
  #stopped = false
  #running = 0

  constructor(world: World, cluster: SimCluster, workload: Workload) {
    this.#world = world
    this.#workload = workload
    for (let i = 0; i < clients; i++) {
      const name = `client${i + 1}`
      void this.#drive(name, cluster.client(name, deadlineMs))
    }
  }

  get idle(): boolean {
    return this.#running === 0
  }

  stop(): void {
    this.#stopped = true
  }

  async #drive(name: string, db: Client): Promise<void> {
    const random = this.#world.random.fork()
    this.#running++
    try {
      await db.ready(30_000)
      while (!this.#stopped) {
        await this.#workload.one(name, db)
        await new Promise<void>((resolve) => this.#world.schedule(random.next() * 40, undefined, `${name} thinks`, resolve))
      }
      await db.close()
    } catch (error) {
      this.#world.fail(error)
    } finally {
      this.#running--
    }
  }
}
