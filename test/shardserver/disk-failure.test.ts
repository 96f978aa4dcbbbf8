import { describe, expect, it } from 'vitest'
import { DiskError } from '../../base/errors.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import type { DiskOperation, Fault } from '../sim/sim-disk.ts'
import { World } from '../sim/world.ts'

/** What the only node of a cluster ends with when `inject` decides over the disk and enough is written for several flushes. */
async function fatalOf(inject: (operation: DiskOperation) => Fault | undefined): Promise<unknown> {
  const world = new World({ seed: 3 })
  let fatal: unknown
  const cluster = new SimCluster(world, {
    controllers: 1,
    nodes: 1,
    groups: 2,
    shards: 16,
    memtableBytes: 16 * 1024,
    onFatal: (name, error) => {
      fatal ??= name === 'n1' ? error : undefined
    },
  })
  await cluster.form()
  const client = cluster.client('writer', 2000)
  await world.settle(client.ready(), 10_000)
  await world.settle(client.put('before', 'the disk is well'), 10_000)
  cluster.disk('n1').inject = inject
  const write = async () => {
    for (let i = 0; i < 200 && fatal === undefined; i++) await client.put(`key${i}`, 'x'.repeat(500)).catch(() => undefined)
  }
  void write()
  await world.runUntil(() => fatal !== undefined, 60_000)
  return fatal
}

describe('a node whose disk fails under a group', () => {
  it('ends when a table cannot be synced', async () => {
    const fatal = await fatalOf(({ kind, path }) => (kind === 'sync' && path.endsWith('.sst') ? 'EIO' : undefined))
    expect(fatal).toBeInstanceOf(DiskError)
    expect(String(fatal)).toContain('.sst')
  })

  it('ends when a table cannot be written', async () => {
    const fatal = await fatalOf(({ kind, path }) => (kind === 'write' && path.endsWith('.sst') ? 'EIO' : undefined))
    expect(fatal).toBeInstanceOf(DiskError)
    expect(fatal).toMatchObject({ code: 'EIO' })
  })

  it('ends when a manifest cannot be synced', async () => {
    const fatal = await fatalOf(({ kind, path }) => (kind === 'sync' && path.includes('MANIFEST') ? 'EIO' : undefined))
    expect(fatal).toBeInstanceOf(DiskError)
  })
})
