import { emptyBytes } from '../base/bytes.ts'
import type { pb } from '../proto/messages.ts'
import { decodeMigration, encodeMigration, isEnded, type Migration } from '../proto/migration.ts'
import { plain } from './config-records.ts'

/** A migration as the controllers keep it: what groups act upon, and its history for people. */
export interface MigrationRecord extends Migration {
  /** Milliseconds since 1970. */
  readonly startedAtMs: number
  /** 0: it runs. */
  readonly endedAtMs: number
  /** Who paused it; '': it is not paused, or nobody said who. */
  readonly pausedBy: string
  /** When; 0: it is not paused. */
  readonly pausedAtMs: number
  /** What planned it: 'join g3'. */
  readonly cause: string
  readonly author: string
  /** Why it was aborted or given back. */
  readonly reason: string
  /** The newest attempt that a report named. */
  readonly attempt: number
  /** Bytes of the cut, as reported. */
  readonly bytesTotal: number
  /** From the source's release to the target's activation; 0: not known. */
  readonly pauseUs: number
  /** Of the cut; empty before the commit. */
  readonly digest: Uint8Array
}

/** It may still change an owner. */
export function isOpen(migration: Migration): boolean {
  return !isEnded(migration.phase)
}

/** Ended, and nothing of it is left in either group: kept for people alone. */
export function isSettled(migration: Migration): boolean {
  return isEnded(migration.phase) && migration.fromConfirmed && migration.toConfirmed
}

export function newMigration({
  id,
  shards,
  from,
  to,
  startedAtMs,
  cause,
  author,
}: Pick<MigrationRecord, 'id' | 'shards' | 'from' | 'to' | 'startedAtMs' | 'cause' | 'author'>): MigrationRecord {
  return {
    id,
    shards,
    from,
    to,
    phase: 'copying',
    paused: false,
    configNumber: 0,
    epochs: [],
    fromConfirmed: false,
    toConfirmed: false,
    startedAtMs,
    endedAtMs: 0,
    pausedBy: '',
    pausedAtMs: 0,
    cause,
    author,
    reason: '',
    attempt: 0,
    bytesTotal: 0,
    pauseUs: 0,
    digest: emptyBytes,
  }
}

export function encodeRecord(record: MigrationRecord): pb.v1.Migration.$Properties {
  const { startedAtMs, endedAtMs, pausedBy, pausedAtMs, cause, author, reason, attempt, bytesTotal, pauseUs, digest } = record
  const known = { startedAtMs, endedAtMs, pausedBy, pausedAtMs, cause, author, reason, attempt, bytesTotal, pauseUs, digest }
  // An object of so many fields made by spreading is a slow one: thousands of these are encoded in one turn.
  return Object.assign(encodeMigration(record), known)
}

/** Throws RangeError on what is no migration. */
export function decodeRecord(message: pb.v1.Migration.$Properties): MigrationRecord {
  const record = Object.assign(decodeMigration(message), {
    startedAtMs: message.startedAtMs ?? 0,
    endedAtMs: message.endedAtMs ?? 0,
    pausedBy: message.pausedBy ?? '',
    pausedAtMs: message.pausedAtMs ?? 0,
    cause: message.cause ?? '',
    author: message.author ?? '',
    reason: message.reason ?? '',
    attempt: message.attempt ?? 0,
    bytesTotal: message.bytesTotal ?? 0,
    pauseUs: message.pauseUs ?? 0,
    digest: plain(message.digest ?? emptyBytes),
  })
  const { startedAtMs, endedAtMs, pausedAtMs, bytesTotal, pauseUs, configNumber, epochs } = record
  const numbers = [startedAtMs, endedAtMs, pausedAtMs, bytesTotal, pauseUs, configNumber, ...epochs]
  if (!numbers.every((number) => Number.isSafeInteger(number))) throw new RangeError(`migration ${record.id} with a number out of range`)
  return record
}
