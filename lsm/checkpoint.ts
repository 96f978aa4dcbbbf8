import { crc32 } from '../base/checksum.ts'
import { joinPath, makeFolderDurably, readFile } from '../base/file-system.ts'
import type { Engine } from './engine.ts'
import { writeManifest } from './manifest.ts'
import { currentName, manifestName, type TableMetadata, tableName } from './table-metadata.ts'

export interface CheckpointFile {
  /** Within the checkpoint's folder. */
  readonly name: string
  readonly size: number
  /** crc32. */
  readonly checksum: number
  /** The parts of the file that count, where it is a table: what `IngestFile` wants to know. More than one after an excise. */
  readonly parts: readonly Pick<TableMetadata, 'level' | 'lower' | 'upper' | 'entries' | 'tombstones'>[]
}

export interface CheckpointFiles {
  /** `durableMark` of what the checkpoint holds. */
  readonly mark: Uint8Array | undefined
  /** All that is in the folder. */
  readonly files: readonly CheckpointFile[]
  /** The parts of files that count, in the order in which they may be ingested: those of deeper levels first, those of level 0 oldest first. */
  readonly tables: readonly ({ readonly name: string } & Pick<TableMetadata, 'level' | 'lower' | 'upper'>)[]
}

/**
 * Makes a database of its own in `folder`, which must be empty or absent, out of hard links and a manifest. All is durable when it resolves. Its
 * files are gone again where it rejects.
 */
export async function makeCheckpoint(engine: Engine, folder: string, signal?: AbortSignal): Promise<CheckpointFiles> {
  const { fileSystem, folder: from } = engine.options
  const view = engine.view.retain()
  const { manifest } = engine
  // It has no log.
  const state = { ...manifest.state, version: view.version, closedLog: undefined }
  const files = new Map<string, CheckpointFile & { parts: TableMetadata[] }>()
  const number = state.nextNumber
  let isOurs = false
  try {
    await makeFolderDurably(fileSystem, folder)
    if ((await fileSystem.list(folder)).length > 0) throw new RangeError(`the checkpoint's folder ${folder} is not empty`)
    isOurs = true
    const tables = [...view.version.levels].reverse().flatMap((level) => [...level].reverse())
    for (const table of tables) {
      signal?.throwIfAborted()
      const name = tableName(table.file)
      const known = files.get(name)
      if (known === undefined) {
        await fileSystem.link(joinPath(from, name), joinPath(folder, name))
        files.set(name, { name, size: table.size, checksum: table.checksum, parts: [table] })
      } else known.parts.push(table)
    }
    signal?.throwIfAborted()
    await fileSystem.syncFolder(folder)
    const { writer } = await writeManifest(fileSystem, folder, number, { ...state, nextNumber: number + 1 })
    await writer.close()
    const described: CheckpointFile[] = [...files.values()]
    for (const name of [manifestName(number), currentName]) {
      const bytes = await readFile(fileSystem, joinPath(folder, name))
      described.push({ name, size: bytes.length, checksum: crc32(bytes), parts: [] })
    }
    const parts = tables.map(({ file, level, lower, upper }) => ({ name: tableName(file), level, lower, upper }))
    return { mark: state.mark, files: described, tables: parts }
  } catch (error) {
    const made = isOurs ? [...files.keys(), currentName, `${currentName}.tmp`, manifestName(number)] : []
    for (const name of made) await fileSystem.unlink(joinPath(folder, name)).catch(() => undefined)
    throw error
  } finally {
    view.release()
  }
}
