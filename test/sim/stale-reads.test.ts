import { describe, expect, it } from 'vitest'
import { checkLinearizable } from '../linearizability/checker.ts'
import { HistoryRecorder } from '../linearizability/history.ts'
import { type OstrakaInput, type OstrakaOutput, ostrakaModel } from '../linearizability/ostraka-model.ts'
import { SimCluster } from './sim-cluster.ts'
import { World } from './world.ts'

const maxStalenessMs = 2000

/**
 * A follower that no other node reaches for five seconds, and a client that reaches no other node; another client writes all the time. `staleForMs`: how
 * old the answers may be. Returns whether they are, and when the follower answered last, from when it was cut off.
 */
async function cutOffFollower(seed: number, staleForMs: number): Promise<{ verdict: string; reads: number; lastMs: number }> {
  const world = new World({ seed })
  const cluster = new SimCluster(world, { controllers: 1, nodes: 3, groups: 1, shards: 16 })
  await cluster.form()
  const group = cluster.hosted('n1')[0]?.replica.group ?? ''
  cluster.transferTo('n1')
  await world.runUntil(() => cluster.groupLeader(group) === 'n1', 10_000)
  const recorder = new HistoryRecorder<OstrakaInput, OstrakaOutput>(() => world.nowMs)
  const [writer, reader] = [cluster.client('writer', 5000), cluster.client('reader', 300)]
  for (const db of [writer, reader]) await world.settle(db.ready(), 10_000)
  const think = () => new Promise<void>((resolve) => world.schedule(20, undefined, 'a client thinks', resolve))
  const endMs = world.nowMs + 8000
  let values = 0
  const write = async () => {
    while (world.nowMs < endMs) {
      const value = `v${++values}`
      const operation = recorder.call('writer', 'k', { op: 'put', value })
      await writer.put('k', value)
      recorder.return(operation, {})
      await think()
    }
  }
  let [reads, lastMs, cutMs] = [0, 0, 0]
  const read = async () => {
    while (world.nowMs < endMs) {
      const operation = recorder.call('reader', 'k', { op: 'get' }, staleForMs)
      const askedMs = world.nowMs
      const found = await reader.get('k', { read: 'stale', maxStalenessMs }).catch(() => 'refused' as const)
      if (found === 'refused') recorder.fail(operation)
      else {
        recorder.return(operation, { value: found?.value.toString() })
        reads++
        lastMs = askedMs - cutMs
      }
      await think()
    }
  }
  for (const other of ['n1', 'n2']) cluster.network.cutBoth('reader', other, 'refuse')
  const calls = Promise.all([write(), read()])
  await world.runFor(3000)
  cutMs = world.nowMs
  for (const other of ['n1', 'n2']) cluster.network.cutBoth('n3', other)
  await world.settle(calls, 20_000)
  return { verdict: checkLinearizable(ostrakaModel, recorder.operations()).verdict, reads, lastMs }
}

describe('a follower that is cut off', () => {
  it.each([1, 2, 3])('answers stale reads from what it has, as long as the bound allows, and none after (seed %i)', async (seed) => {
    const { verdict, reads, lastMs } = await cutOffFollower(seed, maxStalenessMs)
    expect(verdict).toBe('linearizable')
    expect(reads).toBeGreaterThan(50)
    expect(lastMs).toBeLessThanOrEqual(maxStalenessMs)
  })

  it('is caught where its answers are held to a tenth of their bound', async () => {
    const { verdict } = await cutOffFollower(1, maxStalenessMs / 10)
    expect(verdict).toBe('refuted')
  })
})
