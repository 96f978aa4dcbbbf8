/** How fast an idle cluster copies a shard. */
import { must } from '../../base/assert.ts'
import { SeededRandom } from '../../base/random.ts'
import { type Client, connect } from '../../client/index.ts'
import { ClusterOfProcesses } from '../chaos/processes/cluster-of-processes.ts'
import { Mover, type Sample } from './mover.ts'
import { PacedLoad } from './paced-load.ts'
import { Records } from './records.ts'

const MiB = 1024 * 1024
const valueBytes = 4096
const fillInFlight = 64
const deadlineMs = 30_000
const shards = 256
const electionTimeoutMs = 1000

export interface RateOptions {
  /** Six: each group has three of its own, and every file goes through a socket. Three: a target's replica has one of the source's beside it. */
  readonly nodes: 3 | 6
  readonly mib: number
  readonly moves: number
  readonly seed: number
  /** As given to the nodes; undefined: none. */
  readonly limit?: number
  /** Rejects where the run is to end now. */
  readonly ended: Promise<never>
  tell(line: string): void
}

export interface Rate {
  /** Of the copy's files, to each replica. */
  readonly bytes: number
  /** From the plan to the commit: cut, copy, check, and what little there is to catch up with, s. */
  readonly copyingSeconds: number
  /** Into each replica, between the first and the last news of the copy's progress, bytes a second. */
  readonly perReplica: number
}

export async function playRates(options: RateOptions): Promise<readonly Rate[]> {
  const { nodes, limit, ended } = options
  const flags = limit === undefined ? [] : ['--migration-bytes-per-second', String(limit)]
  const cluster = await ClusterOfProcesses.start({ nodes, groups: 2, shards, electionTimeoutMs, hasProxies: false, flags })
  const db = await connect({ controllers: cluster.ready.controllers, deadlineMs })
  let mover: Mover | undefined
  try {
    const { shard } = await db.explain(keyOf(0))
    mover = await Mover.start(cluster, shard)
    return await Promise.race([play(options, db, mover), ended])
  } finally {
    mover?.close()
    await db.close()
    await cluster.dispose()
  }
}

async function play({ mib, moves, seed, tell }: RateOptions, db: Client, mover: Mover): Promise<readonly Rate[]> {
  const random = new SeededRandom(seed)
  const records = new Records(random, { count: (mib * MiB) / valueBytes, valueBytes, keyOf })
  await new PacedLoad({ perSecond: 1, records, clients: [db], random }).fill(fillInFlight)
  tell(`${mib} MiB are filled`)
  await mover.settle()
  const homes = [mover.owner, mover.owner === 'g1' ? 'g2' : 'g1']
  const rates: Rate[] = []
  for (let i = 1; i <= moves; i++) {
    const samples: Sample[] = []
    const { migration, committedMs } = await mover.move(homes[i % 2] ?? '', (sample) => samples.push(sample))
    const copyingSeconds = (performance.timeOrigin + committedMs - Date.parse(migration.startedAt)) / 1000
    rates.push({ bytes: migration.bytesTotal, copyingSeconds, perReplica: rateOf(samples) })
    const told = `${inMB(migration.bytesTotal)} MB to each replica in ${copyingSeconds.toFixed(1)} s`
    const watched = rateOf(samples)
    tell(`move ${i} of ${moves}: ${told}${Number.isNaN(watched) ? '' : `, ${inMB(watched)} MB/s while it was watched`}`)
  }
  return rates
}

function keyOf(i: number): string {
  return `{moving}/${i}`
}

export function inMB(bytes: number): string {
  return (bytes / 1e6).toFixed(1)
}

/** Progress is told in steps: from the moment of the first to that of the last. NaN: fewer than two came. */
function rateOf(samples: readonly Sample[]): number {
  const steps = samples.filter(({ bytesCopied }, i) => bytesCopied > 0 && bytesCopied !== samples[i - 1]?.bytesCopied)
  if (steps.length < 2) return Number.NaN
  const [first, last] = [must(steps[0], 'a first step'), must(steps.at(-1), 'a last step')]
  return ((last.bytesCopied - first.bytesCopied) * 1000) / (last.atMs - first.atMs)
}
