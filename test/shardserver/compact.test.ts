import { expect, it } from 'vitest'
import { BlockCache, MemtableBudget } from '../../lsm/index.ts'
import { pb } from '../../proto/messages.ts'
import { compactReplicas } from '../../shardserver/compact.ts'
import type { HostedReplica } from '../../shardserver/group-host.ts'
import { shardJobs } from '../../shardserver/jobs.ts'
import { openGroupStateMachine } from '../../shardserver/open-group.ts'
import { firstOf } from '../raft/standings.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'
import { keyOf, LogBuilder, shardCount } from './builders.ts'

const records = 200
const valueBytes = 1000

/** A group of one shard with `records` records, all of them written twice, and deleted but for each tenth. */
async function filled() {
  const world = new World({ seed: 3 })
  const process = new SimProcess(world, { name: 'n1', network: new SimNetwork(world), jobs: shardJobs })
  const { fileSystem, executor, clock, logger } = process
  const open = openGroupStateMachine({
    ...{ fileSystem, executor, clock, logger, shardCount },
    folder: 'data/g1',
    first: () => firstOf(3),
    blockCache: new BlockCache(8192),
    memtableBudget: new MemtableBudget(1024 * 1024),
  })
  const stateMachine = await world.settle(open)
  const log = new LogBuilder()
  log.birth(1, [1])
  let sequence = 0
  const command = (change: object) => ({ shard: 1, sequence: ++sequence, lowestOutstanding: sequence, first: true, ...change })
  for (const round of [1, 2])
    for (let i = 0; i < records; i++) {
      const value = process.random.bytes(valueBytes)
      log.write(round, 1, command({ put: { key: keyOf(1, i), value } }))
    }
  for (let i = 0; i < records; i++) if (i % 10 !== 0) log.write(3, 1, command({ delete: { key: keyOf(1, i) } }))
  await world.settle(Promise.resolve(stateMachine.apply(log.entries)), 60_000)
  const groups = { all: () => [{ replica: { group: 'g1@7' }, stateMachine } as unknown as HostedReplica] }
  return { world, stateMachine, groups, disk: () => process.disk.paths().filter((path) => path.endsWith('.sst')) }
}

it('compact: what was deleted or overwritten takes no room, also what lay in memory only, and the state is the same', async () => {
  const { world, stateMachine, groups } = await filled()
  const before = await world.settle(stateMachine.stateHash())
  const { id, error, replicas } = await world.settle(compactReplicas('n1', groups, {}), 60_000)
  expect({ id, error }).toEqual({ id: 'n1', error: null })
  const [done] = replicas
  const live = (records / 10) * valueBytes
  expect(done?.group).toBe('g1')
  expect(done?.bytesBefore).toBeGreaterThan(2 * records * valueBytes)
  expect(done?.bytesAfter).toBeGreaterThan(live)
  expect(done?.bytesAfter).toBeLessThan(1.5 * live)
  expect(await world.settle(stateMachine.stateHash())).toEqual(before)
})

it('compact: a group that is not here is refused, and one whose store is closed is said to be undone', async () => {
  const { world, stateMachine, groups } = await filled()
  const unknown = await world.settle(compactReplicas('n1', groups, { group: 'g2' }))
  expect(unknown.error).toMatchObject({ code: pb.v1.ErrorCode.NOT_FOUND, message: 'no replica of g2 runs here' })
  await world.settle(stateMachine.close())
  const closed = await world.settle(compactReplicas('n1', groups, { group: 'g1' }), 60_000)
  expect(closed.error).toMatchObject({ code: pb.v1.ErrorCode.UNAVAILABLE, message: expect.stringContaining('g1 could not be compacted') })
  expect(closed.replicas).toEqual([])
})
