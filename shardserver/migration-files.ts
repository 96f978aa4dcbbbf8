import type { CountingExecutor } from '../base/executor.ts'
import { compactionJobName } from '../lsm/index.ts'
import { OstrakaError } from '../proto/errors.ts'
import type { GroupStore } from './group-store.ts'
import { digestJobName } from './jobs.ts'
import type { FoundAttempt } from './migration-folder.ts'
import { isDigestOfNothing } from './record-digest.ts'
import { type MigrationFilesOptions, ShardExports } from './shard-exports.ts'
import { ShardImports } from './shard-imports.ts'
import type { ExportSource } from './shard-migrations.ts'
import { type ShardRecord, unbornShard } from './shard-state.ts'
import type { GroupSmallState } from './small-state.ts'

/** Well below the time that those who ask give a call. */
const onItsWayMs = 2000
/** Who asks for files that will never be hears of the ingest by its own log. */
const noFilesWaitMs = 1000

/** The files of a replica's migrations: cut here, and on their way in. They lie in its folder, which is also its store's. */
export class MigrationFiles {
  readonly exports: ShardExports
  readonly imports: ShardImports
  readonly #executor: CountingExecutor

  constructor(options: MigrationFilesOptions, store: GroupStore) {
    this.#executor = options.executor
    this.exports = new ShardExports(options, store)
    this.imports = new ShardImports(options, store)
  }

  /** Gives out the cuts. Who asks for one that is on its way, made or yet to be applied here, waits a little: it hears at once when it is there. */
  exportsFor(state: () => GroupSmallState): ExportSource {
    return {
      open: async (request) => {
        const id = request.export?.migration ?? 0
        const attempt = request.export?.attempt ?? 0
        const isThere = () => isCut(recordOf(state(), id), attempt) && !this.exports.isMaking(id, attempt)
        await this.exports.until(isThere, onItsWayMs)
        const record = recordOf(state(), id)
        if (!isCut(record, attempt)) throw later('this replica has not come to that export yet', 50)
        if (isDigestOfNothing(record.digest)) throw later('the cut has no files: it comes in without', noFilesWaitMs)
        return await this.exports.open(request)
      },
      release: () => this.exports.release(),
      isOver: (set) => this.exports.isOver(set),
    }
  }

  /** See `ShardMigrations.workOn`. Parts of tables are merged as in a compaction, and beside them; all is digested at the end. */
  workOn(id: number, attempt: number): number {
    if (this.exports.isMaking(id, attempt)) return this.#executor.doneFor(compactionJobName) + this.#executor.doneFor(digestJobName)
    return this.imports.isVerifying(id, attempt) ? this.#executor.doneFor(digestJobName) : 0
  }

  /** What an earlier life has left, judged by the records as they are durable. */
  async reopen(state: GroupSmallState): Promise<void> {
    await this.exports.reopen((found) => isExported(state, found))
    await this.imports.reopen((found) => isImportOver(state, found))
  }

  /** The records were replaced, by a snapshot: what they do not want any more goes. */
  async replaced(state: GroupSmallState): Promise<void> {
    const exported = state.migrations()
    this.exports.keepOnly((id, attempt) => exported.some((each) => isExport(each.state) && each.id === id && each.attempt === attempt))
    await this.imports.prune((found) => isImportOver(state, found))
  }

  async close(): Promise<void> {
    await this.exports.close()
    await this.imports.close()
  }
}

function later(why: string, waitMs: number): OstrakaError {
  return new OstrakaError('UNAVAILABLE', why, true, { waitMs })
}

/** Of the migration's shards, which move together. */
function recordOf({ shards }: GroupSmallState, id: number): ShardRecord | undefined {
  for (const { record } of shards.values()) if (record.newestId === id) return record
  return undefined
}

/** The group's log, as far as it is applied, has asked for this cut. */
function isCut(record: ShardRecord | undefined, attempt: number): record is ShardRecord {
  return record !== undefined && (!isExport(record.state) || record.attempt >= attempt)
}

function isExport(state: string): boolean {
  return state === 'exporting' || state === 'released'
}

function isExported(state: GroupSmallState, { id, attempt, list }: FoundAttempt): boolean {
  if (list === undefined) return false
  return list.shards.every((shard) => {
    const record = state.shards.get(shard)?.record ?? unbornShard
    return isExport(record.state) && record.newestId === id && record.attempt === attempt && record.cut === list.cut
  })
}

/**
 * Whether files of an import are wanted no more. Those that are held stay as long as the log may still ask for them: entries behind what is
 * durable are applied again, and an ingest that cannot find what a majority has vouched for would leave the group without that majority. Those that
 * are not whole stay too where the entry that began the import may be among these: they are resumed.
 */
function isImportOver(state: GroupSmallState, { id, attempt, list }: FoundAttempt): boolean {
  if (list === undefined) {
    const wanted = state.migrations().find((each) => each.id === id)
    if (wanted === undefined) return id <= newestId(state)
    return wanted.state !== 'importing' || wanted.ingested || wanted.attempt !== attempt
  }
  return list.shards.some((shard) => {
    const record = state.shards.get(shard)?.record ?? unbornShard
    if (record.newestId !== id) return record.newestId > id
    return record.state !== 'importing' || record.ingested || record.attempt > attempt
  })
}

function newestId({ shards }: GroupSmallState): number {
  let newest = 0
  for (const { record } of shards.values()) newest = Math.max(newest, record.newestId)
  return newest
}
