import { limits } from '../proto/limits.ts'
import { pb } from '../proto/messages.ts'
import { type Entry, EntryKind } from '../raft/core/types.ts'
import { changeOf } from '../raft/standing.ts'
import { decodeEntry, EntryCode, entryHeaderBytes, type GroupEntry } from './entry.ts'
import type { MigrationStep } from './migration-entry.ts'

/** An entry of the log as it is applied. */
export type Parsed =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'malformed'; readonly timeMs: number; readonly reason: string }
  | { readonly kind: 'write'; readonly timeMs: number; readonly batch: pb.v1.WriteBatch.$Properties }
  | { readonly kind: 'step'; readonly timeMs: number; readonly step: MigrationStep }
  | Extract<GroupEntry, { kind: 'birth' | 'rebirth' | 'time-mark' }>

const parsedNothing: Parsed = { kind: 'nothing' }

/** A command of the source, as an entry of its log had it. */
export interface ReplayedEntry {
  readonly shard: number
  readonly timeMs: number
  readonly batch: pb.v1.WriteBatch.$Properties
}

/** UnknownEntryError or BadMembershipChange on what this version cannot apply. */
export function parse(entry: Entry): Parsed {
  if (entry.kind !== EntryKind.Normal) {
    changeOf(entry)
    return parsedNothing
  }
  if (entry.data.length === 0) return parsedNothing
  const decoded = decodeEntry(entry.data, entry.index)
  if (decoded.kind === 'birth' || decoded.kind === 'rebirth' || decoded.kind === 'time-mark') return decoded
  if (decoded.kind !== 'write') return { kind: 'step', timeMs: decoded.timeMs, step: decoded }
  try {
    const batch = pb.v1.WriteBatch.decode(decoded.body)
    if (batch.clientId.length === limits.clientIdBytes) return { kind: 'write', timeMs: decoded.timeMs, batch }
    return { kind: 'malformed', timeMs: decoded.timeMs, reason: `a client id of ${batch.clientId.length} bytes` }
  } catch (error) {
    return { kind: 'malformed', timeMs: decoded.timeMs, reason: error instanceof Error ? error.message : 'no write batch' }
  }
}

/** Whether an entry is a step of a migration. */
export function isMigration({ kind, data }: Entry): boolean {
  return (
    kind === EntryKind.Normal &&
    data.length >= entryHeaderBytes &&
    (data[1] as number) >= EntryCode.Import &&
    (data[1] as number) <= EntryCode.Outcome
  )
}

/** All commands of the deltas, each shard's in order. What is no write batch is nothing, as it was in the source. */
export function replayedEntries(deltas: readonly pb.v1.ShardDelta.$Properties[]): readonly ReplayedEntry[] {
  const entries: ReplayedEntry[] = []
  for (const { shard, records } of deltas) {
    for (const { timeMs, writes } of records ?? []) {
      entries.push({ shard: shard ?? 0, timeMs: timeMs ?? 0, batch: decodeWrites(writes ?? new Uint8Array(0), shard ?? 0) })
    }
  }
  return entries
}

/** Commands of another shard than the record's are left out. */
function decodeWrites(writes: Uint8Array, shard: number): pb.v1.WriteBatch.$Properties {
  try {
    const { clientId, commands } = pb.v1.WriteBatch.decode(writes)
    return { clientId, commands: commands.filter((command) => (command.shard ?? 0) === shard) }
  } catch {
    return { commands: [] }
  }
}
