/**
 * Which group serves which shard, as the groups' own logs decide it: of each group the state of the replica that has applied most counts, since
 * what one replica has applied is decided for good. Two groups that serve one shard, or an epoch that comes twice, fail the run.
 */
import type { ShardStatus } from '../../shardserver/group-state-machine.ts'
import type { ShardStateName } from '../../shardserver/shard-state.ts'

interface Held {
  state: ShardStateName
  epoch: number
}

interface KnownGroup {
  applied: number
  readonly shards: Map<number, Held>
}

export interface Reign {
  readonly shard: number
  /** Uid. */
  readonly group: string
  readonly epoch: number
}

export function serves(state: ShardStateName): boolean {
  return state === 'serving' || state === 'exporting'
}

export class Ownership {
  /** Each time that a group began to serve a shard, or went on under another epoch, in order. */
  readonly reigns: Reign[] = []
  readonly #groups = new Map<string, KnownGroup>()
  /** Shard → the newest reign. */
  readonly #newest = new Map<number, Reign>()
  readonly #fail: (error: Error) => void

  constructor(fail: (error: Error) => void) {
    this.#fail = fail
  }

  /** Whether a replica that has applied so much tells anything new. */
  isNews(group: string, applied: number): boolean {
    return applied > (this.#groups.get(group)?.applied ?? -1)
  }

  /** A replica of `group` as it is. Returns the shards whose state changed. Call `check` once all groups of one process have been seen. */
  see(group: string, applied: number, shards: readonly ShardStatus[]): { readonly shard: number; readonly state: ShardStateName }[] {
    if (!this.isNews(group, applied)) return []
    let known = this.#groups.get(group)
    if (known === undefined) this.#groups.set(group, (known = { applied, shards: new Map() }))
    known.applied = applied
    const changed: { shard: number; state: ShardStateName }[] = []
    for (const { shard, state, epoch } of shards) {
      const before = known.shards.get(shard)
      if (before?.state === state && before.epoch === epoch) continue
      known.shards.set(shard, { state, epoch })
      changed.push({ shard, state })
      const reigned = before !== undefined && serves(before.state) && before.epoch === epoch
      if (serves(state) && !reigned) this.#begins({ shard, group, epoch })
    }
    return changed
  }

  /** At most one group serves each shard. */
  check(shards: Iterable<number>): void {
    for (const shard of shards) {
      const groups = this.servers(shard)
      if (groups.length > 1) this.#fail(new Error(`shard ${shard} is served by ${groups.join(' and ')}`))
    }
  }

  /** Uids of the groups that serve `shard`. */
  servers(shard: number): string[] {
    return [...this.#groups].filter(([, { shards }]) => serves(shards.get(shard)?.state ?? 'unborn')).map(([group]) => group)
  }

  /** Uids of all groups ever seen. */
  groups(): string[] {
    return [...this.#groups.keys()]
  }

  /** Everything that `group` holds of any shard; undefined: never seen. */
  held(group: string): ReadonlyMap<number, { readonly state: ShardStateName; readonly epoch: number }> | undefined {
    return this.#groups.get(group)?.shards
  }

  #begins(reign: Reign): void {
    const { shard, group, epoch } = reign
    const before = this.#newest.get(shard)
    if (before !== undefined && before.epoch >= epoch) {
      this.#fail(new Error(`${group} serves shard ${shard} under epoch ${epoch}, after ${before.group} did under ${before.epoch}`))
    }
    this.#newest.set(shard, reign)
    this.reigns.push(reign)
  }
}
