/** A cluster of real processes with clients that keep a history, for chaos runs and the end-to-end tests. */
import { setTimeout as delay } from 'node:timers/promises'
import { SeededRandom } from '../../base/random.ts'
import { type Client, connect } from '../../client/index.ts'
import type { CommandResult } from '../../testing/up.ts'
import { checkLinearizable, describeVerdict } from '../linearizability/checker.ts'
import { HistoryRecorder } from '../linearizability/history.ts'
import { type OstrakaInput, type OstrakaOutput, ostrakaModel } from '../linearizability/ostraka-model.ts'
import { UniqueWrites } from '../workload/unique-writes.ts'
import { Workload } from '../workload/workload.ts'
import { compareReplicas } from './compare-replicas.ts'

/** What the load needs to know of the cluster that it runs against. */
export interface Cluster {
  /** Where controllers and nodes are dialled. */
  readonly ready: { readonly controllers: readonly string[]; readonly nodes: readonly { readonly id: string; readonly address: string }[] }
  /** Runs `ostraka …` against it. */
  run(parameters: readonly string[]): Promise<CommandResult>
}

export interface LoadOptions {
  readonly seed: number
  readonly clients: number
  readonly keys: number
  readonly deadlineMs: number
  /** What a client waits after a call, ms; default 0. Else the processors are so busy that pauses are theirs. */
  readonly thinkMs?: number
  /** Each client also writes values of its own, so many a second at most, to as many keys; they are read back in the end. */
  readonly uniqueWrites?: { readonly perSecond: number; readonly keys: number }
}

interface ClusterStatus {
  readonly controllers: readonly { readonly id: string; readonly pid: number; readonly role: string; readonly live: boolean }[]
  readonly nodes: readonly { readonly id: string; readonly pid: number; readonly live: boolean }[]
  readonly groups: Readonly<Record<string, { readonly leader: string; readonly shards: number }>>
}

export class ClusterUnderLoad {
  readonly cluster: Cluster
  readonly workload: Workload
  readonly #options: LoadOptions
  readonly #recorder = new HistoryRecorder<OstrakaInput, OstrakaOutput>()
  readonly #clients: Client[] = []
  readonly #loops: Promise<void>[] = []
  readonly #unique: UniqueWrites[] = []
  #stopped = false
  #readBack = 0

  constructor(cluster: Cluster, options: LoadOptions) {
    this.cluster = cluster
    this.#options = options
    const nowMs = () => performance.now()
    this.workload = new Workload(this.#recorder, new SeededRandom(options.seed), { keys: options.keys, valueBytes: 100, nowMs })
  }

  /** The clients begin. */
  async start(): Promise<void> {
    const controllers = [...this.cluster.ready.controllers]
    for (let i = 0; i < this.#options.clients; i++) {
      const db = await connect({ controllers, deadlineMs: this.#options.deadlineMs })
      this.#clients.push(db)
      this.#loops.push(this.#drive(`client ${i}`, db))
      const { uniqueWrites } = this.#options
      if (uniqueWrites !== undefined) this.#loops.push(this.#writeUnique(`unique-${i}`, db, uniqueWrites))
    }
  }

  /** One of the clients, for probes. */
  get client(): Client {
    const [client] = this.#clients
    if (client === undefined) throw new Error('no client was started')
    return client
  }

  /** Rejects as soon as a client has seen what cannot be. */
  get failed(): Promise<never> {
    return new Promise((_, reject) => {
      for (const loop of this.#loops) loop.catch(reject)
    })
  }

  /** The clients end; their calls are waited for, and their unique values are read back. */
  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#loops)
    for (const writes of this.#unique) this.#readBack += await writes.readBack(this.client)
    await Promise.all(this.#clients.map((client) => client.close()))
  }

  /** Ends at once: what is under way is given up. For a run that has failed. */
  async abandon(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#clients.map((client) => client.close()))
    await Promise.allSettled(this.#loops)
  }

  /** What became of the unique values. */
  get uniqueWrites() {
    const unique = this.#unique
    return {
      acknowledged: unique.reduce((sum, { acknowledged }) => sum + acknowledged, 0),
      failed: unique.reduce((sum, { failed }) => sum + failed, 0),
      lastError: unique.find(({ lastError }) => lastError !== '')?.lastError ?? '',
      longestGapMs: Math.max(0, ...unique.map(({ longestGapMs }) => longestGapMs)),
      readBack: this.#readBack,
    }
  }

  /** Throws where the history is not linearizable: a lost acknowledged write, a stale read, a write done twice. Returns the operations checked. */
  check(): number {
    const operations = this.#recorder.operations()
    const verdict = checkLinearizable(ostrakaModel, operations)
    if (verdict.verdict !== 'linearizable') throw new Error(describeVerdict(ostrakaModel, verdict))
    return operations.length
  }

  async status(): Promise<ClusterStatus> {
    for (;;) {
      const { code, stdout } = await this.cluster.run(['admin', 'status', '--json', '--timeout', '20'])
      if (code === 0) return JSON.parse(stdout) as ClusterStatus
    }
  }

  compareReplicas(): Promise<number> {
    return compareReplicas(this.cluster)
  }

  async #drive(name: string, db: Client): Promise<void> {
    const { thinkMs = 0 } = this.#options
    while (!this.#stopped) {
      await this.workload.one(name, db)
      if (thinkMs > 0) await delay(thinkMs)
    }
  }

  async #writeUnique(name: string, db: Client, options: { perSecond: number; keys: number }): Promise<void> {
    const writes = new UniqueWrites(name, options.keys, () => performance.now())
    this.#unique.push(writes)
    const everyMs = 1000 / options.perSecond
    while (!this.#stopped) {
      const startMs = performance.now()
      await writes.one(db)
      await delay(Math.max(0, startMs + everyMs - performance.now()))
    }
  }
}
