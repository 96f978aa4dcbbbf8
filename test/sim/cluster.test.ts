import { describe, expect, it } from 'vitest'
import { runCluster } from './cluster-run.ts'
import type { FaultKind } from './fault-menu.ts'

// A sample; `npm run sim -- --seeds 300` runs more. A run that finds anything wrong rejects, naming its seed.
describe('a cluster of three controllers, three nodes, two groups and clients, under faults', () => {
  for (const seed of [101, 102, 103, 104]) {
    it(`is linearizable, converges and agrees (seed ${seed})`, async () => {
      const run = await runCluster({ seed, faultsMs: 10_000 })
      expect(run.operations).toBeGreaterThanOrEqual(200)
      expect(run.faults).toBeGreaterThan(0)
    })
  }

  // A machine needs longer to come back than the next fault takes to come: were there no let-up, nothing would be answered.
  it.each<[string, FaultKind[]]>([
    ['all machines lose power', ['power-loss-of-all']],
    ['machines go down', ['kill', 'power-loss', 'shut-down']],
  ])('answers calls also where, by its menu, %s ten times a second', async (_what, kinds) => {
    const menu = { faults: new Map(kinds.map((kind) => [kind, 1])), intervalMs: 100, rhythm: { burstMs: 400, restMs: 2000 } }
    const run = await runCluster({ seed: 106, faultsMs: 30_000, menu })
    expect(run.faults).toBeGreaterThan(100)
  })

  it('goes the same way twice (seed 105), and another way under another seed', async () => {
    const [first, again, other] = [
      await runCluster({ seed: 105, faultsMs: 5000 }),
      await runCluster({ seed: 105, faultsMs: 5000 }),
      await runCluster({ seed: 106, faultsMs: 5000 }),
    ]
    expect(again.traceHash).toBe(first.traceHash)
    expect(other.traceHash).not.toBe(first.traceHash)
  })

  it('catches a cluster that acknowledges what it did not sync', async () => {
    const caught: string[] = []
    for (let seed = 1; seed <= 10 && caught.length === 0; seed++) {
      await runCluster({ seed, unsafe: { noSync: true }, faultsMs: 15_000 }).catch((error: Error) => caught.push(error.message))
    }
    expect(caught).toHaveLength(1)
  })
})
