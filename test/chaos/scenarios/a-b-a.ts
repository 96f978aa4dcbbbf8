/**
 * A shard goes from A to B and back again and again, while its keys are put and deleted, tables are compacted by command, and in each move one
 * who takes part is killed at a step of it. What is read at the end of each round is the model; what is on the disks in the end is little more than the data.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { utf8 } from '../../../base/bytes.ts'
import { SeededRandom } from '../../../base/random.ts'
import { shardOf, slotOf } from '../../../base/slot.ts'
import { type Client, connect } from '../../../client/index.ts'
import { AdminCli } from '../admin-cli.ts'
import { compareReplicas } from '../compare-replicas.ts'
import { converged } from '../convergence.ts'
import { pick } from '../faults/fault.ts'
import { ModelledKeys } from '../modelled-keys.ts'
import type { ClusterOfProcesses } from '../processes/cluster-of-processes.ts'
import { filesOfNode, type NodeFiles } from '../processes/replica-files.ts'
import { parts, StepKills, steps } from '../step-kills.ts'
import { type Figures, fail, onCluster } from './stage.ts'

const MiB = 1024 * 1024
const shardCount = 16
const tag = 't'
const deadlineMs = 60_000
const keysOptions = { tag, keys: 4000, valueBytesMax: 2048, deletes: 0.4 }
/** Changes at once, and the wait behind them. */
const changes = { atOnce: 16, thinkMs: 100 }
/** A move with one kill, the way of what was killed included. */
const movedMsMax = 60_000
/** It takes a moment; a run that is interrupted must not leave a command that waits. */
const compactSeconds = '60'
/** After the last move: until nothing of it is left, and until what it took is free again. */
const cleanMsMax = 30_000
/** A replica that came back may have taken a snapshot, whose files are on lease for a minute (docs/decisions/0009). */
const spaceMsMax = 60_000 + cleanMsMax
/** Files of a replica, to its data. */
const bytesRatioMax = 1.5
/** Copies are slow enough to be hit, and do not give way to clients without end; tables are flushed and compacted in a run of minutes. */
const flags = [
  '--migration-bytes-per-second',
  String(16 * MiB),
  '--memtable-bytes',
  String(4 * MiB),
  '--snapshot-log-bytes',
  String(8 * MiB),
]

export function thereAndBack(seed: number, rounds: number): Promise<Figures> {
  const cluster = { nodes: 6, groups: 2, shards: shardCount, hasProxies: false, flags }
  return onCluster({ seed, cluster }, async (cluster) => {
    const db = await connect({ controllers: [...cluster.ready.controllers], deadlineMs })
    const run = new ThereAndBack(cluster, db, new SeededRandom(seed))
    try {
      return await run.play(rounds)
    } finally {
      run.close()
      await db.close()
    }
  })
}

class ThereAndBack {
  readonly #cluster: ClusterOfProcesses
  readonly #db: Client
  readonly #random: SeededRandom
  readonly #admin: AdminCli
  readonly #keys: ModelledKeys
  readonly #kills: StepKills
  #killed = 0
  #compactions = 0
  #aborted = 0

  constructor(cluster: ClusterOfProcesses, db: Client, random: SeededRandom) {
    this.#cluster = cluster
    this.#db = db
    this.#random = random
    this.#admin = new AdminCli(cluster)
    this.#keys = new ModelledKeys(random.fork(), keysOptions)
    this.#kills = new StepKills(cluster, random.fork())
  }

  close(): void {
    this.#kills.close()
  }

  async play(rounds: number): Promise<Figures> {
    const shard = shardOf(slotOf(utf8(this.#keys.key(0))), shardCount)
    const home = (await this.#admin.config()).assignment[shard] ?? ''
    const away = this.#cluster.groups.find((group) => group !== home) ?? ''
    await this.#keys.fill(this.#db)
    let newest = 0
    for (let round = 1; round <= rounds; round++) {
      await this.#move(shard, home, away)
      newest = await this.#move(shard, away, home)
      const records = await this.#keys.compare(this.#db)
      console.log(`  round ${round}: ${records} records as they must be`)
    }
    await this.#kills.over(newest, cleanMsMax)
    const { answeredMs } = await converged(this.#cluster, this.#db, cleanMsMax)
    const before = await this.#spaceReturned(home, false)
    for (const { id } of this.#cluster.nodes) await this.#compact(id)
    const after = await this.#spaceReturned(home, true)
    await this.#keys.compare(this.#db)
    const equalReplicas = await compareReplicas(this.#cluster)
    const figures = {
      ...this.#figures(rounds, answeredMs),
      beforeTheLastCompaction: before,
      ...after,
      equalReplicas,
    }
    if (this.#cluster.crashes.length > 0) fail(this.#cluster.crashes.join('; '), figures)
    if (this.#aborted > 0) fail(`${this.#aborted} moves were aborted, and nothing kept them from being done`, figures)
    return figures
  }

  /** One move, with changes throughout, one kill and one compaction. Returns the migration's id. The next may begin before this one is cleaned up. */
  async #move(shard: number, from: string, to: string): Promise<number> {
    const random = this.#random
    const [step, part] = [pick(random, steps) ?? 'planned', pick(random, parts) ?? 'controller']
    const victim = await this.#kills.find(part, from, to)
    const changing = this.#keepChanging()
    try {
      const begun = await this.#admin.beginMove(shard, to)
      const [id] = begun?.migrations ?? []
      if (id === undefined) throw new Error(`the move of shard ${shard} to ${to} was refused`)
      const compacting = this.#compactSoon(victim?.id)
      const killing = victim === undefined ? undefined : this.#kills.at(step, id, victim)
      const [end] = await Promise.all([this.#kills.ended(id, movedMsMax), killing, compacting])
      if (victim !== undefined) this.#killed++
      if (end === 'aborted') this.#aborted++
      console.log(`  ${id} from ${from} to ${to}: ${end}; the ${part}, ${victim?.id ?? 'nobody'}, was killed ${step}`)
      return id
    } finally {
      await changing.stop()
    }
  }

  /** Changes keys until it is stopped, which rejects where a change failed. */
  #keepChanging(): { stop(): Promise<void> } {
    let isStopped = false
    const loop = async () => {
      while (!isStopped) {
        await this.#keys.change(this.#db, changes.atOnce)
        await delay(changes.thinkMs)
      }
    }
    const looping = loop()
    looping.catch(() => undefined)
    return {
      stop: () => {
        isStopped = true
        return looping
      },
    }
  }

  /** Of a node that nobody kills meanwhile, somewhere within the move. */
  async #compactSoon(victim: string | undefined): Promise<void> {
    const ids = this.#cluster.nodes.filter(({ id, isReady }) => isReady && id !== victim).map(({ id }) => id)
    const id = pick(this.#random, ids)
    await delay(this.#random.next() * 1000)
    if (id !== undefined) await this.#compact(id)
  }

  async #compact(id: string): Promise<void> {
    const { code, stderr } = await this.#cluster.run(['admin', 'compact', id, '--timeout', compactSeconds])
    if (code !== 0) throw new Error(`admin compact ${id} ended with ${code}: ${stderr.trim()}`)
    this.#compactions++
  }

  /** Bytes on the disks once exports and what was fetched are gone and, where `isBound`, tables are within what they may take; rejects where they do not come to that. */
  async #spaceReturned(home: string, isBound: boolean) {
    const data = this.#keys.bytes
    const endMs = performance.now() + spaceMsMax
    for (;;) {
      const files = await this.#files()
      const holders = [...((await this.#cluster.replicas()).get(home)?.keys() ?? [])]
      const ratioOf = ({ tables, exports, staging }: NodeFiles) => Math.round((100 * (tables + exports + staging)) / data) / 100
      const ratios = (ids: readonly string[]) => Math.max(...ids.map((id) => ratioOf(files.get(id) as NodeFiles)))
      const all = [...files.values()]
      const sum = (kind: keyof NodeFiles) => all.reduce((bytes, each) => bytes + each[kind], 0)
      const space = {
        dataBytes: data,
        bytesToDataMax: ratios(holders),
        elsewhereToDataMax: ratios([...files.keys()].filter((id) => !holders.includes(id))),
        tableBytes: sum('tables'),
        exportBytes: sum('exports'),
        stagingBytes: sum('staging'),
        logBytes: sum('log'),
      }
      const isReturned = space.exportBytes + space.stagingBytes === 0
      const isWithin = !isBound || Math.max(space.bytesToDataMax, space.elsewhereToDataMax) <= bytesRatioMax
      if (isReturned && isWithin) return space
      if (performance.now() > endMs) fail(`space was not returned within ${spaceMsMax} ms`, space)
      await delay(100)
    }
  }

  async #files(): Promise<Map<string, NodeFiles>> {
    const files = new Map<string, NodeFiles>()
    for (const { id } of this.#cluster.nodes) files.set(id, await filesOfNode(this.#cluster.dataOf(id)))
    return files
  }

  #figures(rounds: number, cleanMs: number) {
    const { puts, deletes, size } = this.#keys
    return {
      moves: 2 * rounds,
      aborted: this.#aborted,
      kills: this.#killed,
      seenWhenKilled: this.#kills.seen,
      compactions: this.#compactions,
      puts,
      deletes,
      records: size,
      cleanAfterMs: Math.round(cleanMs),
    }
  }
}
