import { isEnded, type Migration } from '../../proto/migration.ts'
import type { ShardRecord } from '../shard-state.ts'

/**
 * What the target's leader has to do next for one migration. Derived from what is replicated alone, the shards' records in the group and the
 * migration in the controllers' log: so any new leader goes on where the last one was. Whatever is decided here upon a view that is old is
 * refused where it is applied.
 */
export type ImportStep =
  /** Nothing that the target drives: it ended, or it is the outcome's turn. */
  | { readonly kind: 'none' }
  /** Not yet: `why`, for logs. */
  | { readonly kind: 'wait'; readonly why: 'paused' | 'blocked' | 'behind' }
  /** Log the import: its first attempt. */
  | { readonly kind: 'begin' }
  /** Have the cut made, wait for its files on a majority, ingest them. */
  | { readonly kind: 'copy'; readonly attempt: number }
  /** Replay what the source did since; ask for the commit when the lag is small. */
  | { readonly kind: 'catch-up'; readonly after: number }
  /** Committed: release at the source, replay the rest, serve. */
  | { readonly kind: 'take-over'; readonly after: number }
  /** Committed, but the source was given up before it released: its last commands never come. */
  | { readonly kind: 'refuse' }
  | { readonly kind: 'report-refused' }
  | { readonly kind: 'report-active' }

type Standing =
  | { readonly kind: 'before' | 'blocked' | 'refused' | 'active' | 'over' | 'mixed' }
  | { readonly kind: 'importing'; readonly record: ShardRecord }

/** `records`: of the migration's shards in the target, in their order. */
export function nextImportStep(migration: Migration, records: readonly ShardRecord[]): ImportStep {
  if (isEnded(migration.phase)) return { kind: 'none' }
  const standing = standingOf(migration.id, records)
  const copying = migration.phase === 'copying'
  switch (standing.kind) {
    case 'over':
      return { kind: 'none' }
    case 'active':
      return copying ? { kind: 'wait', why: 'behind' } : { kind: 'report-active' }
    case 'refused':
      return { kind: 'report-refused' }
    case 'blocked':
      return { kind: 'wait', why: 'blocked' }
    case 'mixed':
      return { kind: 'wait', why: 'behind' }
    case 'before':
      if (!copying) return { kind: 'wait', why: 'behind' }
      return migration.paused ? { kind: 'wait', why: 'paused' } : { kind: 'begin' }
    case 'importing':
      return importing(migration, standing.record)
  }
}

function importing(migration: Migration, { ingested, attempt, cursor }: ShardRecord): ImportStep {
  if (migration.phase === 'committed') {
    if (!ingested) return { kind: 'wait', why: 'behind' }
    return migration.fromConfirmed ? { kind: 'refuse' } : { kind: 'take-over', after: cursor }
  }
  if (migration.paused) return { kind: 'wait', why: 'paused' }
  return ingested ? { kind: 'catch-up', after: cursor } : { kind: 'copy', attempt }
}

/** Entries move all shards of a migration together; only what came after it may have moved them apart. */
function standingOf(id: number, records: readonly ShardRecord[]): Standing {
  if (records.every((record) => isActive(id, record))) return { kind: 'active' }
  const first = records[0]
  if (first === undefined) return { kind: 'mixed' }
  if (records.every((record) => record.newestId < id)) {
    const free = records.every(({ state }) => state === 'unborn' || state === 'absent')
    return { kind: free ? 'before' : 'blocked' }
  }
  if (!records.every(({ newestId, state }) => newestId === id && state === first.state)) return { kind: 'mixed' }
  if (first.state === 'importing') return { kind: 'importing', record: first }
  if (first.state === 'refused') return { kind: 'refused' }
  return first.state === 'absent' ? { kind: 'over' } : { kind: 'mixed' }
}

/** It serves under `id`, or it did: a newer migration took it away since. */
function isActive(id: number, { newestId, state }: ShardRecord): boolean {
  return newestId > id || (newestId === id && state === 'serving')
}
