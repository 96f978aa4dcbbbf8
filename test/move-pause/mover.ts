/** Moves a shard by the command that people type, and tells when clients could know of it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { GrpcTransport } from '../../base/grpc-transport.ts'
import { silentLogger } from '../../base/logger.ts'
import { NodeClock } from '../../base/node-clock.ts'
import { NodeRandom } from '../../base/node-random.ts'
import { hasEnded, type MigrationJson } from '../../cli/migration-json.ts'
import { ConfigWatcher } from '../../proto/config-watcher.ts'
import type { Cluster } from '../chaos/cluster-under-load.ts'

const moveSeconds = 600
const configTimeoutMs = 5000

/** Times are ms of `performance.now()`. */
export interface Move {
  readonly migration: MigrationJson
  readonly askedMs: number
  /** When a watcher of the controllers had the config that gives the shard away. */
  readonly committedMs: number
  /** When the command had ended. */
  readonly endedMs: number
}

/** How far a copy was at some time. */
export interface Sample {
  readonly atMs: number
  readonly bytesCopied: number
}

export class Mover {
  readonly #cluster: Cluster
  readonly #shard: number
  readonly #watcher: ConfigWatcher
  /** Config number and time of each change of the shard's owner. */
  readonly #changes: number[] = []
  #owner = ''

  private constructor(cluster: Cluster, shard: number) {
    this.#cluster = cluster
    this.#shard = shard
    const parts = { transport: new GrpcTransport({ logger: silentLogger }), clock: new NodeClock(), random: new NodeRandom() }
    this.#watcher = new ConfigWatcher({ ...parts, logger: silentLogger, addresses: cluster.ready.controllers })
    this.#watcher.onChange(() => {
      const owner = this.#watcher.config?.groupOf(shard)?.name ?? ''
      if (owner === this.#owner) return
      this.#owner = owner
      this.#changes.push(performance.now())
    })
    this.#watcher.start()
  }

  static async start(cluster: Cluster, shard: number): Promise<Mover> {
    const mover = new Mover(cluster, shard)
    await mover.#watcher.atLeast(1, configTimeoutMs)
    return mover
  }

  get owner(): string {
    return this.#owner
  }

  /** To another group than it is in, always the same two in turn. `onSample`: asked for so often that each heartbeat's news is seen. */
  async move(to: string, onSample?: (sample: Sample) => void): Promise<Move> {
    const seen = this.#changes.length
    const askedMs = performance.now()
    const moving = this.#admin(['move', String(this.#shard), to, '--wait', '--timeout', String(moveSeconds)])
    let endedMs = 0
    const ended = moving.then(() => {
      endedMs = performance.now()
    })
    // It is awaited below.
    ended.catch(() => undefined)
    while (onSample !== undefined && endedMs === 0) {
      const running = (await this.#migrations()).find((migration) => migration.shards.includes(this.#shard) && !hasEnded(migration))
      if (running !== undefined) onSample({ atMs: performance.now(), bytesCopied: running.bytesCopied })
      await Promise.race([ended, sleep(100)])
    }
    await ended
    const { number } = (await this.#admin(['query'])) as { readonly number: number }
    await this.#watcher.atLeast(number, configTimeoutMs)
    const committedMs = this.#changes[seen]
    const migration = (await this.#migrations()).filter(({ shards }) => shards.includes(this.#shard)).at(-1)
    if (committedMs === undefined || migration?.phase !== 'done') throw new Error(`the move to ${to} left no trace`)
    return { migration, askedMs, committedMs, endedMs }
  }

  /** Has all nodes write their tables anew: what a fill leaves to be compacted is then no part of what is measured. */
  async settle(): Promise<void> {
    for (const { id } of this.#cluster.ready.nodes) await this.#admin(['compact', id])
  }

  close(): void {
    this.#watcher.close()
  }

  async #migrations(): Promise<readonly MigrationJson[]> {
    return (await this.#admin(['migrations'])) as readonly MigrationJson[]
  }

  async #admin(words: readonly string[]): Promise<unknown> {
    const { code, stdout, stderr } = await this.#cluster.run(['admin', ...words, '--json'])
    if (code !== 0) throw new Error(`admin ${words.join(' ')} ended with ${code}: ${stderr}`)
    return JSON.parse(stdout) as unknown
  }
}
