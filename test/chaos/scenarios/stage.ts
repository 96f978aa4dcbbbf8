/** Where scenarios on real processes are played: a cluster, clients under load whose history is checked, and probes of every group. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SeededRandom } from '../../../base/random.ts'
import { type Client, connect } from '../../../client/index.ts'
import { ClusterUnderLoad } from '../cluster-under-load.ts'
import { DiskImage } from '../disks/disk-image.ts'
import { FsyncShim } from '../disks/fsync-shim.ts'
import { SmallDisk } from '../disks/small-disk.ts'
import { Interrupt, Interrupted } from '../interrupt.ts'
import { Prober } from '../prober.ts'
import { ClusterOfProcesses, type ClusterOfProcessesOptions } from '../processes/cluster-of-processes.ts'

export interface Figures {
  readonly [name: string]: number | string | readonly string[] | Readonly<Record<string, number>>
}

export interface StageOptions {
  readonly seed: number
  /** Nodes whose data is on a disk of their own that can lose its power. */
  readonly images?: readonly string[]
  /** Nodes whose data is on a disk of so many bytes. */
  readonly smallDisks?: { readonly nodes: readonly string[]; readonly bytes: number }
  /** Whether syncs can be made to fail. */
  readonly hasShim?: boolean
  readonly cluster?: Partial<ClusterOfProcessesOptions>
  readonly clients?: number
  readonly thinkMs?: number
  /** Between two probes of a group. */
  readonly probeEveryMs?: number
}

export interface Stage {
  readonly cluster: ClusterOfProcesses
  readonly load: ClusterUnderLoad
  readonly prober: Prober
  readonly random: SeededRandom
  readonly images: ReadonlyMap<string, DiskImage>
  readonly disks: ReadonlyMap<string, SmallDisk>
  readonly shim: FsyncShim | undefined
}

type Props = Pick<Stage, 'images' | 'disks' | 'shim'>

/** What is asked of every scenario. */
export class ScenarioFailed extends Error {
  override readonly name = 'ScenarioFailed'
}

export const electionTimeoutMs = 1000
/** Longer than any fault lasts, with what it takes to come back. */
const deadlineMs = 30_000

/**
 * Plays `act`, then checks what holds in every scenario: the history is linearizable, every acknowledged write of its own kind is read back, no
 * call failed, the replicas are equal, no process ended by itself. Rejects where one does not hold.
 */
export function onStage(options: StageOptions, act: (stage: Stage) => Promise<Figures>): Promise<Figures> {
  return onCluster(options, (cluster, props) => underLoad(cluster, options, props, act))
}

export type ClusterOptions = Omit<StageOptions, 'clients' | 'thinkMs' | 'probeEveryMs'>

/** Plays `act` on a cluster without load; what holds in the end is its own to check. */
export async function onCluster(
  options: ClusterOptions,
  act: (cluster: ClusterOfProcesses, props: Props) => Promise<Figures>,
): Promise<Figures> {
  const interrupt = new Interrupt()
  const folder = await mkdtemp(join(tmpdir(), 'ostraka-disks-'))
  const images = new Map<string, DiskImage>()
  const disks = new Map<string, SmallDisk>()
  let cluster: ClusterOfProcesses | undefined
  try {
    for (const id of options.images ?? []) images.set(id, await DiskImage.make(folder, id))
    const { nodes = [], bytes = 0 } = options.smallDisks ?? {}
    for (const id of nodes) disks.set(id, await SmallDisk.make(folder, id, bytes))
    const shim = options.hasShim === true ? await FsyncShim.build(folder) : undefined
    cluster = await ClusterOfProcesses.start({
      nodes: 3,
      groups: 3,
      shards: 64,
      electionTimeoutMs,
      folders: new Map([...images, ...disks].map(([id, disk]) => [id, join(disk.folder, 'data')])),
      environment: (id) => shim?.environment(id) ?? {},
      ...options.cluster,
    })
    return await Promise.race([act(cluster, { images, disks, shim }), interrupt.happened])
  } catch (error) {
    if (!(error instanceof Interrupted)) await tellLastWords(cluster)
    throw error
  } finally {
    await cluster?.dispose()
    for (const disk of [...images.values(), ...disks.values()]) await disk.dispose()
    await rm(folder, { recursive: true, force: true })
    interrupt.dispose()
  }
}

async function underLoad(
  cluster: ClusterOfProcesses,
  options: StageOptions,
  props: Props,
  act: (stage: Stage) => Promise<Figures>,
): Promise<Figures> {
  const { seed, clients = 6, thinkMs = 8 } = options
  const load = new ClusterUnderLoad(cluster, {
    seed,
    clients,
    thinkMs,
    keys: 150,
    deadlineMs,
    uniqueWrites: { perSecond: 25, keys: 20_000 },
  })
  const db: Client = await connect({ controllers: [...cluster.ready.controllers], deadlineMs })
  try {
    await load.start()
    const prober = await Prober.start(db, cluster.groups, options.probeEveryMs)
    const acting = act({ cluster, load, prober, random: new SeededRandom(seed), ...props })
    const figures = await Promise.race([acting, load.failed]).finally(() => prober.stop())
    await load.stop()
    return await check(cluster, load, prober, figures)
  } catch (error) {
    await load.abandon()
    throw error
  } finally {
    await db.close()
  }
}

async function check(cluster: ClusterOfProcesses, load: ClusterUnderLoad, prober: Prober, acted: Figures): Promise<Figures> {
  const equalReplicas = await load.compareReplicas()
  const operations = load.check()
  const { ok, failed, unknown, lastError } = load.workload.counts
  const unique = load.uniqueWrites
  const failures = failed + unknown + unique.failed + prober.failed
  const { acknowledged, readBack } = unique
  const figures = { ...acted, operations, answered: ok, uniqueWrites: acknowledged, readBack, equalReplicas, failures }
  if (failures > 0) fail(`${failures} calls failed, one of the last with: ${lastError || unique.lastError || 'a probe'}`, figures)
  if (cluster.crashes.length > 0) fail(cluster.crashes.join('; '), figures)
  return figures
}

/** Throws, with the figures that there are. */
export function fail(why: string, figures: Figures): never {
  throw new ScenarioFailed(`${why}: ${JSON.stringify(figures)}`)
}

async function tellLastWords(cluster: ClusterOfProcesses | undefined): Promise<void> {
  for (const process of cluster?.processes ?? []) {
    console.log(`${process.id} (${process.isReady ? 'ready' : process.isRunning ? 'not ready' : 'down'}) wrote last:`)
    console.log(await process.lastWords(4).catch(() => 'nothing'))
  }
}
