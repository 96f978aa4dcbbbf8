import type { Engine } from './engine.ts'
import type { TableMetadata } from './table-metadata.ts'
import type { Version } from './version.ts'

/** About how many bytes of its file each clipped table of the durable state still stands for, as their indexes tell. */
export class LiveBytes {
  readonly #engine: Engine
  readonly #known = new Map<number, number>()
  /** The version that was looked at last: a table that could not be read is not tried again before there is another. */
  #seen: Version | undefined

  constructor(engine: Engine) {
    this.#engine = engine
  }

  /** By the table's id. */
  get known(): ReadonlyMap<number, number> {
    return this.#known
  }

  /** There are tables that `measure` has not looked at yet. */
  get isBehind(): boolean {
    const { version } = this.#engine.view
    return version !== this.#seen && (this.#known.size > 0 || version.clipped().length > 0)
  }

  /** Looks at what is not known, and forgets what is there no more. A file that cannot be read is none of its business. */
  async measure(): Promise<void> {
    const view = this.#engine.view.retain()
    const { version } = view
    this.#seen = version
    try {
      for (const id of [...this.#known.keys()]) if (!version.holds(id)) this.#known.delete(id)
      for (const table of version.clipped()) if (!this.#known.has(table.id)) await this.#look(table)
    } finally {
      view.release()
    }
  }

  async #look(table: TableMetadata): Promise<void> {
    const { store, options } = this.#engine
    try {
      const reader = await store.reader(table)
      const share = reader.bytesBetween(table.lower, table.upper) / Math.max(1, reader.dataEnd)
      this.#known.set(table.id, share * table.size)
    } catch (error) {
      options.logger.warn({ error }, 'it is not known how much of a clipped table counts')
    }
  }
}
