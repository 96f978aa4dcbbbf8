import { describe, expect, it } from 'vitest'
import { ReplayRests, type ReplayRound } from '../../../shardserver/migration/replay-rests.ts'

const MiB = 1024 * 1024
const far: ReplayRound = { bytes: MiB, replayMs: 40, records: 100, lag: 1000, isFar: true, isHeld: false, slows: false, isNear: false }
const near: ReplayRound = { bytes: 0, replayMs: 40, records: 0, lag: 0, isFar: false, isHeld: false, slows: false, isNear: true }

describe('ReplayRests', () => {
  it('rests after a round for as long as that took, at most a tenth of a second', () => {
    const rests = new ReplayRests()
    expect(rests.nextMs(0, false)).toBe(0)
    rests.ended(40, far)
    expect(rests.nextMs(40, true)).toBe(40)
    rests.ended(3000, { ...far, lag: 900, replayMs: 2900 })
    expect(rests.nextMs(3000, true)).toBe(100)
    expect(rests.hasRested).toBe(true)
  })

  it('does not rest where the lag hardly falls, where the source slows its writers, nor where little is left', () => {
    const rests = new ReplayRests()
    rests.ended(40, far)
    rests.ended(80, { ...far, lag: 976 })
    expect([rests.nextMs(80, true), rests.hasRested]).toEqual([0, false])
    rests.ended(120, { ...far, lag: 951 })
    expect(rests.nextMs(120, true)).toBe(40)
    rests.ended(160, { ...far, lag: 500, slows: true })
    expect(rests.nextMs(160, true)).toBe(0)
    rests.ended(200, { ...far, lag: 60, isFar: false })
    expect(rests.nextMs(200, true)).toBe(0)
  })

  it('rests between pieces that were brought before, whatever the lag was then', () => {
    const rests = new ReplayRests()
    for (const lag of [46, 85, 119]) {
      rests.ended(0, { ...far, lag, isFar: false, isHeld: true })
      expect(rests.nextMs(0, false)).toBe(40)
    }
    rests.ended(0, { ...far, lag: 1200 })
    expect(rests.nextMs(0, false)).toBe(40)
    rests.ended(0, { ...far, lag: 1190 })
    expect(rests.nextMs(0, false)).toBe(0)
  })

  it('rests for three seconds in all: what is written meanwhile has to be brought, too', () => {
    const rests = new ReplayRests()
    let restedMs = 0
    for (let lag = 10_000; lag > 0; lag -= 100) {
      rests.ended(0, { ...far, lag })
      restedMs += rests.nextMs(0, true)
    }
    expect(restedMs).toBe(3000)
  })

  it('follows for 100 ms for each MiB once it is near, with rests of 50 ms, and once only', () => {
    const rests = new ReplayRests()
    for (const atMs of [40, 80, 120]) rests.ended(atMs, far)
    expect(rests.settlesForMs(120)).toBe(0)
    rests.ended(200, near)
    expect(rests.settlesForMs(200)).toBe(300)
    expect(rests.nextMs(200, false)).toBe(50)
    expect(rests.nextMs(200, true)).toBe(0)
    expect(rests.nextMs(480, false)).toBe(20)
    rests.ended(500, { ...near, bytes: 10 * MiB })
    expect(rests.settlesForMs(500)).toBe(0)
    expect(rests.nextMs(500, false)).toBe(0)
  })

  it('follows for a second and a half at the most, and not at all where writers wait or nothing was brought', () => {
    const much = new ReplayRests()
    much.ended(0, { ...far, bytes: 100 * MiB })
    much.ended(0, near)
    expect(much.settlesForMs(0)).toBe(1500)
    const slowing = new ReplayRests()
    slowing.ended(0, { ...far, slows: true })
    slowing.ended(0, { ...near, slows: true })
    expect(slowing.settlesForMs(0)).toBe(0)
    const nothing = new ReplayRests()
    nothing.ended(0, near)
    expect(nothing.settlesForMs(0)).toBe(0)
  })
})
