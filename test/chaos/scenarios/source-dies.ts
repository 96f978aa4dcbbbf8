/**
 * Shards are on their way from a group when all of its nodes are killed: some have arrived, some are half copied, some wait. Who does not move must
 * not notice, who has arrived must serve at once, and the rest must arrive by itself when the nodes are back.
 */
import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { SeededRandom } from '../../../base/random.ts'
import { type Client, connect } from '../../../client/index.ts'
import type { ControllerClient } from '../../../proto/controller-client.ts'
import { pb } from '../../../proto/messages.ts'
import { UniqueWrites } from '../../workload/unique-writes.ts'
import { AdminCli } from '../admin-cli.ts'
import { compareReplicas } from '../compare-replicas.ts'
import { openControllers } from '../controllers.ts'
import { converged } from '../convergence.ts'
import { type Pace, PacedWrites } from '../paced-writes.ts'
import type { ClusterOfProcesses } from '../processes/cluster-of-processes.ts'
import type { ServerProcess } from '../processes/server-process.ts'
import { keysOfShards } from '../shard-keys.ts'
import { type Figures, fail, onCluster } from './stage.ts'

const MiB = 1024 * 1024
const shardCount = 64
/** Each group has three nodes of its own. */
const shape = { nodes: 9, groups: 3, shards: shardCount, hasProxies: false }
const replicas = 3
const [source, target] = ['g1', 'g2']
/** Shards that move, and what each holds. */
const moving = 6
const shardBytes = 12 * MiB
const valueBytes = 32 * 1024
/** Each copy takes seconds, so that there is a middle. */
const flags = ['--migration-bytes-per-second', String(12 * MiB)]
const writesPerSecond = 200
const calmMs = 6000
const lookMs = 20
const callMs = 2000
const movedMsMax = 60_000
/** Of what is asked of a shard that has arrived, once its source is dead. */
const answerMsMax = 1000
/** From the return of the source's nodes to the end of all moves: most of 72 MiB at their rate, and some seconds for processes and elections. */
const returnedMsMax = 40_000
const speedMin = 0.9
/** What the outage may add to the tail, which is the machine's, too. */
const tail = { factor: 1.5, slackMs: 10 }

export function sourceDies(seed: number, outageSeconds: number): Promise<Figures> {
  return onCluster({ seed, cluster: { ...shape, flags } }, async (cluster) => {
    const controllers = openControllers(cluster.ready.controllers)
    // Who writes to a shard whose group is dead waits for it.
    const deadlineMs = outageSeconds * 1000 + movedMsMax
    const db = await connect({ controllers: [...cluster.ready.controllers], deadlineMs })
    try {
      return await new SourceDies(cluster, db, controllers, new SeededRandom(seed)).play(outageSeconds * 1000)
    } finally {
      await db.close()
      controllers.close()
    }
  })
}

class SourceDies {
  readonly #cluster: ClusterOfProcesses
  readonly #db: Client
  readonly #controllers: ControllerClient
  readonly #random: SeededRandom
  readonly #sources: readonly ServerProcess[]
  /** Of the values that were put before the moves, by key. */
  readonly #digests = new Map<string, string>()

  constructor(cluster: ClusterOfProcesses, db: Client, controllers: ControllerClient, random: SeededRandom) {
    this.#cluster = cluster
    this.#db = db
    this.#controllers = controllers
    this.#random = random
    this.#sources = cluster.nodes.slice(0, replicas)
  }

  async play(outageMs: number): Promise<Figures> {
    const admin = new AdminCli(this.#cluster)
    const { assignment } = await admin.config()
    const movers = shardsWhere(assignment, (group) => group === source).slice(0, moving)
    await Promise.all(movers.map((shard) => this.#fill(shard)))
    const stayers = shardsWhere(assignment, (group) => group !== source)
    const paced = new PacedWrites(
      this.#db,
      stayers.map((shard) => `${tagOf(shard)}paced`),
      writesPerSecond,
    )
    const writers = movers.map((shard) => new ShardWriter(this.#db, shard))
    try {
      const calmAtMs = performance.now()
      await delay(calmMs)
      const movesAtMs = performance.now()
      await Promise.all(movers.map((shard) => admin.beginMove(shard, target)))
      await this.#untilMidCopy()
      const deadAtMs = performance.now()
      await Promise.all(this.#sources.map((process) => process.kill()))
      const arrived = await this.#arrived()
      const firstAnswersMs = await Promise.all([...arrived].map((shard) => this.#firstAnswerMs(shard)))
      for (const writer of writers) writer.mark()
      await delay(Math.max(0, deadAtMs + outageMs - performance.now()))
      const backAtMs = performance.now()
      judgeMovers(writers, arrived)
      await Promise.all(this.#sources.map((process) => process.start()))
      const { endedMs, answeredMs } = await converged(this.#cluster, this.#db, returnedMsMax)
      await paced.stop()
      let readBack = await this.#readBack()
      for (const writer of writers) readBack += await writer.stop()
      const failures = paced.failed + writers.reduce((sum, { failed }) => sum + failed, 0)
      const [calm, outage] = [paced.between(calmAtMs, movesAtMs), paced.between(deadAtMs, backAtMs)]
      const figures = {
        arrived: arrived.size,
        notArrived: moving - arrived.size,
        calm: { ...calm },
        whileMoving: { ...paced.between(movesAtMs, deadAtMs) },
        outage: { ...outage },
        outageMs: Math.round(backAtMs - deadAtMs),
        firstAnswerMaxMs: Math.round(Math.max(...firstAnswersMs)),
        movesEndedAfterReturnMs: Math.round(endedMs),
        wholeAfterReturnMs: Math.round(answeredMs),
        readBack,
        failures,
        equalReplicas: await compareReplicas(this.#cluster),
      }
      judgeSpeed(calm, outage, figures)
      if (failures > 0) fail(`${failures} calls failed, one with: ${paced.lastError}`, figures)
      if (figures.firstAnswerMaxMs > answerMsMax) fail('a shard that had arrived did not serve at once', figures)
      if (this.#cluster.crashes.length > 0) fail(this.#cluster.crashes.join('; '), figures)
      return figures
    } finally {
      paced.end()
      for (const writer of writers) writer.end()
    }
  }

  async #fill(shard: number): Promise<void> {
    for (let i = 0; i < shardBytes / valueBytes; i++) {
      const [key, value] = [`${tagOf(shard)}${i}`, this.#random.bytes(valueBytes)]
      this.#digests.set(key, digestOf(value))
      await this.#db.put(key, value)
    }
  }

  /** Resolves when at least two shards have arrived, and one is half copied. */
  async #untilMidCopy(): Promise<void> {
    const endMs = performance.now() + movedMsMax
    for (;;) {
      const migrations = await this.#controllers.migrations({ timeoutMs: callMs })
      const done = migrations.filter(isDone)
      const isInMiddle = migrations.some(({ bytesCopied, bytesTotal, ...migration }) => {
        const copied = (bytesCopied ?? 0) / (bytesTotal || 1)
        return isCopying(migration) && copied > 0.2 && copied < 0.9
      })
      if (done.length >= 2 && isInMiddle) return
      if (done.length === moving) throw new Error('all shards have arrived, and none was seen in the middle')
      if (performance.now() > endMs) throw new Error(`the moves do not go on: ${JSON.stringify(migrations)}`)
      await delay(lookMs)
    }
  }

  async #arrived(): Promise<Set<number>> {
    const migrations = await this.#controllers.migrations({ timeoutMs: callMs })
    return new Set(migrations.filter(isDone).flatMap(({ shards }) => shards ?? []))
  }

  /** How long a client takes to read what the shard brought along, and to write to it. */
  async #firstAnswerMs(shard: number): Promise<number> {
    const startMs = performance.now()
    await this.#mustRead(`${tagOf(shard)}0`)
    await this.#db.put(`${tagOf(shard)}arrived`, 'here')
    return performance.now() - startMs
  }

  /** Returns how many values there are. */
  async #readBack(): Promise<number> {
    for (const key of this.#digests.keys()) await this.#mustRead(key)
    return this.#digests.size
  }

  async #mustRead(key: string): Promise<void> {
    const found = await this.#db.get(key)
    if (found === undefined || digestOf(found.value) !== this.#digests.get(key)) {
      throw new Error(`${key} is ${found === undefined ? 'lost' : 'not what was put'}`)
    }
  }
}

/** Writes to one shard all the time, one call after the other, and reads back what was acknowledged. */
class ShardWriter {
  readonly shard: number
  readonly #db: Client
  readonly #writes: UniqueWrites
  readonly #writing: Promise<void>
  #isEnded = false
  #marked = 0

  constructor(db: Client, shard: number) {
    this.shard = shard
    this.#db = db
    this.#writes = new UniqueWrites(`${tagOf(shard)}unique`, 1000, () => performance.now())
    this.#writing = this.#write()
  }

  get failed(): number {
    return this.#writes.failed
  }

  /** Acknowledged since `mark`. */
  get sinceMark(): number {
    return this.#writes.acknowledged - this.#marked
  }

  mark(): void {
    this.#marked = this.#writes.acknowledged
  }

  end(): void {
    this.#isEnded = true
  }

  /** Returns how many keys were read back. */
  async stop(): Promise<number> {
    this.end()
    await this.#writing
    return await this.#writes.readBack(this.#db)
  }

  async #write(): Promise<void> {
    while (!this.#isEnded) {
      await this.#writes.one(this.#db)
      await delay(lookMs)
    }
  }
}

/** The outage was one, and only of what had not arrived. */
function judgeMovers(writers: readonly ShardWriter[], arrived: ReadonlySet<number>): void {
  for (const { shard, sinceMark } of writers) {
    if (arrived.has(shard) && sinceMark === 0) throw new Error(`shard ${shard} had arrived, and took no write in the outage`)
    if (!arrived.has(shard) && sinceMark > 0) throw new Error(`shard ${shard} had not arrived, and took ${sinceMark} writes in the outage`)
  }
}

function judgeSpeed(calm: Pace, outage: Pace, figures: Figures): void {
  if (outage.perSecond < speedMin * calm.perSecond) fail('shards that do not move were slower in the outage', figures)
  if (outage.p99Ms > tail.factor * calm.p99Ms + tail.slackMs) fail('the tail of shards that do not move was longer in the outage', figures)
}

const { COPYING, DONE } = pb.v1.MigrationPhase

function isDone({ phase }: pb.v1.Migration.$Properties): boolean {
  return phase === DONE
}

function isCopying({ phase, catchingUp }: pb.v1.Migration.$Properties): boolean {
  return (phase ?? COPYING) === COPYING && !catchingUp
}

const tags = keysOfShards(shardCount)

/** Keys that begin with it lie in the shard. */
function tagOf(shard: number): string {
  return `{${tags[shard]}}`
}

function shardsWhere(assignment: readonly (string | null)[], is: (group: string | null) => boolean): number[] {
  return assignment.flatMap((group, shard) => (is(group) ? [shard] : []))
}

function digestOf(value: Uint8Array): string {
  return createHash('sha256').update(value).digest('base64')
}
