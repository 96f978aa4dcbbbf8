import { hasEnded, type MigrationJson, migrationJson } from './migration-json.ts'
import type { Controllers } from './world.ts'

/** More than that of what has ended is not kept. */
const endedMax = 10_000

/** What is to be seen at one time. */
export interface Look {
  /** By id. */
  readonly migrations: readonly MigrationJson[]
  /** Lines: what is to move and no migration moves. */
  readonly waiting: readonly string[]
}

/** The migrations, look by look: the controllers tell all of them once, and then only what runs and what has changed. */
export class MigrationHistory {
  #byId = new Map<number, MigrationJson>()
  #version = 0

  /** Rejects with OstrakaErrors; the next look goes on from the last one. */
  async look(controllers: Controllers, timeoutMs: number): Promise<Look> {
    const { migrations, waiting, version, since } = await controllers.listMigrations({ known: this.#version }, { timeoutMs })
    if (since === 0) this.#byId = new Map()
    for (const migration of migrations) this.#byId.set(migration.id ?? 0, migrationJson(migration))
    this.#version = version
    this.#forget()
    return { migrations: [...this.#byId.values()].sort((a, b) => a.id - b.id), waiting }
  }

  #forget(): void {
    let over = this.#byId.size - endedMax
    for (const migration of over > 0 ? this.#byId.values() : []) {
      if (over <= 0) return
      if (hasEnded(migration) && this.#byId.delete(migration.id)) over--
    }
  }
}
