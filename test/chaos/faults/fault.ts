import type { SeededRandom } from '../../../base/random.ts'
import type { DiskImage } from '../disks/disk-image.ts'
import type { FsyncShim } from '../disks/fsync-shim.ts'
import type { ClusterOfProcesses } from '../processes/cluster-of-processes.ts'

export interface Fault {
  /** For people. */
  readonly what: string
  /** Groups whose writes it stops: it takes their leader away, or their majority. The writes of the others go on. */
  readonly hits: readonly string[]
  /**
   * When writes of the groups that are hit can resume: from the begin on, for a majority is left that clients reach; or only from the end on,
   * which is when links are healed, a stopped process goes on, killed ones are ready.
   */
  readonly resumesFrom: 'begin' | 'end'
  readonly lastsMs: number
  /** Resolves when it is in effect. */
  begin(): Promise<void>
  /** What was cut is whole again, what is down is started. */
  end(): Promise<void>
}

/** What faults are made from. */
export interface FaultWorld {
  readonly cluster: ClusterOfProcesses
  readonly random: SeededRandom
  /** By group the process that leads it now. */
  readonly leaders: ReadonlyMap<string, string>
  /** Of the nodes that have one. */
  readonly images: ReadonlyMap<string, DiskImage>
  readonly shim: FsyncShim | undefined
}

export type FaultMaker = (world: FaultWorld) => Fault | undefined

/** From half an election timeout to five. */
export function someTimeouts({ cluster, random }: FaultWorld): number {
  return cluster.options.electionTimeoutMs * (0.5 + 4.5 * random.next())
}

/** The groups that `node` leads. */
export function ledBy({ leaders, cluster }: FaultWorld, ...nodes: string[]): string[] {
  return cluster.groups.filter((group) => nodes.includes(leaders.get(group) ?? ''))
}

export function pick<T>(random: SeededRandom, some: readonly T[]): T | undefined {
  return some[random.below(Math.max(1, some.length))]
}

/** A node that leads a random group. */
export function someLeader({ random, leaders, cluster }: FaultWorld): string | undefined {
  return leaders.get(pick(random, cluster.groups) ?? '')
}

export function controllersLeader({ leaders, cluster }: FaultWorld): string {
  return leaders.get('controller') ?? cluster.controllers[0]?.id ?? ''
}

export function someNode({ random, cluster }: FaultWorld): string | undefined {
  return pick(random, cluster.nodes)?.id
}
