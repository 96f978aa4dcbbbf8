import { assert } from '../base/assert.ts'
import { onceThereIsRoom } from '../base/disk-space.ts'
import { joinPath } from '../base/file-system.ts'
import type { Engine } from './engine.ts'
import { DatabaseIterator } from './iterator.ts'
import { type FlushInput, flushJobName } from './jobs.ts'
import type { Memtable } from './memtable.ts'
import { removeUnused } from './remove-unused.ts'
import { hullOf, levelCount, logName, type TableMetadata, type WrittenTable } from './table-metadata.ts'
import type { Version } from './version.ts'
import { applyEdit, type DurableState, exciseTables, type VersionEdit } from './version-edit.ts'
import { QueueElement, View } from './view.ts'

/**
 * Memtables, ingests and excises in the order in which they were applied. Readers see an element from `push` on; it becomes durable after all
 * before it, as one version edit.
 */
export class FlushQueue {
  readonly #engine: Engine
  readonly #onEdit: () => void
  #running: Promise<void> | undefined
  /** Asked of each log that nobody needs any more: whether who writes logs keeps its file. Else it is removed. */
  keepLog: (number: number) => boolean = () => false

  /** `onEdit`: called after each edit. */
  constructor(engine: Engine, onEdit: () => void) {
    this.#engine = engine
    this.#onEdit = onEdit
  }

  /** Seals the active memtable, if it holds anything, and puts what follows it behind it, in one turn. Returns the element. */
  push(content: Omit<ConstructorParameters<typeof QueueElement>[1], 'memtable'>): QueueElement {
    const engine = this.#engine
    const { memtable, queue } = engine.view
    const element = new QueueElement(engine.store, { ...content, memtable: memtable.entries > 0 ? memtable : undefined })
    engine.setView({ memtable: engine.newMemtable(), queue: [...queue, element] })
    this.#running ??= this.#run()
    return element
  }

  /** Resolves when the queue stands still: empty, or failed. */
  async settle(): Promise<void> {
    while (this.#running !== undefined) await this.#running
  }

  async #run(): Promise<void> {
    const engine = this.#engine
    // Never done in the turn of `push`, which keeps the promise of this run.
    await Promise.resolve()
    for (;;) {
      const element = engine.view.queue[0]
      if (element === undefined || engine.failed !== undefined) break
      try {
        await this.#makeDurable(element)
        element.resolve()
        element.release()
        if (element.logNumber !== undefined) await this.#removeLogs(element.logNumber)
      } catch (error) {
        // It may have left the queue already, where its edit went through and what came after did not.
        element.reject(engine.fail(error))
      }
      this.#onEdit()
    }
    this.#running = undefined
    if (engine.failed !== undefined) for (const element of engine.view.queue) element.reject(engine.failed)
  }

  async #makeDurable(element: QueueElement): Promise<void> {
    const engine = this.#engine
    const { memtable } = element
    const flushed = memtable === undefined ? [] : [newTable(await this.#flush(memtable), engine.manifest.newNumber())]
    // Held until the version holds it.
    engine.store.use(flushed)
    await element.opened
    if (flushed.length > 0 || element.hasTables) await engine.options.fileSystem.syncFolder(engine.options.folder)
    await engine.manifest.commit(
      (state) => this.#edit(state, element, flushed),
      (state) => {
        engine.setView({ queue: engine.view.queue.slice(1), version: state.version })
        element.onDurable?.(state.version)
      },
    )
    engine.store.release(flushed)
    engine.counters.flushes++
    for (const { size } of flushed) engine.counters.flushedBytes += size
  }

  /** Removes logs below `number`. */
  async #removeLogs(number: number): Promise<void> {
    const engine = this.#engine
    const { fileSystem, folder, logger } = engine.options
    const old = engine.logs.filter((log) => log < number)
    engine.logs = engine.logs.filter((log) => log >= number)
    for (const log of old) if (!this.keepLog(log)) await removeUnused(fileSystem, joinPath(folder, logName(log)), logger)
  }

  #flush(memtable: Memtable): Promise<WrittenTable> {
    const { options, manifest, writerOptions } = this.#engine
    return onceThereIsRoom(options.space, () =>
      options.executor.run<FlushInput, WrittenTable>(flushJobName, {
        folder: options.folder,
        file: manifest.newNumber(),
        image: memtable.image(),
        writer: writerOptions,
      }),
    )
  }

  async #edit(state: DurableState, element: QueueElement, flushed: readonly TableMetadata[]): Promise<VersionEdit> {
    const { manifest } = this.#engine
    let after = state
    const step = (dropped: readonly TableMetadata[], added: readonly TableMetadata[]) => {
      after = applyEdit(after, { dropped: dropped.map((table) => table.id), added })
    }
    for (const table of flushed) step([], [{ ...table, order: manifest.newNumber() }])
    for (const range of element.excised) {
      const { dropped, added } = exciseTables(after.version, range, () => manifest.newNumber())
      step(dropped, added)
    }
    if (element.tables !== undefined) await this.#placeTables(element, () => after.version, step)
    return {
      ...difference(state.version, after.version),
      lastSequence: Math.max(element.memtable?.maxSequence ?? 0, ...(element.tables?.tables().map((table) => table.maxSequence) ?? [])),
      ...(element.logNumber === undefined ? {} : { logNumber: element.logNumber }),
      ...(element.mark === undefined ? {} : { mark: element.mark }),
    }
  }

  /** Tables with a level of their own go there, into a span that must be empty; others as low as what lies above allows. */
  async #placeTables(
    element: QueueElement,
    version: () => Version,
    step: (dropped: readonly TableMetadata[], added: readonly TableMetadata[]) => void,
  ): Promise<void> {
    const { manifest } = this.#engine
    // Oldest first, so that the newest gets the highest order.
    const tables = [...(element.tables as Version).levels].reverse().flatMap((level) => [...level].reverse())
    const placed = tables.filter((table) => !element.foreign.has(table.id))
    const hull = hullOf(placed)
    if (hull !== undefined) {
      assert(await this.#isEmpty(version(), hull), 'tables with levels are ingested into an empty span')
      // What overlaps the span holds nothing in it: it gives way.
      const { dropped, added } = exciseTables(version(), hull, () => manifest.newNumber())
      step(dropped, added)
    }
    step(
      [],
      placed.map((table) => ({ ...table, order: manifest.newNumber() })),
    )
    for (const table of tables) {
      if (element.foreign.has(table.id)) step([], [{ ...table, level: lowestLevelFor(version(), table), order: manifest.newNumber() }])
    }
  }

  async #isEmpty(version: Version, range: { lower: Uint8Array; upper: Uint8Array }): Promise<boolean> {
    const view = View.ofTables(this.#engine.store, version)
    const iterator = new DatabaseIterator(view, 0, this.#engine.pause, range)
    try {
      return !(await iterator.next())
    } finally {
      iterator.close()
    }
  }
}

function newTable(written: WrittenTable, id: number): TableMetadata {
  return { ...written, id, order: 0, level: 0, clipped: false }
}

/** The lowest level to which `table`, newer than all of `version`, can go: nothing in it or above it may overlap. */
function lowestLevelFor(version: Version, table: TableMetadata): number {
  let level = 0
  for (let candidate = 0; candidate < levelCount; candidate++) {
    if (version.overlapping(candidate, table).length > 0) break
    level = candidate
  }
  return level
}

function difference(from: Version, to: Version): { dropped: number[]; added: TableMetadata[] } {
  const changed = to.levels.flatMap((tables, level) => (tables === from.levels[level] ? [] : [level]))
  const tablesOf = (version: Version) => new Set(changed.flatMap((level) => version.levels[level] ?? []))
  const before = tablesOf(from)
  const after = tablesOf(to)
  return {
    dropped: [...before].filter((table) => !after.has(table)).map((table) => table.id),
    added: [...after].filter((table) => !before.has(table)),
  }
}
