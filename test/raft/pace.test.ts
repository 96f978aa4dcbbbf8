import { expect, it } from 'vitest'
import type { Clock } from '../../base/clock.ts'
import { Pace } from '../../raft/pace.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'

const bytesPerSecond = 1_000_000
const pieceBytes = 250_000

/** A pace whose timers fire `lateMs` after they are due, as those of a busy process do. */
function setUp(lateMs: number) {
  const world = new World({ seed: 11 })
  const { clock } = new SimProcess(world, { name: 'n1', network: new SimNetwork(world) })
  const late: Clock = {
    monotonicMs: () => clock.monotonicMs(),
    wallMs: () => clock.wallMs(),
    soon: (callback) => clock.soon(callback),
    setTimer: (delayMs, callback) => clock.setTimer(delayMs + lateMs, callback),
  }
  const pace = new Pace(late, { bytesPerSecond })
  const secondsFor = async (pieces: number, take: (pace: Pace) => Promise<void>) => {
    const fromMs = clock.monotonicMs()
    for (let i = 0; i < pieces; i++) await world.settle(take(pace))
    return (clock.monotonicMs() - fromMs) / 1000
  }
  return { world, secondsFor }
}

it.each([
  ['copied', (pace: Pace) => pace.wait(pieceBytes)],
  ['linked', (pace: Pace) => pace.spend(pieceBytes)],
])('what is %s keeps to its limit also where timers are late', async (_name, take) => {
  const { secondsFor } = setUp(40)
  const seconds = await secondsFor(81, take)
  expect(seconds).toBeGreaterThan(19.5)
  expect(seconds).toBeLessThan(20.6)
})

it('what was not used in idle time does not come as a burst', async () => {
  const { world, secondsFor } = setUp(0)
  await world.runFor(60_000)
  expect(await secondsFor(9, (pace) => pace.wait(pieceBytes))).toBeGreaterThanOrEqual(2)
})
