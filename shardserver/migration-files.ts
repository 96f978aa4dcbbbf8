import { OstrakaError } from '../proto/errors.ts'
import type { FileSource } from '../raft/file-set.ts'
import type { GroupStore } from './group-store.ts'
import type { FoundAttempt } from './migration-folder.ts'
import { type MigrationFilesOptions, ShardExports } from './shard-exports.ts'
import { ShardImports } from './shard-imports.ts'
import { unbornShard } from './shard-state.ts'
import type { GroupSmallState } from './small-state.ts'

/** The files of a replica's migrations: cut here, and on their way in. They lie in its folder, which is also its store's. */
export class MigrationFiles {
  readonly exports: ShardExports
  readonly imports: ShardImports

  constructor(options: MigrationFilesOptions, store: GroupStore) {
    this.exports = new ShardExports(options, store)
    this.imports = new ShardImports(options, store)
  }

  /** Gives out the cuts. One that this replica's records have not come to yet is on its way, not lost. */
  exportsFor(state: () => GroupSmallState): FileSource {
    return {
      open: (request) => {
        const { migration = 0, attempt = 0 } = request.export ?? {}
        if (isCut(state(), migration ?? 0, attempt ?? 0)) return this.exports.open(request)
        return Promise.reject(new OstrakaError('UNAVAILABLE', 'this replica has not come to that export yet', true, { waitMs: 50 }))
      },
      release: () => this.exports.release(),
    }
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

/** The group's log, as far as it is applied, has asked for this cut. */
function isCut({ shards }: GroupSmallState, id: number, attempt: number): boolean {
  for (const { record } of shards.values()) if (record.newestId === id) return !isExport(record.state) || record.attempt >= attempt
  return false
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
