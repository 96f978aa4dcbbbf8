import type { ConfigState } from './config-state.ts'
import type { CheckedHosted } from './request-checks.ts'

/**
 * Bytes of each shard as the leader of a group that serves it told last, as the controllers' leader hears it; in memory only. A shard that has moved holds what it
 * held: until its new group tells, what the one before told of it counts.
 */
export class ShardSizes {
  readonly #bytes = new Map<number, number>()

  /** This controller leads from now on. */
  begin(): void {
    this.#bytes.clear()
  }

  note({ group, sizes }: CheckedHosted, { config, migrations }: Pick<ConfigState, 'config' | 'migrations'>): void {
    if (sizes === undefined || config === undefined) return
    for (const shard of config.shardsOf(group)) {
      // What is on its way to it the group does not serve yet, and leaves out as if it were empty.
      if (migrations.openOf(shard)?.to !== group) this.#bytes.set(shard, sizes.get(shard) ?? 0)
    }
  }

  /** undefined: nobody has told of it yet since this controller leads. */
  of(shard: number): number | undefined {
    return this.#bytes.get(shard)
  }
}
