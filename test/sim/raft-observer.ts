/** Watches all replicas of a run from outside and fails it when Raft's promises are broken. */
import type { Entry } from '../../raft/core/types.ts'
import type { World } from './world.ts'

export class RaftObserver {
  readonly #world: World
  /** group term → the one leader seen. */
  readonly #leaders = new Map<string, string>()
  /** group index → what was applied there. */
  readonly #applied = new Map<string, string>()
  /** Entries seen applied, all replicas together. */
  applications = 0
  leaderChanges = 0

  constructor(world: World) {
    this.#world = world
  }

  /** Election safety: one leader a term. */
  leads(group: string, replica: number, term: number): void {
    const key = `${group} ${term}`
    const leader = this.#leaders.get(key)
    if (leader === undefined) {
      this.#leaders.set(key, String(replica))
      this.leaderChanges++
    } else if (leader !== String(replica)) this.#world.fail(new Error(`two leaders of ${group} in term ${term}: ${leader} and ${replica}`))
  }

  /** State-machine safety: every replica applies the same entry at the same index. */
  applied(group: string, entry: Entry): void {
    this.applications++
    const key = `${group} ${entry.index}`
    const content = `${entry.term} ${Buffer.from(entry.data).toString('latin1')}`
    const before = this.#applied.get(key)
    if (before === undefined) this.#applied.set(key, content)
    else if (before !== content) this.#world.fail(new Error(`two entries were applied at index ${entry.index} of ${group}`))
  }
}
