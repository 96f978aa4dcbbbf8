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
      const owners = await this.owners(from, to)
      for (const [shard, { length }] of owners) {
        if (!moved.has(shard) || length !== 1) throw new Error(`${what}: shard ${shard} changed its owner ${length} times`)
      }
      looked += to - from
    }
    return looked
  }

  /** By shard the names of the groups that it went to, one after the other, in the configs behind `from`, up to `to`. Throws where an epoch did not rise by one with its owner. */
  async owners(from: number, to: number): Promise<Map<number, string[]>> {
    const owners = new Map<number, string[]>()
    let before = await this.#config(from)
    for (let number = from + 1; number <= to; number++) {
      const config = await this.#config(number)
      for (const shard of changedOwners(before, config)) {
        owners.set(shard, [...(owners.get(shard) ?? []), config.groupOf(shard)?.name ?? 'nobody'])
      }
      before = config
    }
    return owners
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
