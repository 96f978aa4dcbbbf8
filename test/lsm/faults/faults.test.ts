import { describe, expect, it } from 'vitest'
import { makeScript } from './script.ts'
import {
  countCompactions,
  countNoticedLies,
  sweepErrors,
  sweepErrorThenPowerLoss,
  sweepFullDisk,
  sweepFullDiskWaitedFor,
  sweepOpenLimit,
  sweepPowerLoss,
  sweepRecoveryErrors,
  sweepRecoveryPowerLoss,
} from './sweeps.ts'
import { describeTally, type Tally } from './tally.ts'

/** Every k, and more seeds: `npm run faults`. */
function tell(tally: Tally): void {
  expect(tally.points).toBeGreaterThan(0)
  console.log(`lsm ${describeTally(tally)}`)
}

/** Which points are tried, of as many as a stride passes over. */
const draw = Math.floor(Math.random() * 420)
const every = (stride: number) => ({ stride, first: draw % stride })

describe.each([
  [true, false, 11],
  [false, false, 12],
  [true, true, 13],
  [false, true, 13],
])(`a history with WAL: %s, rich: %s (seed %i, draw ${draw})`, (wal, rich, seed) => {
  const script = makeScript(seed, wal, rich)

  it('holds all kinds of operation', () => {
    expect(new Set(script.operations.map((operation) => operation.kind)).size).toBe(8)
  })

  if (rich) {
    it('has compactions that run at once', async () => expect(await countCompactions(script)).toBeGreaterThan(1))
  }

  it('survives a power loss at its file operations', async () => tell(await sweepPowerLoss(script, every(10))))

  it('gives no wrong value after an error at its file operations', async () => {
    const tally = await sweepErrors(script, every(14))
    expect(tally.failedOpenly).toBeGreaterThan(tally.points / 2)
    tell(tally)
  })

  it('survives a power loss after an error', async () => tell(await sweepErrorThenPowerLoss(script, every(70), every(21))))

  it('survives that no more files can be opened', async () => tell(await sweepOpenLimit(script, every(34))))

  it('survives a disk that is full', async () => tell(await sweepFullDisk(script, every(34))))

  it('survives power losses during the recovery', async () => tell(await sweepRecoveryPowerLoss(script, every(4), 2)))

  it('survives an error during the recovery', async () => tell(await sweepRecoveryErrors(script, every(6), 2)))

  if (!wal) {
    it('comes to its end where a full disk is waited for', async () => tell(await sweepFullDiskWaitedFor(script, every(34))))
  }
})

it('the sweep itself finds a disk whose syncs do nothing', async () => {
  expect(await countNoticedLies(makeScript(11, true))).toBeGreaterThan(3)
})
