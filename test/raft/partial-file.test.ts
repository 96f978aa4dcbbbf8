import { describe, expect, it } from 'vitest'
import { crc32 } from '../../base/checksum.ts'
import { PartialFile } from '../../raft/partial-file.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'

describe('a file that is being pulled', () => {
  it('is there whole after a power loss, also where a sync failed under an earlier process', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const world = new World({ seed })
      let process = new SimProcess(world, { name: 'n1', network: new SimNetwork(world) })
      const data = world.random.bytes(20_000)
      const entry = { name: 'one.sst', size: data.length, checksum: crc32(data) }
      const pull = async (): Promise<boolean> => {
        const partial = await PartialFile.open(process.fileSystem, 'staging', entry)
        await partial.append(data.subarray(partial.length))
        return await partial.finish()
      }
      await world.settle(process.fileSystem.makeFolder('staging'))
      await world.settle(process.fileSystem.syncFolder('.'))
      process.disk.failNext('sync', 'EIO')
      await expect(world.settle(pull()), `seed ${seed}`).rejects.toThrow('EIO')
      process.kill()
      process = process.restart()
      expect(await world.settle(pull())).toBe(true)
      await world.settle(process.fileSystem.syncFolder('staging'))
      process.powerLoss()
      process = process.restart()
      expect(process.disk.bytesOf('staging/one.sst'), `seed ${seed}`).toEqual(data)
    }
  })
})
