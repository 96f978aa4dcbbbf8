import type { FileSystem } from '../base/file-system.ts'
import type { TableMetadata } from './table-metadata.ts'
import { TableReader } from './table-reader.ts'
import type { OpenTable } from './table-source.ts'
import { tablePath } from './table-writer.ts'

interface Input {
  readonly reader: Promise<TableReader>
  /** That stand in it: parts of one file may lie in several. */
  runs: number
}

/**
 * The tables that a job merges, open while a run stands in them: of all that a large compaction reads, files, filters and indexes would be more than a
 * process should hold.
 */
export class InputTables {
  readonly #fileSystem: FileSystem
  readonly #folder: string
  readonly #inputs = new Map<number, Input>()

  constructor(fileSystem: FileSystem, folder: string) {
    this.#fileSystem = fileSystem
    this.#folder = folder
  }

  /** Opens the tables of one run, one after the other: the one before is left then. */
  newRun(): OpenTable {
    let at: number | undefined
    return async (table) => {
      const before = at
      at = table.file
      // The same file may come twice in a row.
      const reader = this.#enter(table)
      if (before !== undefined) await this.#leave(before)
      return await reader
    }
  }

  /** Closes what is still open. */
  async close(): Promise<void> {
    for (const { reader } of this.#inputs.values()) {
      const opened = await reader.catch(() => undefined)
      await opened?.close()
    }
    this.#inputs.clear()
  }

  #enter(table: TableMetadata): Promise<TableReader> {
    const known = this.#inputs.get(table.file)
    if (known !== undefined) {
      known.runs++
      return known.reader
    }
    const reader = TableReader.open(this.#fileSystem, tablePath(this.#folder, table.file), undefined, table)
    // Who waits for it is told.
    reader.catch(() => undefined)
    this.#inputs.set(table.file, { reader, runs: 1 })
    return reader
  }

  async #leave(file: number): Promise<void> {
    const input = this.#inputs.get(file)
    if (input === undefined || --input.runs > 0) return
    this.#inputs.delete(file)
    const opened = await input.reader.catch(() => undefined)
    await opened?.close()
  }
}
