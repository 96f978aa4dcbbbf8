import { describe, expect, it } from 'vitest'
import { joinPath, makeFolderDurably, replaceFile } from '../../base/file-system.ts'
import { silentLogger } from '../../base/logger.ts'
import { DataDirectory } from '../../raft/data-directory.ts'
import { RaftHost } from '../../raft/raft-host.ts'
import type { Standing } from '../../raft/standing.ts'
import type { StateMachine } from '../../raft/state-machine.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'
import { firstOf } from './standings.ts'

const removed = 'g1@1'
const other = 'g2@1'

/** Keeps nothing. */
class Machine implements StateMachine<number> {
  readonly durable: Standing = firstOf(1)
  onDurable: (() => void) | undefined
  closed = false
  apply(entries: readonly { index: number }[]) {
    return entries.map(({ index }) => index)
  }
  async flush() {}
  async close() {
    this.closed = true
  }
  exportSnapshot(): Promise<never> {
    return Promise.reject(new Error('not here'))
  }
  installSnapshot(): Promise<never> {
    return Promise.reject(new Error('not here'))
  }
}

class Rig {
  readonly world: World
  process: SimProcess
  directory: DataDirectory | undefined
  host: RaftHost | undefined
  readonly errors: string[] = []

  constructor(seed: number) {
    this.world = new World({ seed })
    this.process = new SimProcess(this.world, { name: 'n1', network: new SimNetwork(this.world) })
  }

  async open() {
    const { fileSystem, random, clock, transport } = this.process
    const logger = { ...silentLogger, error: (_: object, message: string) => this.errors.push(message) }
    const directory = await this.world.settle(DataDirectory.open(fileSystem, random, 'data', 'server', 'n1'))
    const options = { fileSystem, random, clock, transport, logger, directory, electionTimeoutMs: 100, heartbeatMs: 20 }
    const host = await this.world.settle(
      RaftHost.open({
        ...options,
        snapshotLogBytes: 1024 * 1024,
        retiresDamaged: true,
        resolve: () => undefined,
        onFatal: (error) => this.world.fail(error),
      }),
    )
    this.directory = directory
    this.host = host
    return { directory, host }
  }

  /** A group with a log and a folder. */
  async start(group: string, host: RaftHost, directory: DataDirectory): Promise<Machine> {
    const folder = directory.replicaFolder(group, 1)
    await this.world.settle(makeFolderDurably(this.process.fileSystem, folder))
    await this.world.settle(replaceFile(this.process.fileSystem, joinPath(folder, 'CURRENT'), new Uint8Array(10)))
    const stateMachine = new Machine()
    const replica = await this.world.settle(host.start({ group, replica: 1, stateMachine, onSoftState: () => {} }))
    await this.world.runUntil(() => replica.role === 'leader' && replica.applied > 0, 10_000)
    return stateMachine
  }

  restart(): void {
    if (this.process.alive) this.process.powerLoss()
    this.process = this.process.restart()
  }
}

describe('a group that was removed from the cluster', () => {
  it('is no fault: nothing is logged as one', async () => {
    const rig = new Rig(1)
    const { directory, host } = await rig.open()
    await rig.start(removed, host, directory)
    await rig.world.settle(host.remove(removed))
    expect(rig.errors).toEqual([])
  })

  it('leaves nothing behind, and the other groups as they are', async () => {
    const rig = new Rig(1)
    const { directory, host } = await rig.open()
    const machine = await rig.start(removed, host, directory)
    await rig.start(other, host, directory)
    await rig.world.settle(host.remove(removed))
    expect(machine.closed).toBe(true)
    expect(host.replicas().map(({ group }) => group)).toEqual([other])
    expect(host.log.groups().map(({ uid }) => uid)).toEqual([other])
    expect(await rig.world.settle(directory.heldGroups())).toEqual([other])
    rig.restart()
    const again = await rig.open()
    expect(await rig.world.settle(again.directory.heldGroups())).toEqual([other])
    expect(await rig.world.settle(rig.process.fileSystem.list('data/groups'))).toEqual([`${other}.1`])
  })

  it('is named to the controllers also where only a folder of it is there', async () => {
    const rig = new Rig(2)
    const { directory } = await rig.open()
    await rig.world.settle(makeFolderDurably(rig.process.fileSystem, directory.replicaFolder(removed, 4)))
    await rig.world.settle(makeFolderDurably(rig.process.fileSystem, `${directory.replicaFolder(other, 5)}.exports`))
    expect(await rig.world.settle(directory.heldGroups())).toEqual([removed, other])
    await rig.world.settle(directory.removeGroup(other))
    expect(await rig.world.settle(directory.heldGroups())).toEqual([removed])
  })

  it('is removed in the end wherever the power goes in between, and is known until then', async () => {
    let crashes = 0
    for (let k = 1; ; k++) {
      const rig = new Rig(100 + k)
      const { directory, host } = await rig.open()
      await rig.start(removed, host, directory)
      rig.process.disk.faultAt(rig.process.disk.operations + k, 'crash')
      let done = false
      host.remove(removed).then(
        () => {
          done = true
        },
        () => undefined,
      )
      await rig.world.runUntil(() => done || !rig.process.alive, 10_000)
      if (done) break
      crashes++
      rig.restart()
      const again = await rig.open()
      const held = await rig.world.settle(again.directory.heldGroups())
      const isClean = again.host.log.groups().length === 0 && held.length === 0
      // What is left of it is known, so that the controllers are asked about it.
      if (!isClean) expect(held).toEqual([removed])
      await rig.world.settle(again.host.remove(removed))
      expect(await rig.world.settle(again.directory.heldGroups())).toEqual([])
      expect(again.host.log.groups()).toEqual([])
      expect(await rig.world.settle(rig.process.fileSystem.list('data/groups'))).toEqual([])
    }
    expect(crashes).toBeGreaterThan(4)
  })
})
