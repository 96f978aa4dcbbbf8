/** What must hold of shards and their owners when all moves have ended. */
import { assert, must } from '../../base/assert.ts'
import type { Config } from '../../proto/config.ts'
import type { ControllerClient } from '../../proto/controller-client.ts'
import { migrationFiles } from './left-behind.ts'
import type { Ownership } from './ownership.ts'
import type { SimCluster } from './sim-cluster.ts'
import type { World } from './world.ts'

const cleanMsMax = 20_000

/** Each shard is served by exactly its owner and held by nobody else, and of the groups that are gone, and of the moves' files, nothing is left on any disk. */
export async function checkPlaces(world: World, cluster: SimCluster, ownership: Ownership): Promise<void> {
  let wrong = misplaced(cluster, ownership)
  const endMs = world.nowMs + cleanMsMax
  while (wrong !== undefined && world.nowMs < endMs) {
    await world.runFor(100)
    wrong = misplaced(cluster, ownership)
  }
  assert(wrong === undefined, `seed ${world.seed}: ${wrong}`)
}

function misplaced(cluster: SimCluster, ownership: Ownership): string | undefined {
  const leader = cluster.controllerLeader()
  const config = leader === undefined ? undefined : cluster.controllerState(leader)?.config
  if (config === undefined) return 'no controller leads'
  for (let shard = 0; shard < config.shardCount; shard++) {
    const owner = must(config.groupOf(shard), `an owner of shard ${shard}`).uid
    for (const { uid } of config.groups) {
      const held = ownership.held(uid)?.get(shard)
      const state = held?.state ?? 'unborn'
      if (uid === owner && state !== 'serving') return `shard ${shard} is ${state} in its owner ${uid}`
      if (uid === owner && held?.epoch !== config.epochOf(shard))
        return `shard ${shard} is under epoch ${held?.epoch} in ${uid}, not ${config.epochOf(shard)}`
      if (uid !== owner && state !== 'absent' && state !== 'unborn') return `shard ${shard} of ${owner} is ${state} in ${uid}`
    }
  }
  return leftOvers(cluster, config, ownership) ?? leftFiles(cluster)
}

function leftOvers(cluster: SimCluster, config: Config, ownership: Ownership): string | undefined {
  for (const group of ownership.groups()) {
    if (config.groupByUid(group) !== undefined) continue
    for (const name of cluster.nodeNames) {
      if (cluster.atlas.isDamaged(name)) continue
      if (cluster.hosted(name).some(({ replica }) => replica.group === group)) return `${name} still hosts ${group}, which is gone`
      const left = cluster
        .disk(name)
        .paths()
        .filter((path) => path.includes(`${group}.`))
      if (left.length > 0) return `${name} still has ${left[0]} of ${group}, which is gone`
    }
  }
  return undefined
}

/** What was cut or copied for a move that has ended, by any replica. */
function leftFiles(cluster: SimCluster): string | undefined {
  for (const name of cluster.nodeNames) {
    const [left] = cluster.atlas.isDamaged(name) ? [] : migrationFiles(cluster, name)
    if (left !== undefined) return `${name} still has ${left} of a move that has ended`
  }
  return undefined
}

/** Every number has its cause; an epoch rises by one with each change of owner, and by nothing else; who served an epoch is who owned it. */
export async function checkConfigHistory(world: World, client: ControllerClient, ownership: Ownership): Promise<void> {
  const owners = new Map<string, string>()
  const { config: newest } = await world.settle(client.query(0, { timeoutMs: 10_000 }))
  let before: Config | undefined
  for (let number = 1; number <= newest.number; number++) {
    const { config } = await world.settle(client.query(number, { timeoutMs: 10_000 }))
    assert(config.cause !== '', `seed ${world.seed}: config ${number} has no cause`)
    checkEpochs(world.seed, before, config, owners)
    before = config
  }
  for (const { shard, group, epoch } of ownership.reigns) {
    const owner = owners.get(`${shard} ${epoch}`)
    assert(owner === group, `seed ${world.seed}: ${group} served shard ${shard} under epoch ${epoch}, which belongs to ${owner}`)
  }
}

function checkEpochs(seed: number, before: Config | undefined, config: Config, owners: Map<string, string>): void {
  for (let shard = 0; shard < config.shardCount; shard++) {
    const owner = config.groupOf(shard)?.uid
    const epoch = config.epochOf(shard)
    const was = before?.groupOf(shard)?.uid
    const raised = epoch - (before?.epochOf(shard) ?? 0)
    assert(
      raised === (owner === was ? 0 : 1),
      `seed ${seed}: config ${config.number} raises the epoch of shard ${shard} by ${raised}: ${was} to ${owner}`,
    )
    if (owner !== undefined) owners.set(`${shard} ${epoch}`, owner)
  }
}
