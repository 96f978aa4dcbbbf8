import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../../base/random.ts'
import { runTrial, type TrialOptions } from './crash-trial.ts'

interface Tally {
  points: number
  lost: number
  wrong: number
  /** Runs in which the log, or its opening, failed. */
  failures: number
  readonly what: string[]
}

async function tally(all: Iterable<TrialOptions>): Promise<Tally> {
  const result: Tally = { points: 0, lost: 0, wrong: 0, failures: 0, what: [] }
  for (const options of all) {
    const outcome = await runTrial(options)
    result.points++
    result.lost += outcome.lost
    result.wrong += outcome.wrong
    if (outcome.failures.length > 0) result.failures++
    if (outcome.what !== '') result.what.push(outcome.what)
  }
  return result
}

function expectWhole(name: string, result: Tally): void {
  console.log(`${name}: points tried ${result.points}, lost ${result.lost}, wrong ${result.wrong}`)
  expect(result.what.slice(0, 3)).toEqual([])
  expect(result.points).toBeGreaterThan(0)
}

describe('crash sweep of the shared log', () => {
  it('power loss at every operation: what was acknowledged is there, nothing else ever is', async () => {
    const base = { seed: 11, steps: 400 }
    const end = (await runTrial(base)).operations[0] as number
    const trials: TrialOptions[] = []
    for (let at = 1; at <= end; at++) for (let draw = 1; draw <= 2; draw++) trials.push({ ...base, draw, faults: [{ at, fault: 'crash' }] })
    expectWhole('power loss at every operation', await tally(trials))
  })

  it('power loss at every operation of the recovery after a crash, with work going on afterwards', async () => {
    const trials: TrialOptions[] = []
    for (let image = 1; image <= 12; image++) {
      for (let at = 1; at <= 30; at++) {
        const crash = { at: 20 + 17 * image, fault: 'crash' } as const
        const again = { at, fault: at % 3 === 0 ? 'kill' : 'crash' } as const
        trials.push({ seed: 100 + image, draw: image, steps: 150, lives: 4, faults: [crash, again, again] })
      }
    }
    expectWhole('power loss in recovery', await tally(trials))
  })

  it('a killed process loses nothing, and what the next one recovered survives a power loss', async () => {
    const trials: TrialOptions[] = []
    for (let at = 5; at <= 300; at += 1) {
      trials.push({
        seed: 200 + (at % 7),
        draw: at,
        steps: 150,
        lives: 3,
        faults: [
          { at, fault: 'kill' },
          { at: 6 + (at % 12), fault: 'crash' },
        ],
      })
    }
    expectWhole('kill, then power loss', await tally(trials))
  })

  it('many lives of random work end in random crashes', async () => {
    const trials: TrialOptions[] = []
    for (let seed = 1000; seed < 1120; seed++) {
      const random = new SeededRandom(seed)
      const faults = Array.from({ length: 8 }, () => ({
        at: 1 + random.below(120),
        fault: random.below(4) === 0 ? ('kill' as const) : ('crash' as const),
      }))
      const dataBytes = random.below(4) === 0 ? 90_000 : 3_000
      trials.push({
        seed,
        draw: seed,
        steps: 100,
        lives: 8,
        faults,
        dataBytes,
        segmentBytes: 2_000 + random.below(20_000),
        cacheBytes: random.below(20_000),
      })
    }
    expectWhole('random lives', await tally(trials))
  })

  it('an error at every operation: a failed write goes on elsewhere, a failed sync is final, nothing acknowledged is lost', async () => {
    const trials: TrialOptions[] = []
    for (let at = 1; at <= 220; at++) {
      // Twice in a row: also the cut of the sealed segment fails.
      for (const [fault, times] of [
        ['EIO', 1],
        ['ENOSPC', 1],
        ['EIO', 2],
      ] as const) {
        trials.push({
          seed: 31,
          draw: at,
          steps: 250,
          lives: 2,
          faults: [
            { at, fault, times },
            { at: 40, fault, times },
          ],
        })
      }
    }
    const result = await tally(trials)
    expectWhole('error at every operation', result)
    expect(result.failures).toBeGreaterThan(20)
    expect(result.failures).toBeLessThan(result.points)
  })

  it('a failed sync, a start on the same page cache, then a power loss: what was recovered is there', async () => {
    const trials: TrialOptions[] = []
    // Batches of many blocks: one that no later write touches is what a sync that writes nothing would lose.
    const sizes = { dataBytes: 30_000, segmentBytes: 200_000 }
    for (let at = 1; at <= 240; at++) {
      const fail = { at, fault: 'EIO' } as const
      const early = { at: 3 + (at % 20), fault: at % 2 === 0 ? 'EIO' : 'crash' } as const
      trials.push({ ...sizes, seed: 400 + (at % 5), draw: at, steps: 60, lives: 2, killed: 1, faults: [fail, early] })
      trials.push({ ...sizes, seed: 500 + (at % 5), draw: at, steps: 60, lives: 3, killed: 2, faults: [fail, early, early] })
    }
    const result = await tally(trials)
    expectWhole('failed sync, then power loss', result)
    expect(result.failures).toBeGreaterThan(20)
  })

  it('is caught lying: without syncs acknowledged writes are lost, and the sweep sees it', async () => {
    const trials: TrialOptions[] = []
    for (let at = 20; at <= 100; at += 2)
      trials.push({ seed: 11, draw: at, steps: 200, faults: [{ at, fault: 'crash' }], unsafe: { noSync: true } })
    const result = await tally(trials)
    console.log(`deliberate break noSync: points tried ${result.points}, lost ${result.lost}, wrong ${result.wrong}`)
    expect(result.lost + result.wrong).toBeGreaterThan(10)
  })
})
