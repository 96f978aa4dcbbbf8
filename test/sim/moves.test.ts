import { describe, expect, it } from 'vitest'
import { runCluster } from './cluster-run.ts'
import { runScripts } from './move-scripts.ts'

// A sample; `npm run sim -- --scenario moves --seeds 300` runs more. A run that finds anything wrong rejects, naming its seed.
describe('a cluster whose shards move, under faults and load', () => {
  for (const seed of [201, 202]) {
    it(`loses nothing, serves each shard once and comes to rest (seed ${seed})`, async () => {
      const run = await runCluster({ moves: true, seed, faultsMs: 10_000 })
      expect(run.moves).toBeGreaterThanOrEqual(3)
      expect(run.operations).toBeGreaterThanOrEqual(200)
    })
  }

  it('goes the same way twice (seed 203)', async () => {
    const first = await runCluster({ moves: true, seed: 203, faultsMs: 6000 })
    const again = await runCluster({ moves: true, seed: 203, faultsMs: 6000 })
    expect(again.traceHash).toBe(first.traceHash)
  })
})

describe('scripts of moving shards', () => {
  it('are passed by a cluster that keeps the protocol (seed 1)', async () => {
    expect((await runScripts(1, undefined, false)).operations).toBeGreaterThan(0)
  })

  it('are failed by one that forgets the newest id with the shard', async () => {
    await expect(runScripts(1, 'fence-forgotten', false)).rejects.toThrow(/seed 1, script 'a whole move again'/)
  })
})
