import { describe, expect, it } from 'vitest'
import { runMap } from './map-run.ts'

// A sample; `npm run sim -- --scenario map --seeds 200` runs more.
describe('three replicas of a map over Raft, under kills, lost bytes and partitions', () => {
  for (const seed of [1, 2, 3, 4, 5, 6, 7, 8]) {
    it(`is linearizable and converges (seed ${seed})`, async () => {
      const run = await runMap(seed)
      // Seed 2 deposes leaders for most of its time: nothing is acknowledged in those reigns.
      expect(run.operations).toBeGreaterThan(50)
      expect(run.faults).toBeGreaterThan(0)
    })
  }
})
