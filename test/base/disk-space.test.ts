import { describe, expect, it } from 'vitest'
import { DiskSpace, onceThereIsRoom } from '../../base/disk-space.ts'
import { SystemError } from '../sim/sim-disk.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { type ProcessOptions, SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'

const kB = 1000

async function setUp(quotaBytes: number, disk: ProcessOptions['disk'] = {}) {
  const world = new World({ seed: 1 })
  const process = new SimProcess(world, { name: 'n1', network: new SimNetwork(world), disk: { quotaBytes, ...disk } })
  const { fileSystem, clock, logger } = process
  await world.settle(fileSystem.makeFolder('data'))
  const open = () => world.settle(DiskSpace.open({ fileSystem, clock, logger, folder: 'data', reserveBytes: 100 * kB, lowBytes: 200 * kB }))
  const fill = async (bytes: number) => {
    const file = await world.settle(fileSystem.open('data/other', 'create'))
    await world.settle(file.write([new Uint8Array(bytes)], 0))
    await world.settle(file.close())
  }
  return { world, process, open, fill, unlink: (path: string) => world.settle(fileSystem.unlink(path)) }
}

describe('the room on a disk', () => {
  it('is held in reserve where there is enough, and is low below the mark', async () => {
    const { world, process, open, fill, unlink } = await setUp(1000 * kB)
    const space = await open()
    expect(process.disk.usedBytes()).toBe(100 * kB)
    expect(space).toMatchObject({ isLow: false, freeBytes: 900 * kB })
    expect([space.fits(700 * kB), space.fits(701 * kB)]).toEqual([true, false])
    await fill(750 * kB)
    await world.runUntil(() => space.isLow, 2000)
    expect(space.isCritical).toBe(false)
    await unlink('data/other')
    await world.runUntil(() => !space.isLow, 2000)
    await world.settle(space.close())
  })

  it('is spent by what cannot wait down to half of what is critical, and counted as written until the next look', async () => {
    const { world, process, open, fill } = await setUp(1000 * kB)
    const space = await open()
    await fill(865 * kB)
    await world.runUntil(() => space.isCritical, 2000)
    expect(space.freeBytes).toBe(35 * kB)
    expect([space.spend(11 * kB), space.spend(10 * kB), space.spend(1)]).toEqual([false, true, false])
    await world.runUntil(() => space.freeBytes === 35 * kB, 2000)
    expect(process.disk.usedBytes()).toBe(965 * kB)
    await world.settle(space.close())
  })

  it('has no reserve on a disk that is nearly full, and makes one when there is room', async () => {
    const { world, process, open, fill, unlink } = await setUp(1000 * kB)
    await fill(900 * kB)
    const space = await open()
    expect(process.disk.usedBytes()).toBe(900 * kB)
    expect(space.isLow).toBe(true)
    await unlink('data/other')
    await world.runUntil(() => !space.isLow, 2000)
    expect(process.disk.usedBytes()).toBe(100 * kB)
    await world.settle(space.close())
  })

  it('gives the reserve back to who met the end of the disk, once, and then waits until more is seen', async () => {
    const { world, process, open, fill, unlink } = await setUp(1000 * kB)
    const space = await open()
    await fill(900 * kB)
    let tries = 0
    const done = onceThereIsRoom(space, async () => {
      tries++
      if (process.disk.quotaBytes - process.disk.usedBytes() < 150 * kB) throw new SystemError('ENOSPC', 'x')
      return 'written'
    })
    await world.runUntil(() => tries === 2, 100)
    expect(space).toMatchObject({ isLow: true, isCritical: true })
    await world.runFor(1900)
    expect(tries).toBe(2)
    await unlink('data/other')
    expect(await world.settle(done, 300)).toBe('written')
    expect(tries).toBe(3)
    await world.runUntil(() => !space.isLow, 2000)
    expect(process.disk.usedBytes()).toBe(100 * kB)
    await world.settle(space.close())
  })

  it('is looked at as often, however many wait and whenever they began to', async () => {
    const { world, process, open, fill } = await setUp(1000 * kB)
    let looks = 0
    let onLook = () => {}
    const { fileSystem } = process
    const freeBytes = fileSystem.freeBytes.bind(fileSystem)
    fileSystem.freeBytes = (path) => {
      looks++
      onLook()
      return freeBytes(path)
    }
    const space = await open()
    await fill(900 * kB)
    // Each begins to wait while a look is under way.
    onLook = () => {
      if (looks <= 10) space.whenMore().catch(() => undefined)
    }
    await world.runFor(10_000)
    looks = 0
    onLook = () => {}
    await world.runFor(10_000)
    // Nobody waits any more: once a second.
    expect(looks).toBeLessThanOrEqual(10)
    await world.settle(space.close())
  })

  it('tells who waits when the process ends, and keeps the reserve for the next start', async () => {
    const { world, process, open, fill } = await setUp(1000 * kB)
    const space = await open()
    await fill(900 * kB)
    const waiting = space.whenMore()
    waiting.catch(() => undefined)
    await world.settle(space.close())
    await expect(waiting).rejects.toThrow('the process ends')
    await expect(space.exhausted()).rejects.toThrow('the process ends')
    expect(process.disk.usedBytes()).toBe(1000 * kB)
    const again = await open()
    expect(again.isLow).toBe(true)
    await world.settle(again.close())
  })

  it('passes on every other failure at once', async () => {
    const { world, open } = await setUp(1000 * kB)
    const space = await open()
    let tries = 0
    const failing = onceThereIsRoom(space, async () => {
      tries++
      throw new SystemError('EIO', 'x')
    })
    await expect(world.settle(failing)).rejects.toMatchObject({ code: 'EIO' })
    expect(tries).toBe(1)
    await world.settle(space.close())
  })
})
