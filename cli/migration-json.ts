import { toHex } from '../base/bytes.ts'
import { pb } from '../proto/messages.ts'

/** CONTRACT's JSON of a migration, with its cause, its author and, where it was aborted, why. */

export type ShownPhase = 'copying' | 'catching-up' | 'releasing' | 'done' | 'aborted'

export interface MigrationJson {
  readonly id: number
  /** Ascending. */
  readonly shards: readonly number[]
  /** Names of groups. */
  readonly from: string
  readonly to: string
  readonly phase: ShownPhase
  readonly attempt: number
  readonly bytesCopied: number
  readonly bytesTotal: number
  /** ISO 8601, by the wall clock of the controllers' leader. */
  readonly startedAt: string
  /** Null: it runs. */
  readonly endedAt: string | null
  /** From release to activation, with fractions. Null: not known. */
  readonly pauseMs: number | null
  readonly paused: boolean
  /** Where it is paused: who did it, if that is known, and when. */
  readonly pausedBy?: string
  readonly pausedAt?: string
  /** Where it stands, as far as is known: what for, for people. */
  readonly waitsFor?: string
  readonly cause: string
  readonly author: string
  /** Of the records at the cut, as source and target agree, hexadecimal. Null: not committed. */
  readonly digest: string | null
  /** Why it was aborted or given back. */
  readonly reason?: string
}

export function migrationJson(migration: pb.v1.Migration.$Properties): MigrationJson {
  const { pauseUs, endedAtMs, pausedBy, pausedAtMs, waitsFor, reason } = migration
  return {
    id: migration.id ?? 0,
    shards: [...(migration.shards ?? [])],
    from: nameOf(migration.from),
    to: nameOf(migration.to),
    phase: shownPhase(migration),
    attempt: migration.attempt ?? 0,
    bytesCopied: migration.bytesCopied ?? 0,
    bytesTotal: migration.bytesTotal ?? 0,
    startedAt: new Date(migration.startedAtMs ?? 0).toISOString(),
    endedAt: endedAtMs ? new Date(endedAtMs).toISOString() : null,
    pauseMs: pauseUs ? pauseUs / 1000 : null,
    paused: migration.paused ?? false,
    ...(pausedBy ? { pausedBy } : {}),
    ...(pausedAtMs ? { pausedAt: new Date(pausedAtMs).toISOString() } : {}),
    ...(waitsFor ? { waitsFor } : {}),
    cause: migration.cause ?? '',
    author: migration.author ?? '',
    digest: migration.digest?.length ? toHex(migration.digest) : null,
    ...(reason ? { reason } : {}),
  }
}

const { COPYING, COMMITTED, DONE } = pb.v1.MigrationPhase

/** One that was committed and given back counts as aborted: its source serves again. */
function shownPhase({ phase, catchingUp }: pb.v1.Migration.$Properties): ShownPhase {
  switch (phase ?? COPYING) {
    case COPYING:
      return catchingUp === true ? 'catching-up' : 'copying'
    case COMMITTED:
      return 'releasing'
    case DONE:
      return 'done'
    default:
      return 'aborted'
  }
}

/** Whether nothing will become of it any more. */
export function hasEnded({ phase }: MigrationJson): boolean {
  return phase === 'done' || phase === 'aborted'
}

/** What it waits for, for people, and since when where it is paused; '': nothing that is known of. */
export function waitText({ waitsFor, pausedAt }: MigrationJson): string {
  return waitsFor === undefined ? '' : pausedAt === undefined ? waitsFor : `${waitsFor} since ${secondOf(pausedAt)}`
}

/** '2026-11-30 19:40:02' of an ISO time. */
export function secondOf(iso: string): string {
  return iso.slice(0, 19).replace('T', ' ')
}

/** The share that is done, from 0 to 1. */
export function progressOf({ phase, bytesCopied, bytesTotal }: MigrationJson): number {
  if (phase === 'done') return 1
  if (phase === 'releasing') return 0.99
  const copied = bytesTotal === 0 ? 0 : Math.min(1, bytesCopied / bytesTotal)
  return phase === 'catching-up' ? 0.95 : 0.95 * copied
}

/** A group's name: its uid without the config number of its join. */
function nameOf(uid: string | null | undefined): string {
  return (uid ?? '').replace(/@\d+$/, '')
}
