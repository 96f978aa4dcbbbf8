import { describe, expect, it } from 'vitest'
import { utf8 } from '../../base/bytes.ts'
import { OstrakaError } from '../../proto/errors.ts'
import type { FileSet } from '../../raft/file-set.ts'
import { encodeDescription } from '../../raft/snapshot-description.ts'
import { SnapshotInstall } from '../../raft/snapshot-install.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'
import { standingAt } from './standings.ts'

function setAt(index: number): FileSet {
  const description = encodeDescription({ meta: standingAt(index, 1, 2), description: utf8(''), files: [] })
  return { folder: 'fetch', description, files: [] }
}

/** A replica whose peer has snapshots up to `has`. */
class Rig {
  readonly world = new World({ seed: 1 })
  has = 0
  applied = 0
  readonly fetchedAtMs: number[] = []
  readonly installed: number[] = []
  readonly failed: Error[] = []
  declined = 0
  onDeclined: () => void = () => {}
  onDiscard: () => Promise<void> = () => Promise.resolve()
  readonly install: SnapshotInstall
  readonly #process = new SimProcess(this.world, { name: 'a', network: new SimNetwork(this.world) })
  readonly clock = this.#process.clock

  constructor() {
    const { clock, logger } = this.#process
    this.install = new SnapshotInstall({
      clock,
      logger,
      peers: {
        fetch: async (_peer, minIndex) => {
          this.fetchedAtMs.push(clock.monotonicMs())
          if (this.has < minIndex) throw new OstrakaError('UNAVAILABLE', 'not yet', true)
          return setAt(this.has)
        },
        discard: () => this.onDiscard(),
      },
      stateMachine: { installSnapshot: async () => {} },
      pump: { applied: this.applied, pause: async () => {}, resume: () => {} },
      candidates: () => [2],
      onInstalled: ({ index }) => this.installed.push(index),
      onDeclined: () => {
        this.declined++
        this.onDeclined()
      },
      onFailed: (error) => this.failed.push(error),
    })
  }
}

describe('the install of a snapshot', () => {
  it('that no peer has is tried ever more rarely, however often the leader offers it', async () => {
    const rig = new Rig()
    rig.onDeclined = () => rig.clock.setTimer(10, () => rig.install.offered(7))
    rig.install.offered(7)
    await rig.world.runFor(30_000)
    expect(rig.declined).toBeGreaterThan(5)
    expect(rig.fetchedAtMs.length).toBeLessThan(15)
    rig.has = 7
    await rig.world.runFor(6000)
    expect(rig.installed).toEqual([7])
    expect(rig.failed).toEqual([])
    rig.install.stop()
  })

  it('is begun anew for one that is wanted in the very turn in which the last one ends', async () => {
    for (let hops = 0; hops < 12; hops++) {
      const rig = new Rig()
      rig.has = 9
      let discards = 0
      rig.onDiscard = async () => {
        if (++discards > 1) return
        let later: Promise<void> = Promise.resolve()
        for (let i = 0; i < hops; i++) later = later.then(() => {})
        void later.then(() => rig.install.needed(9))
      }
      rig.install.offered(5)
      await rig.world.runFor(1000)
      expect(rig.installed, `${hops} hops`).toEqual([9, 9])
      rig.install.stop()
    }
  })
})
