import { describe, expect, it } from 'vitest'
import { DataDirectoryMismatch } from '../../base/errors.ts'
import { DataDirectory } from '../../raft/data-directory.ts'
import { checkFormedPeers, formController, helloRoute } from '../../raft/formation.ts'
import type { SimDisk } from '../sim/sim-disk.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'

const peersOf = (ids: readonly string[]) => ids.map((id) => ({ id, address: `${id}:1` }))
const three = peersOf(['c1', 'c2', 'c3'])

interface Started {
  readonly process: SimProcess
  readonly directory: DataDirectory
  readonly formed: Promise<void>
  state: 'waits' | 'takes part' | DataDirectoryMismatch
}

class Controllers {
  readonly world: World
  readonly network: SimNetwork
  readonly #disks = new Map<string, SimDisk>()

  constructor(seed: number) {
    this.world = new World({ seed })
    this.network = new SimNetwork(this.world)
  }

  async start(id: string, peers = three, asId = id): Promise<Started> {
    const disk = this.#disks.get(id)
    const process = new SimProcess(this.world, { name: id, network: this.network, ...(disk === undefined ? {} : { disk }) })
    this.#disks.set(id, process.disk)
    const { fileSystem, random, transport, clock, logger } = process
    const directory = await this.world.settle(DataDirectory.open(fileSystem, random, 'data', 'controller', asId))
    await this.world.settle(transport.listen([{ name: 'default', address: `${id}:1` }], [helloRoute(directory)]))
    const formed = formController({ directory, peers, transport, clock, logger, cancelled: () => false })
    const started: Started = { process, directory, formed, state: 'waits' }
    formed.then(
      () => (started.state = 'takes part'),
      (error) => (started.state = error),
    )
    return started
  }

  wipe(id: string): void {
    this.#disks.delete(id)
  }
}

describe('the forming of controllers', () => {
  it('nobody takes part before all have said that they are empty; then all do, and know the same peers', async () => {
    for (let seed = 1; seed <= 10; seed++) {
      const controllers = new Controllers(seed)
      const c1 = await controllers.start('c1')
      const c2 = await controllers.start('c2')
      await controllers.world.runFor(5000)
      expect([c1.state, c2.state], `seed ${seed}`).toEqual(['waits', 'waits'])
      const c3 = await controllers.start('c3')
      await controllers.world.runUntil(() => [c1, c2, c3].every(({ state }) => state === 'takes part'))
      expect(c2.directory.formed).toEqual(c1.directory.formed)
      expect(c3.directory.formed).toEqual(c1.directory.formed)
      expect(c1.directory.formed.map(({ id }) => id)).toEqual(['c1', 'c2', 'c3'])
    }
  })

  it('one that was killed before it heard all forms when it comes back, though the others have gone on', async () => {
    const controllers = new Controllers(3)
    const c1 = await controllers.start('c1')
    const c2 = await controllers.start('c2')
    const c3 = await controllers.start('c3', [{ id: 'c1', address: 'nowhere:1' }, ...three.slice(1)])
    await controllers.world.runUntil(() => c1.state === 'takes part' && c2.state === 'takes part')
    expect(c3.state).toBe('waits')
    c3.process.kill()
    const again = await controllers.start('c3')
    await controllers.world.runUntil(() => again.state === 'takes part')
    expect(again.directory.formed).toEqual(c1.directory.formed)
  })

  it('a wiped one never takes part again: a peer remembers its nonce', async () => {
    const controllers = new Controllers(4)
    const all = [await controllers.start('c1'), await controllers.start('c2'), await controllers.start('c3')]
    await controllers.world.runUntil(() => all.every(({ state }) => state === 'takes part'))
    all[2]?.process.kill()
    controllers.wipe('c3')
    const wiped = await controllers.start('c3')
    await controllers.world.runUntil(() => wiped.state !== 'waits')
    expect(wiped.state).toBeInstanceOf(DataDirectoryMismatch)
    expect(wiped.directory.formed).toEqual([])
  })

  it('two wiped ones do not form a cluster beside the third that remembers, even while it is away', async () => {
    const controllers = new Controllers(5)
    const all = [await controllers.start('c1'), await controllers.start('c2'), await controllers.start('c3')]
    await controllers.world.runUntil(() => all.every(({ state }) => state === 'takes part'))
    for (const { process } of all) process.kill()
    controllers.wipe('c2')
    controllers.wipe('c3')
    const [c2, c3] = [await controllers.start('c2'), await controllers.start('c3')]
    await controllers.world.runFor(20_000)
    expect([c2.state, c3.state]).toEqual(['waits', 'waits'])
    await controllers.start('c1')
    await controllers.world.runUntil(() => c2.state !== 'waits' && c3.state !== 'waits')
    expect(c2.state).toBeInstanceOf(DataDirectoryMismatch)
    expect(c3.state).toBeInstanceOf(DataDirectoryMismatch)
  })

  it('one that was formed takes part at once, alone or not', async () => {
    const controllers = new Controllers(6)
    const all = [await controllers.start('c1'), await controllers.start('c2'), await controllers.start('c3')]
    await controllers.world.runUntil(() => all.every(({ state }) => state === 'takes part'))
    for (const { process } of all) process.kill()
    const again = await controllers.start('c2')
    await controllers.world.settle(again.formed)
  })

  it('one that --peers takes for another is refused', async () => {
    const controllers = new Controllers(7)
    const peers = [...peersOf(['c1', 'c3']), { id: 'c2', address: 'x:1' }]
    await controllers.start('x', three, 'c9')
    const c1 = await controllers.start('c1', peers)
    await controllers.start('c3', peers)
    await controllers.world.runUntil(() => c1.state !== 'waits')
    expect(String(c1.state)).toContain('is c9, not c2')
  })

  it('other peers than those with which it was formed are refused; other addresses are not', async () => {
    const controllers = new Controllers(8)
    const all = [await controllers.start('c1'), await controllers.start('c2'), await controllers.start('c3')]
    const directory = all[0]?.directory as DataDirectory
    checkFormedPeers(directory, peersOf(['any']))
    await controllers.world.runUntil(() => all.every(({ state }) => state === 'takes part'))
    checkFormedPeers(directory, peersOf(['c3', 'c1', 'c2']))
    for (const ids of [
      ['c1', 'c2'],
      ['c0', 'c1', 'c2'],
      ['c1', 'c2', 'c3', 'c4'],
    ])
      expect(() => checkFormedPeers(directory, peersOf(ids))).toThrow(DataDirectoryMismatch)
  })
})
