import type { Cluster } from './cluster-under-load.ts'

interface NodeStatus {
  readonly groups: Readonly<
    Record<string, { readonly applied: number; readonly commit: number; readonly lastIndex: number; readonly stateHash?: string }>
  >
}

/** All replicas of each group at one index hold the same state. Resolves with the number of replicas compared; rejects when they differ, or do not meet. */
export async function compareReplicas(cluster: Cluster): Promise<number> {
  const replicasOfGroup = Math.min(3, cluster.ready.nodes.length)
  for (let round = 0; round < 100; round++) {
    const seen = new Map<string, { applied: number; hash: string }[]>()
    for (const { id } of cluster.ready.nodes) {
      const { code, stdout } = await cluster.run(['admin', 'status', id, '--hash', '--json'])
      if (code !== 0) continue
      for (const [group, { applied, stateHash = '' }] of Object.entries((JSON.parse(stdout) as NodeStatus).groups)) {
        seen.set(group, [...(seen.get(group) ?? []), { applied, hash: stateHash }])
      }
    }
    const groups = [...seen.values()]
    const met =
      groups.length > 0 &&
      groups.every((replicas) => replicas.length === replicasOfGroup && new Set(replicas.map(({ applied }) => applied)).size === 1)
    if (!met) continue
    for (const [group, replicas] of seen) {
      if (new Set(replicas.map(({ hash }) => hash)).size > 1)
        throw new Error(`the replicas of ${group} differ: ${JSON.stringify(replicas)}`)
    }
    return groups.flat().length
  }
  throw new Error('the replicas did not come to one index')
}
