import { expect, it } from 'vitest'
import { DiskError } from '../../base/errors.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import { World } from '../sim/world.ts'

it('a controller whose disk fails under its database ends', async () => {
  const world = new World({ seed: 4 })
  let fatal: unknown
  const cluster = new SimCluster(world, {
    controllers: 1,
    nodes: 1,
    groups: 1,
    shards: 16,
    snapshotLogBytes: 64,
    onFatal: (name, error) => {
      fatal ??= name === 'c1' ? error : undefined
    },
  })
  cluster.disk('c1').inject = ({ kind, path }) => (kind === 'sync' && path.endsWith('.sst') ? 'EIO' : undefined)
  await world.runUntil(() => cluster.running('n1') !== undefined, 30_000)
  await world.runUntil(() => fatal !== undefined, 30_000)
  expect(fatal).toBeInstanceOf(DiskError)
  expect(String(fatal)).toContain('.sst')
})
