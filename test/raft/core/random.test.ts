import { describe, expect, it } from 'vitest'
import { type Faults, RandomCluster } from './random-cluster.ts'

const SEEDS = 200
/** For each replica. */
const STEPS = 2000
const RESTING_SEEDS = 100

function runSeed(seed: number, size: number, faults: Faults = {}): RandomCluster {
  const cluster = new RandomCluster(seed, size, faults)
  try {
    cluster.run(STEPS)
    cluster.converge()
  } catch (error) {
    throw new Error(`seed ${seed}, ${size} replicas: ${(error as Error).message}`, { cause: error })
  }
  return cluster
}

describe('a group under random faults', () => {
  for (const size of [3, 5]) {
    it(`keeps every invariant and converges: ${size} replicas, seeds 1 to ${SEEDS}`, { timeout: 120_000 }, () => {
      const sum = { committed: 0, leaders: 0, changes: 0, jointChanges: 0, reads: 0, lostReads: 0, restarts: 0, snapshots: 0, transfers: 0 }
      for (let seed = 1; seed <= SEEDS; seed++) {
        const cluster = runSeed(seed, size)
        const counts = { ...cluster.counts, ...cluster.invariants.counts }
        for (const key of Object.keys(sum) as (keyof typeof sum)[]) sum[key] += counts[key]
      }
      // A schedule in which nothing happens would prove nothing.
      expect(sum.committed).toBeGreaterThan(SEEDS * 20)
      expect(sum.leaders).toBeGreaterThan(SEEDS * 2)
      expect(sum.reads).toBeGreaterThan(SEEDS * 2)
      expect(sum.lostReads).toBeGreaterThan(SEEDS / 2)
      expect(sum.restarts).toBeGreaterThan(SEEDS * 10)
      expect(sum.snapshots).toBeGreaterThan(SEEDS)
      expect(sum.transfers).toBeGreaterThan(SEEDS)
      expect(sum.changes).toBeGreaterThan(SEEDS)
      expect(sum.jointChanges).toBeGreaterThan(SEEDS / 2)
    })
  }

  it(`keeps every invariant and converges where it rests and goes quiet between: seeds 1 to ${RESTING_SEEDS}`, { timeout: 120_000 }, () => {
    let quiets = 0
    for (let seed = 1; seed <= RESTING_SEEDS; seed++) {
      const cluster = new RandomCluster(seed, seed % 2 === 0 ? 3 : 5, { quiesce: true })
      try {
        for (let i = 0; i < 20; i++) {
          cluster.run(STEPS / 40)
          cluster.rest(40)
        }
        cluster.converge()
      } catch (error) {
        throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
      }
      quiets += cluster.counts.quiets
    }
    expect(quiets).toBeGreaterThan(RESTING_SEEDS * 20)
  })

  it('runs a seed the same way each time', () => {
    for (const seed of [3, 4, 5]) {
      const [first, second] = [runSeed(seed, 3), runSeed(seed, 3)]
      expect(second.counts).toEqual(first.counts)
      expect(second.replicas.map(({ applied }) => applied)).toEqual(first.replicas.map(({ applied }) => applied))
    }
  })
})

describe('the checkers catch a broken core', () => {
  const mutants: readonly [string, Faults, RegExp][] = [
    ['a vote that is not persisted', { forgetVotes: true }, /election safety|lead term/],
    ['answers that leave before they are durable', { answerBeforeDurable: true }, /^seed \d+, 3 replicas: commit:/],
    [
      'entries of an old term committed by counting',
      { unsafe: { countOldTermEntries: true } },
      /leader completeness|state machine safety|committed/,
    ],
    [
      'a membership change over one that is not applied',
      { singleChanges: 0.05, unsafe: { skipConfChangeChecks: true } },
      /leader completeness|state machine safety|election safety/,
    ],
    ['reads without asking a quorum', { unsafe: { readWithoutQuorum: true } }, /stale read/],
  ]
  for (const [name, faults, expected] of mutants) {
    it(name, { timeout: 120_000 }, () => {
      let caught: string | undefined
      for (let seed = 1; seed <= 2000 && !expected.test(caught ?? ''); seed++) {
        try {
          runSeed(seed, 3, faults)
        } catch (error) {
          caught = (error as Error).message
        }
      }
      expect(caught).toMatch(expected)
    })
  }
})
