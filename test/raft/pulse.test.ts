import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { Pulse, type PulsingReplica } from '../../raft/pulse.ts'
import { Turn } from '../../raft/turn.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'

const tickMs = 10
const electionTimeoutMs = 1000
const heartbeatMs = 100

/** Replica 2 of a group that replica 1 leads, on node n1. */
class Follower implements PulsingReplica {
  readonly replica = 2
  readonly leader = 1
  readonly term = 1
  readonly conf = { voters: [1, 2] }
  quiet = false
  readonly tickedAtMs: number[] = []
  readonly woken: number[] = []
  readonly #nowMs: () => number

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs
  }

  get needsTicks(): boolean {
    return !this.quiet
  }

  tick(): void {
    if (!this.quiet) this.tickedAtMs.push(this.#nowMs())
  }

  wake(silentTicks: number): void {
    this.quiet = false
    this.woken.push(silentTicks)
  }

  leaderLost(): void {}
}

class Rig {
  readonly world: World
  readonly follower: Follower
  readonly pulse: Pulse
  readonly beatsAtMs: number[] = []

  constructor(seed: number, timeoutMs = electionTimeoutMs) {
    this.world = new World({ seed })
    const { clock } = new SimProcess(this.world, { name: 'n2', network: new SimNetwork(this.world) })
    this.follower = new Follower(() => this.world.nowMs)
    this.pulse = new Pulse({
      clock,
      turn: new Turn(clock),
      electionTimeoutMs: timeoutMs,
      heartbeatMs,
      replicas: () => [['g', this.follower] as const],
      nodeOf: (_, replica) => `n${replica}`,
      beat: () => this.beatsAtMs.push(this.world.nowMs),
    })
  }

  wake(): void {
    this.follower.quiet = false
    this.pulse.wanted()
  }
}

describe('the pulse of a process', () => {
  it('ticks a replica that is not quiet, and beats, each in its interval', async () => {
    const { world, follower, beatsAtMs } = new Rig(1)
    await world.runFor(1005)
    expect(follower.tickedAtMs).toHaveLength(100)
    expect(beatsAtMs).toHaveLength(10)
  })

  it('fires for its beats only while all are quiet, at every second interval', async () => {
    const { world, follower, beatsAtMs } = new Rig(1)
    follower.quiet = true
    await world.runFor(205)
    const before = world.events
    await world.runFor(1000)
    expect(beatsAtMs).toHaveLength(6)
    // A timer and the turn behind it, and now and then a timer that comes a hair too early.
    expect(world.events - before).toBeLessThanOrEqual(15)
  })

  it('beats at every interval, though all are quiet, where an election timeout has few of them', async () => {
    for (const [intervals, beats] of [
      [4, 10],
      [5, 5],
    ] as const) {
      const { world, follower, beatsAtMs } = new Rig(1, intervals * heartbeatMs)
      follower.quiet = true
      await world.runFor(1005)
      expect(beatsAtMs).toHaveLength(beats)
    }
  })

  it.each([235, 315])('ticks within one tick of a wake after %i ms, and goes on with beats at each interval', async (restedMs) => {
    const rig = new Rig(1)
    rig.follower.quiet = true
    await rig.world.runFor(restedMs)
    rig.wake()
    await rig.world.runFor(tickMs + 0.1)
    expect(rig.follower.tickedAtMs).toHaveLength(1)
    await rig.world.runFor(900)
    const awake = rig.beatsAtMs.filter((atMs) => atMs > restedMs)
    expect((awake[0] ?? 0) - restedMs).toBeLessThanOrEqual(heartbeatMs + tickMs)
    const gaps = awake.slice(1).map((atMs, i) => atMs - (awake[i] ?? 0))
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(heartbeatMs - 0.1)
    expect(Math.max(...gaps)).toBeLessThanOrEqual(heartbeatMs + tickMs)
  })

  it('tells of a silent node after an election timeout, also while all are quiet', async () => {
    const { world, follower, pulse } = new Rig(1)
    follower.quiet = true
    await world.runFor(337)
    pulse.heard('n1')
    await world.runUntil(() => follower.woken.length > 0)
    expect(world.nowMs - 337).toBeGreaterThan(electionTimeoutMs - tickMs)
    expect(world.nowMs - 337).toBeLessThan(electionTimeoutMs + 2 * tickMs)
    expect(follower.woken[0]).toBeGreaterThanOrEqual(pulse.electionTicks)
  })

  it('never counts n ticks in less than n - 1 times their length, however rests, wakes and words of the node fall', async () => {
    for (let seed = 1; seed <= 30; seed++) {
      const rig = new Rig(seed)
      const random = new SeededRandom(seed)
      let heardMs = 0
      let longest = 0
      rig.pulse.heard('n1')
      for (let i = 0; i < 300; i++) {
        const pick = random.next()
        if (pick < 0.3) rig.follower.quiet = true
        else if (pick < 0.6) rig.wake()
        else if (pick < 0.7) {
          rig.pulse.heard('n1')
          heardMs = rig.world.nowMs
        }
        await rig.world.runFor(random.next() * 60)
        const silent = rig.pulse.silentTicks('n1')
        longest = Math.max(longest, silent)
        expect(rig.world.nowMs - heardMs, `seed ${seed}`).toBeGreaterThanOrEqual((silent - 1) * tickMs - 0.01)
      }
      const ticks = rig.follower.tickedAtMs
      for (let i = 1; i < ticks.length; i++) expect((ticks[i] ?? 0) - (ticks[i - 1] ?? 0)).toBeGreaterThanOrEqual(tickMs - 0.01)
      expect(longest, `seed ${seed} saw silences`).toBeGreaterThan(20)
      rig.pulse.close()
    }
  })
})
