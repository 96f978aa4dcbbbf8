import { describe, expect, it } from 'vitest'
import type { Space } from '../../../base/disk-space.ts'
import { LogWorld, makeEntries } from './log-world.ts'

const a = { uid: 'g1@1', replica: 1 }

/** Room that a test gives. */
class Room implements Space {
  readonly isLow = false
  readonly isCritical = false
  waiting: { resolve: () => void; reject: (error: Error) => void }[] = []

  fits(): boolean {
    return true
  }

  spend(): boolean {
    return true
  }

  exhausted(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject })
    })
  }

  whenMore(): Promise<void> {
    return this.exhausted()
  }

  give(): void {
    for (const { resolve } of this.waiting.splice(0)) resolve()
  }
}

describe('the log on a full disk', () => {
  it('keeps what is queued until there is room, however often it fails, and acknowledges nothing meanwhile', async () => {
    const world = new LogWorld()
    const space = new Room()
    const log = await world.open({ space })
    await world.append(log.group(a), makeEntries(1, 1, 1, 100))
    world.disk.quotaBytes = world.disk.usedBytes() + 3000
    const durable: number[] = []
    log.group(a).append(makeEntries(2, 2, 1, 10_000), undefined, () => durable.push(2))
    for (let round = 0; round < 5; round++) {
      await world.world.runUntil(() => space.waiting.length > 0, 1000)
      log.group(a).append(makeEntries(3 + round, 3 + round, 1, 100), undefined, () => durable.push(3 + round))
      await world.world.runFor(100)
      expect(durable).toEqual([])
      space.give()
    }
    await world.world.runUntil(() => space.waiting.length > 0, 1000)
    world.disk.quotaBytes = Number.POSITIVE_INFINITY
    space.give()
    await world.world.runUntil(() => durable.length === 6, 1000)
    expect(durable).toEqual([2, 3, 4, 5, 6, 7])
    expect(world.failures).toEqual([])
    // One segment was sealed where the disk ended; the tries in between left no files.
    expect(world.files()).toHaveLength(2)
    world.restart()
    const again = await world.open()
    expect(again.damage).toEqual([])
    const all = [...makeEntries(1, 1, 1, 100), ...makeEntries(2, 2, 1, 10_000), ...makeEntries(3, 7, 1, 100)]
    expect(await world.world.settle(again.group(a).load(1, 8, 1e6))).toEqual(all)
  })

  it.each(['kill', 'powerLoss'] as const)('comes back with what was acknowledged after a %s while it waits', async (end) => {
    const world = new LogWorld(7)
    const space = new Room()
    const log = await world.open({ space })
    await world.append(log.group(a), makeEntries(1, 3, 1, 100))
    world.disk.quotaBytes = world.disk.usedBytes() + 3000
    log.group(a).append(makeEntries(4, 4, 1, 10_000), undefined, () => expect.unreachable())
    await world.world.runUntil(() => space.waiting.length > 0, 1000)
    space.give()
    await world.world.runUntil(() => space.waiting.length > 0, 1000)
    world.disk.quotaBytes = Number.POSITIVE_INFINITY
    if (end === 'kill') world.process.kill()
    else world.process.powerLoss()
    world.process = world.process.restart()
    const again = await world.open()
    expect(again.damage).toEqual([])
    expect(again.group(a).lastIndex).toBeGreaterThanOrEqual(3)
    expect(await world.world.settle(again.group(a).load(1, 4, 1e6))).toEqual(makeEntries(1, 3, 1, 100))
    await world.append(again.group(a), makeEntries(again.group(a).lastIndex + 1, again.group(a).lastIndex + 1, 1, 10))
  })

  it('closes while it waits: nothing more is acknowledged', async () => {
    const world = new LogWorld()
    const space = new Room()
    const log = await world.open({ space })
    await world.append(log.group(a), makeEntries(1, 1, 1, 100))
    world.disk.quotaBytes = world.disk.usedBytes()
    log.group(a).append(makeEntries(2, 2, 1, 10_000), undefined, () => expect.unreachable())
    await world.world.runUntil(() => space.waiting.length > 0, 1000)
    for (const { reject } of space.waiting) reject(new Error('the process ends'))
    await world.world.settle(log.close())
    expect(world.failures).toHaveLength(1)
  })
})
