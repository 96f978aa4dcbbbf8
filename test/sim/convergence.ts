/** What must hold of a run when it is over. */
import { assert, must } from '../../base/assert.ts'
import type { pb } from '../../proto/messages.ts'
import { checkLinearizable, describeVerdict } from '../linearizability/checker.ts'
import type { HistoryRecorder } from '../linearizability/history.ts'
import { type OstrakaInput, type OstrakaOutput, ostrakaModel } from '../linearizability/ostraka-model.ts'
import type { SimCluster } from './sim-cluster.ts'
import type { World } from './world.ts'

const roundsMax = 200

/** Rejects what no order of the calls explains. */
export function checkHistory(seed: number, recorder: HistoryRecorder<OstrakaInput, OstrakaOutput>): void {
  const verdict = checkLinearizable(ostrakaModel, recorder.operations())
  if (verdict.verdict !== 'linearizable') throw new Error(`seed ${seed}: ${describeVerdict(ostrakaModel, verdict)}`)
}

/**
 * All replicas of each group, the controllers' included, hold at the same index the same records, sessions and shard states. `groups`: how many of
 * shards there must be. Nodes whose disks were damaged and whose processes run are compared, too: where a replica meets damage only now it is
 * replaced first. Controllers whose disks are damaged are left out.
 */
export async function convergeAndCompare(world: World, cluster: SimCluster, groups: number): Promise<void> {
  for (let round = 0; round < roundsMax; round++) {
    const states = new Map<string, Set<string>>()
    const failures: string[] = []
    let isReplacing = false
    for (const name of cluster.names) {
      const isDamaged = cluster.atlas.isDamaged(name)
      if (cluster.running(name) === undefined || (isDamaged && cluster.controllerNames.includes(name))) continue
      const replicas = await replicasOf(world, cluster, name)
      const failed = replicas?.flatMap(({ uid, failure }) => (failure ? [`${name} ${uid}: ${failure}`] : []))
      if (isDamaged && failed?.length !== 0) {
        isReplacing = true
        continue
      }
      failures.push(...(failed ?? []))
      for (const { uid, hashIndex, stateHash } of replicas ?? []) {
        const seen = states.get(uid ?? '') ?? new Set()
        states.set(uid ?? '', seen.add(`${hashIndex} ${stateHash}`))
      }
    }
    assert(failures.length === 0, `seed ${world.seed}: replicas stopped: ${failures.join('; ')}`)
    const indexes = [...states.values()].map((seen) => new Set([...seen].map((state) => state.split(' ')[0])))
    if (!isReplacing && indexes.every((seen) => seen.size === 1)) {
      for (const [group, seen] of states)
        assert(seen.size === 1, `seed ${world.seed}: the replicas of ${group} differ: ${[...seen].join(', ')}`)
      assert(states.size === groups + 1, `seed ${world.seed}: of the controllers and ${groups} groups only ${[...states.keys()]} are there`)
      return
    }
    await world.runFor(200)
  }
  throw new Error(`seed ${world.seed}: the replicas did not come to one index`)
}

/** As the machine tells of them, hashes included; undefined: damage that it has met keeps it from that. */
async function replicasOf(
  world: World,
  cluster: SimCluster,
  name: string,
): Promise<readonly pb.v1.ReplicaStatus.$Properties[] | undefined> {
  const running = must(cluster.running(name), `a process on ${name}`)
  const asking = running.status({ hash: true })
  if (!cluster.atlas.isDamaged(name)) return (await world.settle(asking)).replicas
  let told: pb.v1.NodeStatusReply | 'nothing' | undefined
  asking.then(
    (reply) => {
      told = reply
    },
    () => {
      told = 'nothing'
    },
  )
  await world.runUntil(() => told !== undefined || cluster.running(name) !== running, 60_000, `${name} tells how it is`)
  return told === undefined || told === 'nothing' ? undefined : told.replicas
}

/**
 * What is missing of what the config gives to nodes whose processes run: each of its replicas must be there, whole and a voter. Undefined: nothing. So a
 * replica that was retired has been replaced. A node that cannot live with its damage is down, and what it holds only people can replace.
 */
export function missingReplica(cluster: SimCluster): string | undefined {
  const leader = cluster.controllerLeader()
  const config = leader === undefined ? undefined : cluster.controllerState(leader)?.config
  if (config === undefined) return 'no controller leads'
  for (const { uid, members } of config.groups) {
    const replicaOn = (node: string) => cluster.hosted(node).find(({ replica }) => replica.group === uid)?.replica
    const leading = cluster.groupLeader(uid)
    const conf = leading === undefined ? undefined : replicaOn(leading)?.conf
    if (conf === undefined) return `nobody leads ${uid}`
    const running = members.filter(({ node }) => cluster.isAlive(node))
    for (const { node, replica, state } of running) {
      const here = replicaOn(node)
      if (here?.replica !== replica || here.failure !== undefined) return `${node} does not hold its replica ${replica} of ${uid}, ${state}`
      if (state !== 'voter' || !conf.voters.includes(replica)) return `replica ${replica} of ${uid} on ${node}, ${state}, does not vote`
    }
    const isSettled = conf.voters.length === members.length && conf.votersOutgoing.length + conf.learners.length === 0
    if (running.length === members.length && !isSettled) return `${uid} has the members ${JSON.stringify(conf)}`
  }
  return undefined
}
