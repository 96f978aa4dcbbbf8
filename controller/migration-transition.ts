import { isEnded, type MigrationPhase } from '../proto/migration.ts'
import type { MigrationRecord } from './migration-record.ts'

/**
 * How a migration goes on. Pure. `transition` is what a leader computes; `mayFollow` is what every replica demands of what it applies.
 *
 *     copying ──commit──▶ committed ──finish──▶ done
 *        └────abort────▶ aborted   └─give-back─▶ given-back
 */

export type MigrationEvent =
  | { readonly kind: 'pause'; readonly author: string; readonly atMs: number }
  | { readonly kind: 'resume' }
  | {
      readonly kind: 'commit'
      /** Of the last of its shards. */
      readonly configNumber: number
      readonly epochs: readonly number[]
      readonly digest: Uint8Array
      readonly attempt: number
      readonly bytesTotal: number
    }
  | { readonly kind: 'abort'; readonly reason: string; readonly atMs: number }
  | { readonly kind: 'finish'; readonly pauseUs: number; readonly atMs: number }
  | {
      readonly kind: 'give-back'
      readonly configNumber: number
      readonly epochs: readonly number[]
      readonly reason: string
      readonly atMs: number
    }
  /** Nothing of it is left in `group`; of the source also before the end, where the source was given up for lost. */
  | { readonly kind: 'confirm'; readonly group: string }

const nextPhases: Readonly<Record<MigrationPhase, readonly MigrationPhase[]>> = {
  copying: ['committed', 'aborted'],
  committed: ['done', 'given-back'],
  done: [],
  aborted: [],
  'given-back': [],
}

/** The migration after the event; undefined: its phase does not allow it, or it says nothing new. */
export function transition(before: MigrationRecord, event: MigrationEvent): MigrationRecord | undefined {
  if (isEnded(before.phase) && event.kind !== 'confirm') return undefined
  const after = outcome(before, event)
  return after !== undefined && mayFollow(before, after) ? after : undefined
}

function outcome(before: MigrationRecord, event: MigrationEvent): MigrationRecord | undefined {
  switch (event.kind) {
    case 'pause':
      return before.phase !== 'copying' || before.paused
        ? undefined
        : { ...before, paused: true, pausedBy: event.author, pausedAtMs: event.atMs }
    case 'resume':
      return before.phase !== 'copying' || !before.paused ? undefined : { ...before, ...notPaused }
    case 'commit': {
      const { configNumber, epochs, digest, attempt, bytesTotal } = event
      return before.phase !== 'copying' ? undefined : { ...before, phase: 'committed', configNumber, epochs, digest, attempt, bytesTotal }
    }
    case 'abort':
      return { ...before, phase: 'aborted', ...notPaused, reason: event.reason, endedAtMs: event.atMs }
    case 'finish':
      return { ...before, phase: 'done', pauseUs: event.pauseUs, endedAtMs: event.atMs }
    case 'give-back': {
      const { configNumber, epochs, reason, atMs } = event
      return { ...before, phase: 'given-back', configNumber, epochs, reason, endedAtMs: atMs }
    }
    case 'confirm': {
      const fromConfirmed = before.fromConfirmed || event.group === before.from
      const toConfirmed = before.toConfirmed || event.group === before.to
      if (fromConfirmed === before.fromConfirmed && toConfirmed === before.toConfirmed) return undefined
      return { ...before, fromConfirmed, toConfirmed }
    }
  }
}

const notPaused = { paused: false, pausedBy: '', pausedAtMs: 0 }

/** Whether one entry may make `after` of `before`. */
export function mayFollow(before: MigrationRecord, after: MigrationRecord): boolean {
  if (!isSameMigration(before, after) || !isWhole(after)) return false
  if ((before.fromConfirmed && !after.fromConfirmed) || (before.toConfirmed && !after.toConfirmed)) return false
  if (before.phase !== after.phase) return nextPhases[before.phase].includes(after.phase) && carriesOn(before, after)
  return (
    before.configNumber === after.configNumber &&
    isSameList(before.epochs, after.epochs) &&
    (isEnded(before.phase) ? isFinal(before, after) : true)
  )
}

/** What holds of a migration in its phase, whatever came before. */
export function isWhole(record: MigrationRecord): boolean {
  const { phase, paused, configNumber, epochs, shards, endedAtMs, fromConfirmed, toConfirmed } = record
  const isDecided = phase === 'committed' || phase === 'done' || phase === 'given-back'
  if (isDecided ? configNumber < 1 || epochs.length !== shards.length : configNumber !== 0 || epochs.length !== 0) return false
  if (paused && phase !== 'copying') return false
  if (!paused && (record.pausedBy !== '' || record.pausedAtMs !== 0)) return false
  if (isEnded(phase)) return endedAtMs > 0
  return endedAtMs === 0 && !toConfirmed && (phase === 'committed' || !fromConfirmed)
}

function isSameMigration(before: MigrationRecord, after: MigrationRecord): boolean {
  const same = before.id === after.id && before.from === after.from && before.to === after.to && isSameList(before.shards, after.shards)
  return same && before.startedAtMs === after.startedAtMs && before.cause === after.cause && before.author === after.author
}

/** What the new phase says of the decision taken before. */
function carriesOn(before: MigrationRecord, after: MigrationRecord): boolean {
  if (after.phase === 'committed') return !before.paused
  if (after.phase === 'done') return before.configNumber === after.configNumber && isSameList(before.epochs, after.epochs)
  if (after.phase === 'given-back')
    return after.configNumber > before.configNumber && before.epochs.every((epoch, at) => after.epochs[at] === epoch + 1)
  return true
}

/** An ended migration stays as it is, its confirmations aside. */
function isFinal(before: MigrationRecord, after: MigrationRecord): boolean {
  return (
    before.endedAtMs === after.endedAtMs &&
    before.reason === after.reason &&
    before.attempt === after.attempt &&
    before.bytesTotal === after.bytesTotal &&
    before.pauseUs === after.pauseUs &&
    isSameList(before.digest, after.digest)
  )
}

function isSameList(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false
  return true
}
