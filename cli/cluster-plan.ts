/** Which processes `ostraka up` runs, on which ports, and which groups it makes of them. Pure. */

export interface PlannedProcess {
  readonly id: string
  readonly kind: 'controller' | 'server'
  readonly address: string
  readonly http: string
  /** Its folder below `--data`. */
  readonly folder: string
}

export interface PlannedGroup {
  readonly name: string
  readonly members: readonly { readonly id: string; readonly address: string }[]
}

export interface ClusterPlan {
  readonly controllers: readonly PlannedProcess[]
  readonly nodes: readonly PlannedProcess[]
  readonly groups: readonly PlannedGroup[]
}

export interface ClusterShape {
  readonly nodes: number
  readonly groups: number
  readonly replicas: number
}

const HOST = '127.0.0.1'
/** Offsets from the base port. */
const offsets = { controller: 0, server: 10, controllerHttp: 20, serverHttp: 30 } as const

/** Ports above the base that a cluster may use. */
export const portSpan = 40

export function planCluster(shape: ClusterShape, basePort: number): ClusterPlan {
  const controllers = range(shape.nodes === 1 ? 1 : 3).map((i) => plan('controller', `c${i + 1}`, basePort, i))
  const nodes = range(shape.nodes).map((i) => plan('server', `n${i + 1}`, basePort, i))
  return { controllers, nodes, groups: spreadGroups(shape, nodes) }
}

/** Group k starts at the node behind the last one of group k - 1, so that every node holds as many replicas as the others, give or take one. */
function spreadGroups(shape: ClusterShape, nodes: readonly PlannedProcess[]): PlannedGroup[] {
  return range(shape.groups).map((group) => ({
    name: `g${group + 1}`,
    members: range(shape.replicas).flatMap((replica) => {
      // Where a group spans all nodes the start still turns, so that the first members differ.
      const start = shape.replicas === nodes.length ? group : group * shape.replicas
      const node = nodes[(start + replica) % nodes.length]
      return node === undefined ? [] : [{ id: node.id, address: node.address }]
    }),
  }))
}

function plan(kind: PlannedProcess['kind'], id: string, basePort: number, index: number): PlannedProcess {
  const http = kind === 'controller' ? offsets.controllerHttp : offsets.serverHttp
  return { id, kind, address: `${HOST}:${basePort + offsets[kind] + index}`, http: `${HOST}:${basePort + http + index}`, folder: id }
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}
