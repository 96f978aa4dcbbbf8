/**
 * Which machines' disks have been damaged for good. At most a minority of each group's machines, so that of everything (each group's log, its
 * tables, the config) one good copy and a majority that can tell remain; else the run would ask for what nobody can do.
 */

/** How long after an operation of its disk failed a process may end over it: one that is starting closes first what it has opened. */
export const endMsMax = 10_000

/** How long after a write the log may take what is damaged of it for a torn tail: until the next batch has told how far all is durable. */
const unmarkedMs = 500

interface Damage {
  readonly what: string
  readonly atMs: number
  /** Syncs are answered and not done. */
  lies: boolean
}

export class FaultAtlas {
  readonly #groups: readonly (readonly string[])[]
  readonly #damaged = new Map<string, Damage>()
  /** Machines that do not come back by themselves. */
  readonly #lost = new Set<string>()
  /** Machine → when an operation of its disk last failed under the process that runs on it. */
  readonly #failed = new Map<string, number>()

  /** `groups`: the machines of each group of replicas, the controllers' included. */
  constructor(groups: readonly (readonly string[])[]) {
    this.#groups = groups
  }

  get damagedNames(): string[] {
    return [...this.#damaged.keys()]
  }

  mayDamage(name: string): boolean {
    if (this.#damaged.has(name)) return true
    return this.#groups.every((group) => {
      const others = group.filter((other) => this.#damaged.has(other)).length
      return !group.includes(name) || others + 1 <= Math.floor((group.length - 1) / 2)
    })
  }

  damage(name: string, what: string, atMs: number, lies = false): void {
    this.#damaged.set(name, { what, atMs, lies: lies || (this.#damaged.get(name)?.lies ?? false) })
  }

  isDamaged(name: string): boolean {
    return this.#damaged.has(name)
  }

  /** If the machine's process ended now, acknowledged bytes could be gone and nobody would know: its disk must not come back. */
  losesAcknowledged(name: string, nowMs: number): boolean {
    const damage = this.#damaged.get(name)
    return damage !== undefined && (damage.lies || nowMs - damage.atMs < unmarkedMs)
  }

  /** Its disk was replaced by an empty one. */
  wiped(name: string, nowMs: number): void {
    this.#damaged.set(name, { what: 'wiped', atMs: nowMs - unmarkedMs, lies: false })
  }

  /** An operation was made to fail, and the machine's process has heard of it. One that was only to fail is no cause of anything. */
  diskFailed(name: string, atMs: number): void {
    this.#failed.set(name, atMs)
  }

  /** The next process of the machine has heard of nothing. */
  processEnded(name: string): void {
    this.#failed.delete(name)
  }

  /** Whether there is a cause for the machine's process to end over its disk. */
  mayEnd(name: string, nowMs: number): boolean {
    const failedMs = this.#failed.get(name)
    return failedMs !== undefined && nowMs - failedMs <= endMsMax
  }

  lose(name: string): void {
    this.#lost.add(name)
  }

  isLost(name: string): boolean {
    return this.#lost.has(name)
  }
}
