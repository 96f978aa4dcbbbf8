/** What a replica holds of shards, exactly: bytes are only estimated, by whole blocks. */
import { must } from '../../base/assert.ts'
import { Database } from '../../lsm/index.ts'
import { shardRange } from '../../shardserver/record.ts'
import type { SimCluster } from './sim-cluster.ts'
import type { World } from './world.ts'

/** Of each of `shards` the records, of whatever kind, in the replicas on node `name`: looked up in copies of their databases as they are. */
export async function recordsLeft(world: World, cluster: SimCluster, name: string, shards: readonly number[]): Promise<number[]> {
  const { fileSystem, executor, clock, logger } = must(cluster.network.process(name), `a process on ${name}`)
  const records = shards.map(() => 0)
  for (const { replica, stateMachine } of cluster.hosted(name)) {
    const folder = `data/looked at ${replica.group} ${world.events}`
    await world.settle(stateMachine.exportSnapshot(folder))
    const database = await world.settle(Database.open({ fileSystem, executor, clock, logger, folder, wal: false }))
    for (const [at, shard] of shards.entries()) {
      const iterator = database.iterate(shardRange(shard))
      while (await world.settle(Promise.resolve(iterator.next()))) records[at] = (records[at] ?? 0) + 1
      iterator.close()
    }
    await world.settle(database.close())
    cluster.disk(name).removeFolder(folder)
  }
  return records
}

/** Files that migrations have on node `name`. */
export function migrationFiles(cluster: SimCluster, name: string): string[] {
  const paths = cluster.disk(name).paths()
  return paths.filter((path) => path.includes('/exports/') || path.includes('/imports/'))
}
