import { describe, expect, it } from 'vitest'
import { CorruptionError, DataDirectoryMismatch } from '../../base/errors.ts'
import { DataDirectory } from '../../raft/data-directory.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'

class Rig {
  readonly world: World
  process: SimProcess

  constructor(seed = 1) {
    this.world = new World({ seed })
    this.process = new SimProcess(this.world, { name: 'n1', network: new SimNetwork(this.world) })
  }

  open(role: 'controller' | 'server' = 'server', id = 'n1'): Promise<DataDirectory> {
    return this.world.settle(DataDirectory.open(this.process.fileSystem, this.process.random, 'data', role, id))
  }

  powerLoss(): void {
    this.process.powerLoss()
    this.process = this.process.restart()
  }
}

const cluster = (byte: number) => new Uint8Array(16).fill(byte)

describe('a data directory', () => {
  it('is who it was after a power loss, with all that it was told to remember', async () => {
    const rig = new Rig()
    const first = await rig.open()
    await rig.world.settle(first.joinCluster(cluster(7)))
    await rig.world.settle(first.markStarted('g1@1', 2))
    await rig.world.settle(first.markStarted('g2@1', 5))
    await rig.world.settle(first.markFormed([{ id: 'n1', nonce: 'ab' }]))
    rig.powerLoss()
    const again = await rig.open()
    expect(again.nonce).toEqual(first.nonce)
    expect(again.clusterId).toEqual(cluster(7))
    expect([again.startedReplica('g1@1'), again.startedReplica('g2@1'), again.startedReplica('g3@1')]).toEqual([2, 5, undefined])
    expect(again.formed).toEqual([{ id: 'n1', nonce: 'ab' }])
  })

  it('what a start found it to be survives a power loss, also where the process before ended before its folder was synced', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const rig = new Rig(seed)
      const first = await rig.open()
      rig.process.disk.failNext('syncFolder', 'EIO')
      await rig.world.settle(first.markStarted('g1@1', 2).catch(() => undefined))
      rig.process.kill()
      rig.process = rig.process.restart()
      const second = await rig.open()
      const found = second.startedReplica('g1@1')
      rig.powerLoss()
      const third = await rig.open()
      expect(found, `seed ${seed}`).toBe(2)
      expect(third.startedReplica('g1@1'), `seed ${seed}`).toBe(found)
    }
  })

  it('what is remembered at once is all there', async () => {
    const rig = new Rig()
    const directory = await rig.open()
    await rig.world.settle(
      Promise.all([directory.joinCluster(cluster(7)), directory.markStarted('g1@1', 1), directory.markStarted('g2@1', 2)]),
    )
    rig.powerLoss()
    const again = await rig.open()
    expect([again.startedReplica('g1@1'), again.startedReplica('g2@1')]).toEqual([1, 2])
    expect(again.clusterId).toEqual(cluster(7))
  })

  // Simulator, seed 1920: a replica that was to leave a full disk ended its node.
  it('waits for room where the disk is full, once there is somebody who knows of it', async () => {
    const rig = new Rig()
    const directory = await rig.open()
    const { disk } = rig.process
    disk.quotaBytes = disk.usedBytes()
    let asked = 0
    const exhausted = async () => {
      if (++asked === 3) disk.quotaBytes = Number.POSITIVE_INFINITY
    }
    directory.waitForRoom({ isLow: true, isCritical: true, fits: () => false, spend: () => false, exhausted, whenMore: exhausted })
    await rig.world.settle(Promise.all([directory.markStarted('g1@1', 1), directory.markStarted('g2@1', 2)]))
    expect(asked).toBe(3)
    rig.powerLoss()
    const again = await rig.open()
    expect([again.startedReplica('g1@1'), again.startedReplica('g2@1')]).toEqual([1, 2])
  })

  it('a wiped one is another: it has another nonce', async () => {
    const rig = new Rig()
    const { nonce } = await rig.open()
    rig.process.kill()
    rig.process = rig.process.restart({ disk: new Rig(2).process.disk })
    expect((await rig.open()).nonce).not.toEqual(nonce)
  })

  it.each([
    ['another id', 'server', 'n2'],
    ['another role', 'controller', 'n1'],
  ] as const)('refuses %s', async (_, role, id) => {
    const rig = new Rig()
    await rig.open()
    await expect(rig.open(role, id)).rejects.toThrow(DataDirectoryMismatch)
    await expect(rig.open()).resolves.toMatchObject({ id: 'n1' })
  })

  it('refuses another cluster, and stays in its own', async () => {
    const rig = new Rig()
    const directory = await rig.open()
    await rig.world.settle(directory.joinCluster(cluster(7)))
    await expect(rig.world.settle(directory.joinCluster(cluster(8)))).rejects.toThrow(DataDirectoryMismatch)
    expect((await rig.open()).clusterId).toEqual(cluster(7))
  })

  it('joining a cluster resolves only when it is durable, also for who asks second', async () => {
    const rig = new Rig()
    const directory = await rig.open()
    let first = false
    void directory.joinCluster(cluster(7)).then(() => (first = true))
    const second = directory.joinCluster(cluster(7)).then(() => expect(first).toBe(true))
    await rig.world.settle(second)
  })

  it('a damaged identity is corruption, at whichever byte', async () => {
    const rig = new Rig()
    await rig.open()
    const { disk } = rig.process
    for (let at = 0; at < disk.bytesOf('data/identity').length; at++) {
      disk.flip('data/identity', at)
      await expect(rig.open(), `byte ${at}`).rejects.toThrow(CorruptionError)
      disk.flip('data/identity', at)
    }
  })

  it('a log without an identity is not taken for a new directory', async () => {
    const rig = new Rig()
    await rig.open()
    await rig.world.settle(rig.process.fileSystem.makeFolder('data/log'))
    rig.process.disk.unlink('data/identity')
    await expect(rig.open()).rejects.toThrow(CorruptionError)
  })
})
