import type { pb } from '../proto/messages.ts'
import type { Pace } from './pace.ts'

/** Files that another replica may pull, under one name: a snapshot of a group, an export of shards. */
export interface FileSet {
  /** Where they lie. */
  readonly folder: string
  /** What they are, as their maker defines it. */
  readonly description: Uint8Array
  readonly files: readonly FileEntry[]
}

export interface FileEntry {
  /** Within the set's folder. */
  readonly name: string
  /** Bytes. */
  readonly size: number
  /** crc32 of the whole file. */
  readonly checksum: number
}

/**
 * Gives out sets of files of one kind. OstrakaError NOT_FOUND: this replica does not have them and will not; UNAVAILABLE: ask again later.
 * `release` is called once for each set that was opened, when nobody has asked for it for a while or the process ends.
 */
export interface FileSource {
  /** At which its sets are read, all together; not given: as they are asked for. */
  readonly pace?: Pace
  open(request: pb.v1.OpenFilesRequest): Promise<FileSet>
  release(set: FileSet): void
  /** Nobody will want a set any more that was opened: it holds no place where others need one. Not given: nobody can tell. */
  isOver?(set: FileSet): boolean
}
