/** Every config that a cluster ever had, and who owned what in it: nothing moves that did not have to, not even there and back. */
import type { Config } from '../../proto/config.ts'
import type { ControllerClient } from '../../proto/controller-client.ts'
import { openControllers } from './controllers.ts'

interface Expectation {
  readonly from: number
  readonly to: number
  readonly moved: ReadonlySet<number>
  readonly what: string
}

const options = { timeoutMs: 20_000 }

export class HistoryOfOwners {
  readonly #client: ControllerClient
  readonly #expectations: Expectation[] = []

  constructor(controllers: readonly string[]) {
    this.#client = openControllers(controllers)
  }

  /** From config `from` to config `to` only the shards of `moved` change their owner, each once. */
  expect(from: number, to: number, moved: ReadonlySet<number>, what: string): void {
    this.#expectations.push({ from, to, moved, what })
  }

  /** Throws where anything else moved, or an epoch did not rise by one with its owner. Returns how many configs were looked at. */
  async check(): Promise<number> {
    let looked = 0
    for (const { from, to, moved, what } of this.#expectations) {
      const times = new Map<number, number>()
      let before = await this.#config(from)
      for (let number = from + 1; number <= to; number++) {
        const config = await this.#config(number)
        for (const shard of changedOwners(before, config)) times.set(shard, (times.get(shard) ?? 0) + 1)
        before = config
        looked++
      }
      for (const [shard, count] of times) {
        if (!moved.has(shard) || count !== 1) throw new Error(`${what}: shard ${shard} changed its owner ${count} times`)
      }
    }
    return looked
  }

  close(): void {
    this.#client.close()
  }

  async #config(number: number): Promise<Config> {
    return (await this.#client.query(number, options)).config
  }
}

function changedOwners(before: Config, config: Config): number[] {
  if (config.cause === '') throw new Error(`config ${config.number} has no cause`)
  const changed: number[] = []
  for (let shard = 0; shard < config.shardCount; shard++) {
    const same = config.groupOf(shard)?.uid === before.groupOf(shard)?.uid
    const raised = config.epochOf(shard) - before.epochOf(shard)
    if (raised !== (same ? 0 : 1)) throw new Error(`config ${config.number} raises the epoch of shard ${shard} by ${raised}`)
    if (!same) changed.push(shard)
  }
  return changed
}
