import { joinPath } from '../base/file-system.ts'
import { OstrakaError } from '../proto/errors.ts'
import { pb } from '../proto/messages.ts'
import type { FileEntry, FileSet } from './file-set.ts'
import { decodeMark, encodeMark } from './mark.ts'
import type { Standing } from './standing.ts'
import type { ExportedSnapshot } from './state-machine.ts'

/** docs/formats-snapshot.md has the bytes. */

/** A part of a table that counts; as `lsm/` ingests it. */
export interface SnapshotTable {
  /** Within the snapshot's folder. */
  readonly name: string
  readonly level: number
  readonly lower: Uint8Array
  readonly upper: Uint8Array
}

/** What goes over the wire beside the files. */
export function encodeDescription(snapshot: ExportedSnapshot): Uint8Array {
  return pb.v1.SnapshotDescription.encode({ mark: encodeMark(snapshot.meta), content: snapshot.description }).finish()
}

/** The snapshot that a peer sent. Throws OstrakaError UNAVAILABLE where it is none. */
export function decodeSnapshot(set: FileSet): ExportedSnapshot {
  try {
    const { mark, content } = pb.v1.SnapshotDescription.decode(set.description)
    return { meta: decodeMark(mark, 'a snapshot'), description: content, files: set.files }
  } catch (error) {
    throw new OstrakaError('UNAVAILABLE', `a peer sent no snapshot: ${error instanceof Error ? error.message : String(error)}`, true)
  }
}

/** What is needed of `lsm/`'s Database, opened without a log of its own. */
export interface SnapshotDatabase {
  /** A database of its own in `folder`, of what is durable; `tables` in the order in which they are ingested. */
  checkpoint(folder: string): Promise<{
    readonly mark: Uint8Array | undefined
    readonly files: readonly FileEntry[]
    readonly tables: readonly SnapshotTable[]
  }>
  /** Verifies and links files, so that `ingest` can no longer fail over them. */
  prepareIngest(files: readonly (Omit<SnapshotTable, 'name'> & { readonly path: string; readonly checksum: number })[]): Promise<unknown>
  /** Takes its place before it returns; resolves when durable. */
  ingest(
    prepared: unknown,
    mark: Uint8Array,
    options: { readonly excise: readonly [{ lower: undefined; upper: undefined }] },
  ): Promise<void>
}

/** Makes a snapshot of what is durable in `database`, in `folder`. */
export async function exportDatabase(database: SnapshotDatabase, folder: string): Promise<ExportedSnapshot> {
  const { mark, files, tables } = await database.checkpoint(folder)
  if (mark === undefined) throw new OstrakaError('UNAVAILABLE', 'nothing is durable here yet', true)
  return describeTables(decodeMark(mark, 'the mark of a database'), tables, files)
}

/**
 * Prepares the replacement of all that is in `database` by a snapshot, so that it can no longer fail over the files. The function that it
 * resolves to replaces: readers see the new state when it has returned; what that returns resolves when it is durable, in one edit.
 */
export async function prepareReplacement(
  database: SnapshotDatabase,
  snapshot: ExportedSnapshot,
  folder: string,
): Promise<() => Promise<void>> {
  const files = tablesOf(snapshot).map(({ name, ...table }) => ({ ...table, path: joinPath(folder, name) }))
  const prepared = await database.prepareIngest(files)
  return () => database.ingest(prepared, encodeMark(snapshot.meta), { excise: [{ lower: undefined, upper: undefined }] })
}

/** A state machine's snapshot whose state is a database's tables, listed in the order in which they are to be ingested. */
function describeTables(meta: Standing, tables: readonly SnapshotTable[], files: readonly FileEntry[]): ExportedSnapshot {
  const listed = tables.map(({ name, level, lower, upper }) => new pb.v1.SnapshotTable({ file: name, level, lower, upper }))
  const named = new Set(tables.map(({ name }) => name))
  return {
    meta,
    description: pb.v1.SnapshotTables.encode({ tables: listed }).finish(),
    files: files.filter(({ name }) => named.has(name)),
  }
}

/** The tables of such a snapshot, with the files' checksums. Throws RangeError where the description is none of these files. */
function tablesOf({ description, files }: ExportedSnapshot): (SnapshotTable & { readonly checksum: number })[] {
  const checksums = new Map(files.map(({ name, checksum }) => [name, checksum]))
  return pb.v1.SnapshotTables.decode(description).tables.map((table) => {
    const file = table.file ?? ''
    const checksum = checksums.get(file)
    if (checksum === undefined) throw new RangeError(`the snapshot has no file ${file}`)
    // Copies: the description is a view of what came over the wire.
    return {
      name: file,
      level: table.level ?? 0,
      lower: new Uint8Array(table.lower ?? []),
      upper: new Uint8Array(table.upper ?? []),
      checksum,
    }
  })
}
