import type { Clock, Timer } from '../../base/clock.ts'
import { isEnded, type Migration } from '../../proto/migration.ts'
import type { MigrationList } from '../../proto/migration-list.ts'

export interface BookParts {
  readonly clock: Clock
  /** As the node's watch has it. */
  list(): MigrationList
}

interface Waiter {
  readonly id: number
  readonly done: (migration: Migration | undefined) => void
  readonly timer: Timer
}

const rank = { copying: 0, committed: 1, done: 2, aborted: 2, 'given-back': 2 } as const

/**
 * What this node knows of the controllers' decisions: the watched list, and what answers to reports said since. A phase never goes back, so
 * the further one is the newer.
 */
export class MigrationBook {
  readonly #parts: BookParts
  /** What answers said beyond the list. */
  readonly #heard = new Map<number, Migration>()
  readonly #waiters = new Set<Waiter>()
  #list: MigrationList | undefined
  #byId = new Map<number, Migration>()
  /** Uid → ids of those that the list names, by id. */
  #byGroup = new Map<string, number[]>()

  constructor(parts: BookParts) {
    this.#parts = parts
  }

  /** By id, those of the list out of or into a group. A node may lead many groups, and of thousands each has to do with few. */
  of(group: string): readonly Migration[] {
    this.#look()
    const ids = this.#byGroup.get(group) ?? []
    return ids.map((id) => this.get(id)).filter((migration) => migration !== undefined)
  }

  get(id: number): Migration | undefined {
    this.#look()
    const listed = this.#byId.get(id)
    const heard = this.#heard.get(id)
    if (listed === undefined || heard === undefined) return listed ?? heard
    return rank[heard.phase] > rank[listed.phase] ? heard : listed
  }

  /** Uid of the group that serves `shard` until it has given it to `group`, to which it was committed; undefined: there is none, or not any more. */
  sourceOf(group: string, shard: number): string | undefined {
    const gives = ({ phase, to, shards, fromConfirmed }: Migration) =>
      phase === 'committed' && to === group && !fromConfirmed && shards.includes(shard)
    return this.of(group).find(gives)?.from
  }

  /** The list names it: it runs, or some group has not confirmed its end. */
  isListed(id: number): boolean {
    this.#look()
    return this.#byId.has(id)
  }

  hear(migration: Migration): void {
    const known = this.get(migration.id)
    if (known === undefined || rank[migration.phase] >= rank[known.phase]) this.#heard.set(migration.id, migration)
    this.check()
  }

  /** Nobody here has to do with it any more. */
  forget(id: number): void {
    this.#heard.delete(id)
  }

  /** What was heard of and no list names. */
  unlisted(): readonly number[] {
    this.#look()
    return [...this.#heard.keys()].filter((id) => !this.#byId.has(id))
  }

  /** The migration as soon as it is decided (committed or ended); undefined: not within `timeoutMs`. */
  whenDecided(id: number, timeoutMs: number): Promise<Migration | undefined> {
    const known = this.get(id)
    if (known !== undefined && isDecided(known)) return Promise.resolve(known)
    return new Promise((resolve) => {
      const done = (migration: Migration | undefined) => {
        this.#waiters.delete(waiter)
        waiter.timer.cancel()
        resolve(migration)
      }
      const waiter: Waiter = { id, done, timer: this.#parts.clock.setTimer(timeoutMs, () => done(undefined)) }
      this.#waiters.add(waiter)
    })
  }

  /** The list may have changed. */
  check(): void {
    for (const waiter of [...this.#waiters]) {
      const migration = this.get(waiter.id)
      if (migration !== undefined && isDecided(migration)) waiter.done(migration)
    }
  }

  close(): void {
    for (const waiter of [...this.#waiters]) waiter.done(undefined)
  }

  #look(): void {
    const list = this.#parts.list()
    if (list === this.#list) return
    this.#list = list
    this.#byId = new Map(list.migrations.map((migration) => [migration.id, migration]))
    this.#byGroup = new Map()
    for (const { id, from, to } of list.migrations) {
      for (const group of new Set([from, to])) {
        const ids = this.#byGroup.get(group)
        if (ids === undefined) this.#byGroup.set(group, [id])
        else ids.push(id)
      }
    }
    for (const [id, heard] of this.#heard) {
      const listed = this.#byId.get(id)
      if (listed !== undefined && rank[listed.phase] >= rank[heard.phase]) this.#heard.delete(id)
    }
  }
}

function isDecided({ phase }: Migration): boolean {
  return phase === 'committed' || isEnded(phase)
}
