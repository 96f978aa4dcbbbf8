import { describe, expect, it } from 'vitest'
import { utf8 } from '../../base/bytes.ts'
import { joinPath, readFile, replaceFile } from '../../base/file-system.ts'
import { linkFiles } from '../../raft/file-link.ts'
import type { FileEntry } from '../../raft/file-set.ts'
import { Pace } from '../../raft/pace.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'

async function setUp(bytesPerSecond: number) {
  const world = new World({ seed: 3 })
  const process = new SimProcess(world, { name: 'n1', network: new SimNetwork(world) })
  const { fileSystem, clock } = process
  await world.settle(fileSystem.makeFolder('export'))
  const files: FileEntry[] = []
  for (const name of ['1', '2']) {
    await world.settle(replaceFile(fileSystem, joinPath('export', name), utf8(name.repeat(10_000))))
    files.push({ name, size: 10_000, checksum: 0 })
  }
  const ending = new AbortController()
  const progress: number[] = []
  const link = () =>
    linkFiles({
      fileSystem,
      set: { folder: 'export', description: new Uint8Array(), files },
      folder: 'imports/1',
      pace: new Pace(clock, { bytesPerSecond }),
      signal: ending.signal,
      onProgress: (linked) => progress.push(linked),
    })
  return { world, process, fileSystem, clock, link, ending, progress }
}

describe('files of a set on the same node', () => {
  it('are there under their names, also after the power is lost and their first names have gone', async () => {
    const { world, process, fileSystem, link } = await setUp(Number.POSITIVE_INFINITY)
    const { folder } = await world.settle(link())
    expect(folder).toBe('imports/1')
    await world.settle(fileSystem.removeFolder('export'))
    process.kill()
    const { fileSystem: after } = process.restart()
    expect(await world.settle(after.list('imports/1'))).toEqual(['1', '2'])
    expect(Buffer.from(await world.settle(readFile(after, 'imports/1/2'))).toString()).toBe('2'.repeat(10_000))
  })

  it('take the place of what was pulled from another replica, whose files may be others under the same names', async () => {
    const { world, fileSystem, link } = await setUp(Number.POSITIVE_INFINITY)
    await world.settle(fileSystem.makeFolder('imports/1'))
    for (const name of ['1', '2.abc.part', '3']) await world.settle(replaceFile(fileSystem, joinPath('imports/1', name), utf8('other')))
    await world.settle(link())
    expect(await world.settle(fileSystem.list('imports/1'))).toEqual(['1', '2'])
    expect((await world.settle(readFile(fileSystem, 'imports/1/1'))).length).toBe(10_000)
  })

  it('keep to a limit like copied ones, in steps, and come at once without one', async () => {
    const limited = await setUp(10_000)
    const startMs = limited.clock.monotonicMs()
    await limited.world.settle(limited.link())
    expect(limited.clock.monotonicMs() - startMs).toBeGreaterThanOrEqual(2000)
    expect(limited.clock.monotonicMs() - startMs).toBeLessThan(2200)
    expect(limited.progress.length).toBeGreaterThan(4)
    expect(limited.progress.at(-1)).toBe(20_000)
    const free = await setUp(Number.POSITIVE_INFINITY)
    const freeMs = free.clock.monotonicMs()
    await free.world.settle(free.link())
    expect(free.clock.monotonicMs() - freeMs).toBeLessThan(200)
  })

  it('end where they are not wanted any more', async () => {
    const { world, clock, link, ending } = await setUp(1000)
    const startMs = clock.monotonicMs()
    clock.setTimer(1000, () => ending.abort())
    await expect(world.settle(link())).rejects.toMatchObject({ code: 'CANCELLED' })
    expect(clock.monotonicMs() - startMs).toBeLessThan(6000)
  })

  it('are to be asked for again where the set has gone meanwhile', async () => {
    const { world, fileSystem, link } = await setUp(Number.POSITIVE_INFINITY)
    await world.settle(fileSystem.unlink('export/2'))
    await expect(world.settle(link())).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })
})
