import { describe, expect, it } from 'vitest'
import { type Faults, RandomCluster } from './random-cluster.ts'

const SEEDS = 300
const STEPS = 4000

function runSeed(seed: number, size: number, faults: Faults = {}, steps = STEPS): RandomCluster {
  const cluster = new RandomCluster(seed, size, faults)
  try {
    cluster.run(steps)
    cluster.converge()
  } catch (error) {
    throw new Error(`seed ${seed}, ${size} replicas: ${(error as Error).message}`, { cause: error })
  }
  return cluster
}

describe('a group under random faults', () => {
  for (const size of [3, 5]) {
    it(`keeps every invariant and converges: ${size} replicas, seeds 1 to ${SEEDS}`, { timeout: 60_000 }, () => {
      const sum = { committed: 0, leaders: 0, reads: 0, lostReads: 0, restarts: 0, snapshots: 0 }
      for (let seed = 1; seed <= SEEDS; seed++) {
        const { counts } = runSeed(seed, size)
        for (const key of Object.keys(sum) as (keyof typeof sum)[]) sum[key] += counts[key]
      }
      console.log(size, sum)
      // A schedule in which nothing happens would prove nothing.
      expect(sum.committed).toBeGreaterThan(SEEDS * 20)
      expect(sum.leaders).toBeGreaterThan(SEEDS * 3)
      expect(sum.reads).toBeGreaterThan(SEEDS * 2)
      expect(sum.lostReads).toBeGreaterThan(SEEDS / 10)
      expect(sum.restarts).toBeGreaterThan(SEEDS * 3)
      expect(sum.snapshots).toBeGreaterThan(SEEDS / 10)
    })
  }
})
