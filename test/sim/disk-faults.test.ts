import { describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { runCluster } from './cluster-run.ts'
import { endMsMax } from './fault-atlas.ts'
import { type FaultKind, lastingFaults } from './fault-menu.ts'
import { entryRecords, isTakenForTorn } from './log-damage.ts'
import { SimCluster } from './sim-cluster.ts'
import { World } from './world.ts'

async function setUp() {
  const world = new World({ seed: 3 })
  const cluster = new SimCluster(world, { controllers: 1, nodes: 1, groups: 1, shards: 16 })
  await cluster.form()
  const client = cluster.client('writer', 2000)
  await world.settle(client.ready(), 10_000)
  const put = (key: string) => world.settle(client.put(key, 'value'), 10_000)
  return { world, cluster, put }
}

describe('what is asked of a process whose disk fails', () => {
  it.each(['sync', 'syncFolder'] as const)('a %s whose failure nobody heeds fails the run', async (kind) => {
    const { world, cluster } = await setUp()
    const { disk, fileSystem } = must(cluster.network.process('n1'), 'n1')
    const file = await world.settle(fileSystem.open('data/identity', 'write'))
    disk.failNext(kind, 'EIO')
    const failing = kind === 'sync' ? file.sync() : fileSystem.syncFolder('data')
    failing.catch(() => undefined)
    await world.runFor(endMsMax - 1000)
    await expect(world.runFor(2000)).rejects.toThrow(`n1 runs on ${endMsMax} ms after its ${kind} of data`)
  })

  it('one that ends over it is started again', async () => {
    const { world, cluster, put } = await setUp()
    const before = must(cluster.network.process('n1'), 'n1').incarnation
    cluster.disk('n1').failNext('sync', 'EIO')
    await put('a').catch(() => undefined)
    await world.runFor(2 * endMsMax)
    expect(cluster.network.process('n1')?.incarnation).toBe(before + 1)
    await put('b')
  })

  it('one that ends over it without a cause fails the run', async () => {
    const { world, cluster, put } = await setUp()
    cluster.disk('n1').inject = ({ kind, path }) => (kind === 'write' && path.includes('/log/') ? 'EIO' : undefined)
    cluster.disk('n1').onFailed = undefined
    await expect(put('a').then(() => world.runFor(endMsMax))).rejects.toThrow('cannot write to data/log')
  })

  it('a full disk is no cause', async () => {
    const { world, cluster, put } = await setUp()
    cluster.disk('n1').inject = ({ kind, path }) => (kind === 'write' && path.includes('/log/') ? 'ENOSPC' : undefined)
    void put('a').catch(() => undefined)
    await world.runFor(1000)
    expect(cluster.atlas.mayEnd('n1', world.nowMs)).toBe(false)
  })
})

describe('the end of a log that is gone', () => {
  it('is told where a later header says that it was durable, and taken for a torn tail where none is left', async () => {
    const { world, cluster, put } = await setUp()
    for (let i = 0; i < 5; i++) await put(`key${i}`)
    await world.runFor(1000)
    const disk = cluster.disk('n1')
    const path = must(
      disk.paths().find((each) => each.startsWith('data/log/')),
      'a segment',
    )
    const bytes = disk.bytesOf(path)
    const last = must(entryRecords(bytes).at(-1), 'an entry').offset
    expect(isTakenForTorn(disk, path, last, last + 8)).toBe(false)
    expect(isTakenForTorn(disk, path, last, bytes.length)).toBe(true)
    // A mark alone says nothing that is not known.
    expect(isTakenForTorn(disk, path, bytes.length - 1, bytes.length)).toBe(false)
    expect(isTakenForTorn(disk, 'data/identity', 0, 8)).toBe(false)
  })
})

describe('a cluster', () => {
  // Seeds in which the faults do harm: under the first and the fourth a process that heeds no failed sync, or ends over a full disk, fails the run.
  const kinds: [FaultKind, number][] = [
    ['sync-fails', 301],
    ['folder-sync-fails', 302],
    ['read-fails', 303],
    ['disk-full', 308],
    ['stale-read', 305],
    ['truncation', 306],
    ['wall-strobe', 307],
  ]
  it.each(kinds)('goes on under %s and kills (seed %i)', async (kind, seed) => {
    const menu = {
      faults: new Map<FaultKind, number>([
        [kind, 2],
        ['kill', 1],
      ]),
      intervalMs: 600,
    }
    const run = await runCluster({ seed, faultsMs: 15_000, menu })
    expect(run.faults).toBeGreaterThan(lastingFaults.has(kind) ? 3 : 10)
  })

  // A replica that had met one such read stood still for ever; a majority of a group had.
  it('goes on where reads have failed while shards moved (seed 107)', async () => {
    const menu = {
      faults: new Map<FaultKind, number>([
        ['read-fails', 1],
        ['kill', 1],
      ]),
      intervalMs: 700,
    }
    await runCluster({ seed: 107, moves: true, faultsMs: 20_000, menu })
  })

  // The sync of a folder failed in making a snapshot for a peer, who was told to ask again.
  it('ends a process whose folder could not be synced for a snapshot (seed 208)', async () => {
    const menu = {
      faults: new Map<FaultKind, number>([
        ['folder-sync-fails', 2],
        ['kill', 1],
        ['partition', 1],
      ]),
      intervalMs: 700,
    }
    await runCluster({ seed: 208, moves: true, faultsMs: 20_000, menu })
  })
})
