/** What a process says of itself over HTTP: past all proxies, so that whoever makes faults can look while they last. */

export interface ReplicaStatus {
  readonly role: string
  readonly term: number
  readonly leader: string
  readonly commit: number
  readonly applied: number
  readonly lastIndex: number
  readonly shards?: Readonly<Record<string, string>>
}

export interface NodeStatus {
  readonly id: string
  readonly groups: Readonly<Record<string, ReplicaStatus>>
}

/** undefined: it does not answer. */
export async function nodeStatus(http: string, timeoutMs = 1000): Promise<NodeStatus | undefined> {
  try {
    const response = await fetch(`http://${http}/status`, { signal: AbortSignal.timeout(timeoutMs) })
    return response.ok ? ((await response.json()) as NodeStatus) : undefined
  } catch {
    return undefined
  }
}
