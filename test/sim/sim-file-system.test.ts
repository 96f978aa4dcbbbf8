import { describe, expect, it } from 'vitest'
import { DiskError } from '../../base/errors.ts'
import { readFile } from '../../base/file-system.ts'
import { fileSystemContract } from '../base/file-system-contract.ts'
import type { DiskOptions } from './sim-disk.ts'
import { SimNetwork } from './sim-network.ts'
import { SimProcess } from './sim-process.ts'
import { World } from './world.ts'

function makeProcess(seed: number, disk: DiskOptions = {}): SimProcess {
  const world = new World({ seed })
  return new SimProcess(world, { name: 'n1', network: new SimNetwork(world), disk })
}

fileSystemContract('simulated', async () => {
  const process = makeProcess(1)
  await process.world.settle(process.fileSystem.makeFolder('data'))
  return {
    fileSystem: process.fileSystem,
    folder: 'data',
    run: (body) => process.world.settle(body()),
    dispose: async () => process.kill(),
  }
})

const block = (value: number) => Buffer.alloc(4096, value)

/** Writes block 1 to 'f' and syncs it and its name, then does `more`, then the power goes. Returns what is there after the restart. */
async function afterPowerLoss(
  seed: number,
  more: (process: SimProcess) => Promise<void>,
  options: DiskOptions = {},
): Promise<{ files: string[]; content: Buffer; process: SimProcess }> {
  const process = makeProcess(seed, options)
  await process.world.settle(
    (async () => {
      const file = await process.fileSystem.open('f', 'create')
      await file.write([block(1)], 0)
      await file.sync()
      await process.fileSystem.syncFolder('.')
      await file.close()
      await more(process)
    })(),
  )
  process.powerLoss()
  const next = process.restart()
  const files = await next.world.settle(next.fileSystem.list('.'))
  const content = files.includes('f') ? Buffer.from(await next.world.settle(readFile(next.fileSystem, 'f'))) : Buffer.alloc(0)
  return { files, content, process: next }
}

describe('the simulated disk', () => {
  it('keeps synced bytes and names through every power loss', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const { files, content } = await afterPowerLoss(seed, async () => {})
      expect(files, `seed ${seed}`).toEqual(['f'])
      expect(content.equals(block(1)), `seed ${seed}`).toBe(true)
    }
  })

  it('keeps, of un-synced blocks, each by itself: none, all, some, torn ones', async () => {
    const kinds = new Set<string>()
    for (let seed = 1; seed <= 200; seed++) {
      const { content } = await afterPowerLoss(seed, async ({ fileSystem }) => {
        const file = await fileSystem.open('f', 'write')
        await file.write([block(2), block(3), block(4)], 0)
      })
      const values = [content.subarray(0, 4096), content.subarray(4096, 8192), content.subarray(8192)]
      values.forEach((bytes, index) => {
        const old = index === 0 ? 1 : 0
        // A new prefix, then what was there before.
        const kept = bytes.findIndex((byte) => byte !== index + 2)
        const rest = kept < 0 ? new Uint8Array(0) : bytes.subarray(kept)
        expect(
          rest.every((byte) => byte === old),
          `seed ${seed}, block ${index}`,
        ).toBe(true)
        const isWhole = bytes.length === 4096
        kinds.add(`${index} ${bytes.length === 0 ? 'absent' : kept === 0 ? 'old' : isWhole && kept < 0 ? 'new' : 'torn'}`)
      })
    }
    expect([...kinds].sort()).toEqual(['0 new', '0 old', '0 torn', '1 absent', '1 new', '1 old', '1 torn', '2 absent', '2 new', '2 torn'])
  })

  it('loses or keeps an un-synced name, and a rename as a whole', async () => {
    const seen = new Set<string>()
    for (let seed = 1; seed <= 60; seed++) {
      const { files } = await afterPowerLoss(seed, async ({ fileSystem }) => {
        await fileSystem.rename('f', 'g')
        await (await fileSystem.open('h', 'create')).close()
      })
      seen.add(files.join())
    }
    expect([...seen].sort()).toEqual(['f', 'f,h', 'g', 'g,h'])
  })

  it('brings a file back whose unlink was not synced, whole', async () => {
    let back = 0
    for (let seed = 1; seed <= 40; seed++) {
      const { files, content } = await afterPowerLoss(seed, ({ fileSystem }) => fileSystem.unlink('f'))
      if (files.length === 0) continue
      back++
      expect(content.equals(block(1)), `seed ${seed}`).toBe(true)
    }
    expect(back).toBeGreaterThan(5)
    expect(back).toBeLessThan(35)
  })

  it('undoes an un-synced truncation whole or not at all', async () => {
    const lengths = new Set<number>()
    for (let seed = 1; seed <= 40; seed++) {
      const { content } = await afterPowerLoss(seed, async ({ fileSystem }) => {
        await (await fileSystem.open('f', 'write')).truncate(0)
      })
      lengths.add(content.length)
      expect(content.equals(block(1).subarray(0, content.length)), `seed ${seed}`).toBe(true)
    }
    expect([...lengths].sort()).toEqual([0, 4096])
  })

  it('covers by a sync what was written before it was asked for, not what came while it ran', async () => {
    const values = new Set<number>()
    for (let seed = 1; seed <= 40; seed++) {
      const { content } = await afterPowerLoss(seed, async ({ fileSystem }) => {
        const file = await fileSystem.open('f', 'write')
        await file.write([block(2)], 0)
        const sync = file.sync()
        await Promise.all([sync, file.write([block(3)], 0)])
      })
      for (const byte of content) values.add(byte)
    }
    expect([...values].sort()).toEqual([2, 3])
  })

  it('a lying sync loses what it claimed to keep', async () => {
    let lost = 0
    for (let seed = 1; seed <= 20; seed++) {
      if ((await afterPowerLoss(seed, async () => {}, { lyingSync: true })).files.length === 0) lost++
    }
    expect(lost).toBeGreaterThan(3)
  })

  it('a failed sync is a DiskError, and no later sync makes up for it', async () => {
    const values = new Set<number>()
    for (let seed = 1; seed <= 40; seed++) {
      const { content } = await afterPowerLoss(seed, async ({ fileSystem, disk }) => {
        const file = await fileSystem.open('f', 'write')
        await file.write([block(2)], 0)
        disk.faultAt(disk.operations + 1, 'EIO')
        const error = await file.sync().catch((reason: unknown) => reason)
        expect(error).toBeInstanceOf(DiskError)
        expect(error).toMatchObject({ code: 'EIO' })
        await file.sync()
      })
      for (const byte of content) values.add(byte)
    }
    expect([...values].sort()).toEqual([1, 2])
  })

  it('kill -9 keeps what was written, and settles nothing that was under way', async () => {
    const process = makeProcess(7)
    const file = await process.world.settle(process.fileSystem.open('f', 'create'))
    await process.world.settle(file.write([block(5)], 0))
    let settled = false
    const settle = () => {
      settled = true
    }
    file.sync().then(settle, settle)
    process.fileSystem.exists('f').then(settle, settle)
    process.kill()
    file.size().then(settle, settle)
    const next = process.restart()
    expect(Buffer.from(await next.world.settle(readFile(next.fileSystem, 'f')))).toEqual(block(5))
    await next.world.runFor(1000)
    expect(settled).toBe(false)
  })

  it('does a write that kill -9 interrupts not at all, in part, or whole', async () => {
    const lengths = new Set<string>()
    for (let seed = 1; seed <= 40; seed++) {
      const process = makeProcess(seed)
      const file = await process.world.settle(process.fileSystem.open('f', 'create'))
      void file.write([block(1)], 0)
      process.kill()
      const { length } = process.disk.bytesOf('f')
      lengths.add(length === 4096 ? 'whole' : 'part')
    }
    expect([...lengths].sort()).toEqual(['part', 'whole'])
  })

  it('crashes at the operation that is asked for', async () => {
    for (let crashAt = 1; crashAt <= 6; crashAt++) {
      const process = makeProcess(crashAt)
      process.disk.faultAt(crashAt, 'crash')
      const done: string[] = []
      const body = async () => {
        const file = await process.fileSystem.open('f', 'create')
        done.push('open')
        for (const step of ['write', 'sync', 'write', 'sync']) {
          await (step === 'write' ? file.write([block(1)], 0) : file.sync())
          done.push(step)
        }
        await process.fileSystem.syncFolder('.')
        done.push('syncFolder')
      }
      void body()
      await process.world.runUntil(() => !process.alive)
      expect(done.length).toBe(crashAt - 1)
    }
  })

  it('says ENOSPC when the quota is used up, having written what fitted', async () => {
    const process = makeProcess(1, { quotaBytes: 6000 })
    const file = await process.world.settle(process.fileSystem.open('f', 'create'))
    await process.world.settle(file.write([block(1)], 0))
    await expect(process.world.settle(file.write([block(2)], 4096))).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(await process.world.settle(file.size())).toBe(6000)
    await process.world.settle(file.write([block(3)], 0))
  })

  it('reads a block, once, as it was before it was last written', async () => {
    const { process } = await afterPowerLoss(1, async ({ fileSystem }) => {
      const file = await fileSystem.open('f', 'write')
      await file.write([block(2).subarray(0, 1000), block(3)], 4096 - 1000)
      await file.sync()
    })
    const { disk, fileSystem, world } = process
    const asked: unknown[] = []
    disk.staleNextRead = (path, overwritten) => {
      asked.push([path, overwritten])
      return 0
    }
    const file = await world.settle(fileSystem.open('f', 'read'))
    const read = async () => {
      const bytes = Buffer.alloc(4096)
      await world.settle(file.read(bytes, 2048))
      return bytes
    }
    const stale = await read()
    // Block 1 held nothing before.
    expect(asked).toEqual([['f', [{ block: 0, from: 4096 - 1000 }]]])
    expect([...new Set(stale.subarray(0, 2048))]).toEqual([1])
    expect([...new Set(stale.subarray(2048))]).toEqual([3])
    expect([...new Set((await read()).subarray(0, 2048))]).toEqual([1, 2])
    expect(asked).toHaveLength(1)
  })

  it('fails reads, and tells who hears of it what failed', async () => {
    const { process } = await afterPowerLoss(1, async () => {})
    const { disk, fileSystem, world } = process
    const failed: string[] = []
    disk.onFailed = ({ kind, path, fault }) => failed.push(`${kind} ${path} ${fault}`)
    disk.failsRead = () => true
    await expect(world.settle(readFile(fileSystem, 'f'))).rejects.toMatchObject({ code: 'EIO' })
    disk.failNext('syncFolder', 'EIO')
    disk.disarm()
    expect(await world.settle(readFile(fileSystem, 'f'))).toHaveLength(4096)
    await world.settle(fileSystem.syncFolder('.'))
    disk.failNext('syncFolder', 'EIO')
    void fileSystem.syncFolder('.').catch(() => undefined)
    process.kill()
    await world.runFor(100)
    expect(failed).toEqual(['read f EIO'])
  })

  it('lets a test look at, decay and cut files', async () => {
    const { process } = await afterPowerLoss(1, async () => {})
    process.disk.flip('f', 10, 0x80)
    process.disk.cut('f', 100)
    expect(process.disk.paths()).toEqual(['f'])
    const expected = block(1).subarray(0, 100)
    expected[10] = 0x81
    expect(Buffer.from(process.disk.bytesOf('f'))).toEqual(expected)
  })

  it('records the order of changes for golden traces', async () => {
    const process = makeProcess(1, { recordTrace: true })
    const body = async () => {
      const file = await process.fileSystem.open('f', 'create')
      await file.write([block(1), block(2)], 0)
      await file.sync()
      await file.close()
      await process.fileSystem.rename('f', 'g')
      await process.fileSystem.syncFolder('.')
    }
    await process.world.settle(body())
    expect(process.disk.trace).toEqual(['open f create', 'write f 0+8192', 'sync f', 'rename f g', 'syncFolder .'])
  })

  it.each(Array.from({ length: 30 }, (_, i) => i + 1))(
    'agrees with a plain model of bytes under random operations, seed %i',
    async (seed) => {
      const process = makeProcess(seed)
      const { random } = process
      const file = await process.world.settle(process.fileSystem.open('f', 'create'))
      let model: Uint8Array = new Uint8Array(0)
      let synced = model
      for (let step = 0; step < 60; step++) {
        const draw = random.next()
        if (draw < 0.6) {
          const at = random.below(20_000)
          const chunk = random.bytes(1 + random.below(6000))
          const grown = new Uint8Array(Math.max(model.length, at + chunk.length))
          grown.set(model)
          grown.set(chunk, at)
          model = grown
          await process.world.settle(file.write([chunk], at))
        } else if (draw < 0.8) {
          const length = random.below(25_000)
          const cut = new Uint8Array(length)
          cut.set(model.subarray(0, length))
          model = cut
          await process.world.settle(file.truncate(length))
        } else {
          await process.world.settle(file.sync())
          synced = model
        }
        expect(Buffer.compare(process.disk.bytesOf('f'), model), `step ${step}`).toBe(0)
      }
      await process.world.settle(process.fileSystem.syncFolder('.'))
      await process.world.settle(file.sync())
      synced = model
      process.powerLoss()
      expect(process.disk.bytesOf('f')).toEqual(synced)
    },
  )
})
