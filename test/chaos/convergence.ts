/** When a cluster is whole again: nothing moves, every shard is served by its owner and by nobody else, nothing is left of what it was elsewhere, each answers a read. */
import { setTimeout as delay } from 'node:timers/promises'
import { nodeStatus } from '../../cli/cluster-calls.ts'
import type { Client } from '../../client/index.ts'
import type { ControllerClient } from '../../proto/controller-client.ts'
import { OstrakaError } from '../../proto/errors.ts'
import type { pb } from '../../proto/messages.ts'
import { decodeMigration, isEnded } from '../../proto/migration.ts'
import { groupName } from '../../raft/replica-status.ts'
import type { Cluster } from './cluster-under-load.ts'
import { openControllers } from './controllers.ts'
import { keysOfShards } from './shard-keys.ts'

const lookMs = 50
const callMs = 2000

export interface Converged {
  /** From the call to: no migration runs; each shard is served as it should be; each has answered a read. */
  readonly endedMs: number
  readonly servedMs: number
  readonly answeredMs: number
}

/** Rejects after `withinMs` with what was missing. */
export async function converged(cluster: Cluster, db: Client, withinMs: number): Promise<Converged> {
  const client = openControllers(cluster.ready.controllers)
  const startMs = performance.now()
  const sinceStart = () => performance.now() - startMs
  const until = async (missing: () => Promise<string>) => {
    for (;;) {
      const what = await missing().catch((error: unknown) => {
        if (error instanceof OstrakaError) return error.message
        throw error
      })
      if (what === '') return sinceStart()
      if (sinceStart() > withinMs) throw new Error(`not whole after ${withinMs} ms: ${what}`)
      await delay(lookMs)
    }
  }
  try {
    const endedMs = await until(() => running(client))
    const servedMs = await until(() => misplaced(client, cluster))
    const { config } = await client.query(0, { timeoutMs: callMs })
    await db.getMany(keysOfShards(config.shardCount), { deadlineMs: Math.max(1, withinMs - sinceStart()) })
    return { endedMs, servedMs, answeredMs: sinceStart() }
  } finally {
    client.close()
  }
}

async function running(client: ControllerClient): Promise<string> {
  const migrations = (await client.migrations({ timeoutMs: callMs })).map(decodeMigration)
  return migrations
    .filter(({ phase }) => !isEnded(phase))
    .map(({ id, shards, from, to, phase }) => `migration ${id} of ${shards} from ${from} to ${to} is ${phase}`)
    .join('; ')
}

/** What is not as the newest config has it; '': nothing. */
async function misplaced(client: ControllerClient, cluster: Cluster): Promise<string> {
  const { config } = await client.query(0, { timeoutMs: callMs })
  const { nodes } = await client.status({ timeoutMs: callMs })
  const servedBy = new Map<number, string[]>()
  for (const { id } of cluster.ready.nodes) {
    const { replicas } = await nodeStatus(nodes.find((node) => node.id === id)?.address ?? '', {}, callMs)
    for (const replica of replicas) {
      const owns = (shard: number) => config.groupOf(shard)?.uid === replica.uid
      const stray = (replica.shards ?? []).find(({ shard = 0, state }) => state !== (owns(shard ?? 0) ? 'serving' : 'absent'))
      if (stray !== undefined) return `shard ${stray.shard} is ${stray.state} at ${id}, a replica of ${replica.uid}`
      if (replica.role === 'leader') addServed(servedBy, replica)
    }
  }
  for (let shard = 0; shard < config.shardCount; shard++) {
    const owner = config.groupOf(shard)?.name
    const serving = [...new Set(servedBy.get(shard))]
    if (owner === undefined || serving.join() !== owner)
      return `shard ${shard} of ${owner} is served by ${serving.join(' and ') || 'nobody'}`
  }
  return ''
}

function addServed(servedBy: Map<number, string[]>, { uid, shards }: pb.v1.ReplicaStatus.$Properties): void {
  for (const { shard, state } of shards ?? []) {
    if (state === 'serving') servedBy.set(shard ?? 0, [...(servedBy.get(shard ?? 0) ?? []), groupName(uid ?? '')])
  }
}
