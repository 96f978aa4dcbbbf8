import type { Logger } from '../../base/logger.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import type { ShardBirth } from '../../proto/migration-list.ts'
import { encodeRebirth } from '../entry.ts'
import type { MigrationNode, MovingReplica } from './node.ts'
import { entryTimeMs, propose } from './propose.ts'

const reportTimeoutMs = 3000
/** So many are proposed without waiting for one another: their entries share their rounds, and other proposals find room between. */
const atOnce = 256

/**
 * Shards that one group, led by this node, is to make empty at an epoch above 1, since the controllers gave up what another group held: by their
 * list only, never from an assignment. An order that comes twice does nothing the second time: its epoch is not above the record's.
 */
export class Rebirths {
  readonly #node: MigrationNode
  readonly #hosted: MovingReplica
  readonly #logger: Logger
  #isRunning = false
  #closed = false

  constructor(node: MigrationNode, hosted: MovingReplica) {
    this.#node = node
    this.#hosted = hosted
    this.#logger = node.logger.child({ group: hosted.replica.group })
  }

  check(): void {
    if (this.#closed || this.#isRunning) return
    const ordered = this.#ordered()
    if (ordered.length === 0) return
    this.#isRunning = true
    this.#run(ordered)
      .catch((error: unknown) => {
        if (error instanceof OstrakaError) this.#logger.debug({ error: error.message }, 'making shards empty has to be tried again')
        else this.#logger.error({ error: String(error) }, 'making shards empty failed')
      })
      .finally(() => {
        this.#isRunning = false
      })
  }

  close(): void {
    this.#closed = true
  }

  #ordered(): ShardBirth[] {
    const { group } = this.#hosted.replica
    return [...this.#node.births().filter((birth) => birth.group === group), ...this.#assigned(group)]
  }

  async #run(ordered: readonly ShardBirth[]): Promise<void> {
    const { group } = this.#hosted.replica
    const failures: unknown[] = []
    for (let at = 0; at < ordered.length && failures.length === 0 && !this.#closed; at += atOnce) {
      const births = ordered.slice(at, at + atOnce).filter(({ shard, epoch }) => !this.#isBorn(shard, epoch))
      await Promise.all(births.map((birth) => this.#bear(birth).catch((error: unknown) => failures.push(error))))
    }
    for (const failure of failures) throw failure
    const births = this.#node.births().filter((birth) => birth.group === group && this.#isBorn(birth.shard, birth.epoch))
    if (births.length === 0 || this.#closed) return
    await this.#node.controllers.report({ group, kind: pb.v1.ReportKind.REPORT_BORN, births }, { timeoutMs: reportTimeoutMs })
  }

  async #bear({ shard, epoch }: ShardBirth): Promise<void> {
    await propose(this.#node, this.#hosted, encodeRebirth(entryTimeMs(this.#hosted), shard, epoch), `rebirth of shard ${shard}`)
    this.#logger.info({ shard, epoch }, 'a shard was made empty')
  }

  #isBorn(shard: number, epoch: number): boolean {
    return this.#hosted.stateMachine.shardRecord(shard).epoch >= epoch
  }

  /** Deliberate break: what a config says is taken for an order. */
  #assigned(group: string): ShardBirth[] {
    const config = this.#node.config()
    if (!this.#node.breaks.has('born-again') || config === undefined) return []
    const orders: ShardBirth[] = []
    for (const shard of config.shardsOf(group)) {
      const { state, epoch } = this.#hosted.stateMachine.shardRecord(shard)
      if (config.epochOf(shard) > 1 && (state === 'unborn' || state === 'absent'))
        orders.push({ shard, group, epoch: Math.max(config.epochOf(shard), epoch + 1) })
    }
    return orders
  }
}
