/** What must hold of a run when it is over. */
import { assert } from '../../base/assert.ts'
import { checkLinearizable, describeVerdict } from '../linearizability/checker.ts'
import type { HistoryRecorder } from '../linearizability/history.ts'
import { type OstrakaInput, type OstrakaOutput, ostrakaModel } from '../linearizability/ostraka-model.ts'
import type { SimCluster } from './sim-cluster.ts'
import type { World } from './world.ts'

/** Rejects what no order of the calls explains. */
export function checkHistory(seed: number, recorder: HistoryRecorder<OstrakaInput, OstrakaOutput>): void {
  const verdict = checkLinearizable(ostrakaModel, recorder.operations())
  if (verdict.verdict !== 'linearizable') throw new Error(`seed ${seed}: ${describeVerdict(ostrakaModel, verdict)}`)
}

/**
 * All replicas of each group, the controllers' included, hold at the same index the same records, sessions and shard states. `groups`: how many of
 * shards there must be. Machines whose disks are damaged are left out.
 */
export async function convergeAndCompare(world: World, cluster: SimCluster, groups: number): Promise<void> {
  const names = cluster.names.filter((name) => !cluster.atlas.isDamaged(name))
  for (let round = 0; round < 100; round++) {
    const states = new Map<string, Set<string>>()
    const failures: string[] = []
    for (const name of names) {
      const running = cluster.running(name)
      if (running === undefined) continue
      const { replicas } = await world.settle(running.status({ hash: true }))
      for (const { uid, hashIndex, stateHash, failure } of replicas) {
        if (failure) failures.push(`${name} ${uid}: ${failure}`)
        const seen = states.get(uid ?? '') ?? new Set()
        states.set(uid ?? '', seen.add(`${hashIndex} ${stateHash}`))
      }
    }
    assert(failures.length === 0, `seed ${world.seed}: replicas stopped: ${failures.join('; ')}`)
    const indexes = [...states.values()].map((seen) => new Set([...seen].map((state) => state.split(' ')[0])))
    if (indexes.every((seen) => seen.size === 1)) {
      for (const [group, seen] of states)
        assert(seen.size === 1, `seed ${world.seed}: the replicas of ${group} differ: ${[...seen].join(', ')}`)
      assert(states.size === groups + 1, `seed ${world.seed}: of the controllers and ${groups} groups only ${[...states.keys()]} are there`)
      return
    }
    await world.runFor(200)
  }
  throw new Error(`seed ${world.seed}: the replicas did not come to one index`)
}
