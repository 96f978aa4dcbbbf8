/**
 * Moves a shard as `ostraka admin move --wait` does, and tells when clients could know of it. It asks from within this process: a command of its own takes
 * the third of a second of a core to start, which on a small machine is what the calls would be seen to wait for.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { must } from '../../base/assert.ts'
import { GrpcTransport } from '../../base/grpc-transport.ts'
import { silentLogger } from '../../base/logger.ts'
import { NodeClock } from '../../base/node-clock.ts'
import { NodeRandom } from '../../base/node-random.ts'
import { hasEnded, type MigrationJson, migrationJson } from '../../cli/migration-json.ts'
import { ConfigWatcher } from '../../proto/config-watcher.ts'
import { ControllerClient } from '../../proto/controller-client.ts'
import type { pb } from '../../proto/messages.ts'
import type { Cluster } from '../chaos/cluster-under-load.ts'

const moveMs = 600_000
const callMs = 10_000
const lookMs = 100
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
  readonly #controllers: ControllerClient
  /** Config number and time of each change of the shard's owner. */
  readonly #changes: number[] = []
  #owner = ''

  private constructor(cluster: Cluster, shard: number) {
    this.#cluster = cluster
    this.#shard = shard
    const seams = { transport: new GrpcTransport({ logger: silentLogger }), clock: new NodeClock(), random: new NodeRandom() }
    const parts = { ...seams, logger: silentLogger, addresses: cluster.ready.controllers }
    this.#controllers = new ControllerClient(parts)
    this.#watcher = new ConfigWatcher(parts)
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
    const request = { shard: this.#shard, group: to, author: 'bench' }
    const { migrations } = await this.#controllers.move(request, { timeoutMs: callMs })
    const id = must(migrations[0], `a migration to ${to}`)
    const migration = await this.#ended(id, onSample)
    const endedMs = performance.now()
    await this.#watcher.atLeast(migration.configNumber ?? 0, configTimeoutMs)
    const committedMs = this.#changes[seen]
    const shown = migrationJson(migration)
    if (committedMs === undefined || shown.phase !== 'done') throw new Error(`the move to ${to} left no trace: ${JSON.stringify(shown)}`)
    return { migration: shown, askedMs, committedMs, endedMs }
  }

  /** Has all nodes write their tables anew: what a fill leaves to be compacted is then no part of what is measured. */
  async settle(): Promise<void> {
    for (const { id } of this.#cluster.ready.nodes) {
      const { code, stderr } = await this.#cluster.run(['admin', 'compact', id, '--json'])
      if (code !== 0) throw new Error(`admin compact ${id} ended with ${code}: ${stderr}`)
    }
  }

  close(): void {
    this.#watcher.close()
    this.#controllers.close()
  }

  async #ended(id: number, onSample: ((sample: Sample) => void) | undefined): Promise<pb.v1.Migration.$Properties> {
    for (const untilMs = performance.now() + moveMs; performance.now() < untilMs; await sleep(lookMs)) {
      const all = await this.#controllers.migrations({ timeoutMs: callMs })
      const migration = must(
        all.find((known) => known.id === id),
        `migration ${id}`,
      )
      const shown = migrationJson(migration)
      if (hasEnded(shown)) return migration
      onSample?.({ atMs: performance.now(), bytesCopied: shown.bytesCopied })
    }
    throw new Error(`migration ${id} does not end within ${moveMs / 1000} s`)
  }
}
