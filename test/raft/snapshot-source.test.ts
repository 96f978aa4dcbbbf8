import { describe, expect, it } from 'vitest'
import { utf8 } from '../../base/bytes.ts'
import { replaceFile } from '../../base/file-system.ts'
import { pb } from '../../proto/messages.ts'
import { SnapshotSource } from '../../raft/snapshot-source.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'
import { standingAt } from './standings.ts'

/** Snapshots of a machine that stands at `at`. */
function rig() {
  const world = new World({ seed: 1 })
  const { fileSystem, logger, disk } = new SimProcess(world, { name: 'a', network: new SimNetwork(world) })
  const stands = { at: 5 }
  const source = new SnapshotSource({
    fileSystem,
    logger,
    folder: 'snapshots',
    stateMachine: {
      exportSnapshot: async (folder) => {
        const meta = standingAt(stands.at, 1, 1)
        await fileSystem.makeFolder(folder)
        await replaceFile(fileSystem, `${folder}/state`, utf8('state'))
        return { meta, description: utf8(''), files: [] }
      },
    },
    mayExport: () => true,
  })
  const open = (minIndex: number) => source.open(new pb.v1.OpenFilesRequest({ group: 'g1@1', snapshot: { minIndex } }))
  return { world, source, stands, open, files: () => disk.paths().filter((path) => path.endsWith('/state')) }
}

describe('the snapshots of a replica', () => {
  it('that are too old for who asked are removed at once: nobody would release them', async () => {
    const { world, open, files } = rig()
    await expect(world.settle(open(6))).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await world.runFor(10)
    expect(files()).toEqual([])
  })

  it('are shared while one is new enough, and each goes when it is released', async () => {
    const { world, source, stands, open, files } = rig()
    const [first, same] = await world.settle(Promise.all([open(3), open(5)]))
    expect(same).toBe(first)
    stands.at = 9
    expect(await world.settle(open(5))).toBe(first)
    const newer = await world.settle(open(6))
    expect(newer).not.toBe(first)
    expect(files()).toHaveLength(2)
    for (const set of [first, newer]) source.release(set)
    await world.runFor(10)
    expect(files()).toEqual([])
  })
})
