import { isOpen, type MigrationRecord } from './migration-record.ts'
import type { Migrations } from './migrations.ts'

/** Who plans what nobody asked for, in the history. */
export const autoAuthor = 'auto'

/**
 * When shards moved last, whoever moved them, by this leader's monotonic clock: no decision rests on the times of day in the history. So a new leader
 * takes what it finds there as if it had ended just now.
 */
export class RestingShards {
  /** Shard → when its migration was seen last. */
  readonly #movedAt = new Map<number, number>()
  /** Ids of those that ran when last looked at. */
  #running: readonly number[] = []
  /** Below it all have been seen. */
  #nextId = 1
  /** When a migration was seen last. */
  endedMs = Number.NEGATIVE_INFINITY
  /** When one that nobody had asked for was seen to have come to nothing. */
  failedMs = Number.NEGATIVE_INFINITY

  /** This controller leads from now on. */
  begin(migrations: Pick<Migrations, 'byId' | 'next'>, nowMs: number): void {
    this.#movedAt.clear()
    this.failedMs = Number.NEGATIVE_INFINITY
    const all = [...migrations.byId.values()]
    for (const record of all) this.#see(record, nowMs)
    this.#running = all.filter(isOpen).map(({ id }) => id)
    this.#nextId = migrations.next
  }

  /** To be called after each change of the list, and now and then while some run. */
  look({ byId, next }: Pick<Migrations, 'byId' | 'next'>, nowMs: number): void {
    const ids = [...this.#running]
    for (let id = this.#nextId; id < next; id++) ids.push(id)
    this.#nextId = next
    const running: number[] = []
    for (const id of ids) {
      const record = byId.get(id)
      if (record === undefined) continue
      this.#see(record, nowMs)
      if (isOpen(record)) running.push(id)
      else if (record.phase !== 'done' && record.author === autoAuthor) this.failedMs = nowMs
    }
    this.#running = running
  }

  isResting(shard: number, restMs: number, nowMs: number): boolean {
    return nowMs - (this.#movedAt.get(shard) ?? Number.NEGATIVE_INFINITY) < restMs
  }

  #see({ shards }: MigrationRecord, nowMs: number): void {
    this.endedMs = nowMs
    for (const shard of shards) this.#movedAt.set(shard, nowMs)
  }
}
