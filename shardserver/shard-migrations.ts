import type { pb } from '../proto/messages.ts'
import type { FileEntry, FileSet, FileSource } from '../raft/file-set.ts'
import type { ShardRecord, ShardStateName } from './shard-state.ts'

/** A migration that a group takes part in, as its log has it: the record of its shards, which move together. */
export interface LocalMigration {
  readonly id: number
  readonly attempt: number
  readonly state: Extract<ShardStateName, 'exporting' | 'released' | 'importing' | 'refused'>
  /** Ascending. */
  readonly shards: readonly number[]
  readonly ingested: boolean
  readonly cursor: number
  readonly cut: number
  readonly releasedAt: number
  /** As in the record. */
  readonly digest: Uint8Array
}

export interface DeltaWanted {
  readonly id: number
  /** All of the migration, ascending. */
  readonly shards: readonly number[]
  /** Index of the source's log. */
  readonly after: number
  /** Of records; one entry's are always given. */
  readonly maxBytes: number
}

export type DeltaOutcome =
  | {
      readonly kind: 'delta'
      /** Index of the source's log up to which the commands are given. */
      readonly upTo: number
      /** In the order asked. */
      readonly shards: readonly pb.v1.ShardDelta.$Properties[]
      /** Entries of the log behind `upTo` that are here already. */
      readonly lag: number
      /** The index of the release where that is `upTo`, else 0. */
      readonly releasedAt: number
    }
  /** Not exporting or released under this id, `after` lies before the newest cut or behind what is applied. */
  | { readonly kind: 'refused'; readonly reason: string }

/** The files of an attempt, synced and verified here. */
export interface HeldImport {
  /** Of the records, 16 bytes. */
  readonly digest: Uint8Array
  /** Index of the source's log. */
  readonly cut: number
  /** Of the files. */
  readonly bytes: number
}

/** The files of an export. */
export interface ExportSet extends FileSet {
  /** By this process, whole, when it made their list; not those that an earlier one has left. */
  readonly readHere: boolean
}

export interface ExportSource extends FileSource {
  open(request: pb.v1.OpenFilesRequest): Promise<ExportSet>
}

/** What was brought into `importFolder`, whole and synced. */
export interface BroughtFiles {
  /** The list of their export. */
  readonly description: Uint8Array
  readonly files: readonly FileEntry[]
  /** This process has read these very bytes whole, for the digest in their list. */
  readonly isVerified?: boolean
}

/** What the migration driver of a node needs of a replica's state machine. What it proposes: `encodeMigration`, `encodeRebirth`. */
export interface ShardMigrations {
  /** Called after an `apply` that changed a migration record. */
  onMigration: (() => void) | undefined
  /** Sets of files cut here; wants `export` in the request. UNAVAILABLE while being made, NOT_FOUND when lost or over. */
  readonly exports: ExportSource
  /** 'unborn': the group never knew the shard. */
  shardRecord(shard: number): ShardRecord
  /** Those not ended here, by id. */
  migrations(): readonly LocalMigration[]
  /** Where the files of an attempt are to be put: a folder that may not exist yet. Removed when the migration ends here. */
  importFolder(id: number, attempt: number): string
  /**
   * The files lie in `importFolder`. Verifies that they are readable, hold records of the migration's shards only and have the digest that their
   * description says, unless this process has read them for that digest. Then they are held, also after a restart. CorruptionError where they are not so; OstrakaError FAILED_PRECONDITION where this attempt is not, or no more, wanted.
   */
  stageImport(id: number, attempt: number, brought: BroughtFiles): Promise<HeldImport>
  /**
   * Whoever puts files into `importFolder` does so within `bring`; at most one at a time for each attempt. Its signal is aborted when the replica closes, which
   * waits for it: what is the replica's may be deleted then. Where the attempt is over when `bring` ends (a snapshot may end it while files come in), what
   * came meanwhile goes. Settles as `bring` does.
   */
  bringImport(id: number, attempt: number, bring: (signal: AbortSignal) => Promise<void>): Promise<void>
  holdsImport(id: number, attempt: number): HeldImport | undefined
  /**
   * Bytes of work that files of that attempt, being made or verified here, may have to wait for: rises while anything of it goes on. 0: nothing is made, nor
   * verified for the first time.
   */
  workOn(id: number, attempt: number): number
  /** What the commands of exporting or released shards were, all of one moment. */
  delta(wanted: DeltaWanted): Promise<DeltaOutcome>
  /** About what a shard takes, bytes. */
  shardBytes(shard: number): Promise<number>
}
