import { emptyBytes } from '../base/bytes.ts'
import type { FileSystem } from '../base/file-system.ts'
import { kindTombstone } from './kind.ts'
import { Merge } from './source.ts'
import { TableReader } from './table-reader.ts'
import { RunSource, type TablePart } from './table-source.ts'

/** What is passed on between two looks at whether to pause. */
const entriesBetweenPauses = 64
const bytesBetweenPauses = 256 * 1024

interface WholeTable extends TablePart {
  readonly path: string
}

/**
 * Passes on the newest entry of each key of some tables, in key order, without a database: views that hold until `receive` returns; no value: a
 * tombstone. `runs` are paths, oldest run first; the tables of one do not overlap and ascend. Every now and then it waits for what `pause` returns.
 * CorruptionError where a file is no table or damaged. That keys ascend within a run is not checked: where they do not, they are not passed on in order.
 */
export async function readTables(
  fileSystem: FileSystem,
  runs: readonly (readonly string[])[],
  receive: (key: Uint8Array, value: Uint8Array | undefined) => void,
  pause: () => Promise<void> | undefined = () => undefined,
): Promise<void> {
  const open = runs.map(() => new OpenTable(fileSystem))
  const sources = runs.map((paths, i) => {
    const tables = paths.map((path): WholeTable => ({ path, lower: emptyBytes, upper: emptyBytes, clipped: false }))
    return new RunSource(tables, ({ path }) => (open[i] as OpenTable).next(path), false)
  })
  const merge = new Merge(sources.reverse(), false)
  try {
    let moved = merge.seek(undefined)
    if (moved instanceof Promise) await moved
    let entries = 0
    let bytes = 0
    for (let top = merge.top; top !== undefined; top = merge.top) {
      const value = top.kind === kindTombstone ? undefined : top.valueBuffer.subarray(top.valueStart, top.valueEnd)
      receive(top.keyBuffer.subarray(top.keyStart, top.keyEnd), value)
      bytes += top.valueEnd - top.valueStart
      if (++entries >= entriesBetweenPauses || bytes >= bytesBetweenPauses) {
        entries = 0
        bytes = 0
        await pause()
      }
      moved = merge.advance()
      if (moved instanceof Promise) await moved
    }
  } finally {
    for (const each of open) await each.close()
  }
}

/** The one table of a run that is being read: of a large run not all can be open at once. */
class OpenTable {
  readonly #fileSystem: FileSystem
  #reader: TableReader | undefined

  constructor(fileSystem: FileSystem) {
    this.#fileSystem = fileSystem
  }

  async next(path: string): Promise<TableReader> {
    await this.close()
    this.#reader = await TableReader.open(this.#fileSystem, path, undefined, undefined)
    return this.#reader
  }

  async close(): Promise<void> {
    const reader = this.#reader
    this.#reader = undefined
    await reader?.close()
  }
}
