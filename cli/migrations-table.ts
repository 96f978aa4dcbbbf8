import { hasEnded, type MigrationJson, progressOf, secondOf, waitText } from './migration-json.ts'
import { copyLeftMs, type MigrationRates } from './migration-rates.ts'
import { drawTable } from './table.ts'
import { byteText, durationText, listed } from './units.ts'

const head = ['id', 'shards', 'from', 'to', 'phase', 'done', 'copied', 'rate', 'left', 'waits for', 'pause', 'took', 'began', 'by', 'why']

/** Migrations for people. `nowMs`: the wall clock; `rates`: where they are better known than by start and end. */
export async function migrationsTable(migrations: readonly MigrationJson[], nowMs: number, rates?: MigrationRates): Promise<string> {
  if (migrations.length === 0) return 'no shard moves, and none has moved yet'
  return await drawTable(
    head,
    migrations.map((migration) => rowOf(migration, nowMs, rates?.of(migration.id))),
  )
}

function rowOf(migration: MigrationJson, nowMs: number, rate: number | undefined): string[] {
  const { id, shards, from, to, phase, attempt, bytesCopied, bytesTotal, startedAt, pauseMs, paused, reason, cause, author } = migration
  const tookMs = (migration.endedAt === null ? nowMs : Date.parse(migration.endedAt)) - Date.parse(migration.startedAt)
  const perSecond = rate ?? (tookMs > 0 ? bytesCopied / (tookMs / 1000) : 0)
  const leftMs = copyLeftMs(migration, perSecond)
  const percent = phase === 'aborted' ? '' : `${Math.floor(progressOf(migration) * 100)} %`
  return [
    attempt > 1 ? `${id} (attempt ${attempt})` : String(id),
    shardsText(shards),
    from,
    to,
    paused && !hasEnded(migration) ? `${phase}, paused` : phase,
    percent,
    `${byteText(bytesCopied)} of ${byteText(bytesTotal)}`,
    bytesCopied === 0 ? '' : `${byteText(Math.round(perSecond))}/s`,
    leftMs === undefined ? '' : durationText(leftMs),
    waitText(migration),
    pauseMs === null ? '' : `${pauseMs.toFixed(1)} ms`,
    durationText(tookMs),
    secondOf(startedAt),
    author,
    reason === undefined ? cause : `${cause}: ${reason}`,
  ]
}

/** One line for where no table fits: a log of what changes. */
export function migrationLine(migration: MigrationJson, perSecond = 0): string {
  const { id, shards, from, to, phase, bytesTotal, pauseMs, reason, paused } = migration
  const pause = pauseMs === null ? '' : `, pause ${pauseMs.toFixed(1)} ms`
  const percent = hasEnded(migration) ? '' : ` ${Math.floor(progressOf(migration) * 100)} %`
  const state = `${phase}${percent}${paused && !hasEnded(migration) ? ', paused' : ''}`
  const leftMs = copyLeftMs(migration, perSecond)
  const rate = leftMs === undefined ? '' : `, ${byteText(Math.round(perSecond))}/s`
  const left = leftMs === undefined ? '' : `, ${durationText(leftMs)} left`
  const waits = waitText(migration)
  const waiting = waits === '' ? '' : `, waits for ${waits}`
  const why = reason === undefined ? '' : `: ${reason}`
  return `${id}: shards ${listed(shards)} from ${from} to ${to}: ${state}, ${byteText(bytesTotal)}${rate}${left}${waiting}${pause}${why}`
}

/** '5', '5–7', '1, 5–7, 9 (12)'. */
function shardsText(shards: readonly number[]): string {
  const ranges: string[] = []
  let first = 0
  for (const [at, shard] of shards.entries()) {
    if (shards[at + 1] === shard + 1) continue
    const begin = shards[first] ?? shard
    ranges.push(begin === shard ? String(shard) : `${begin}–${shard}`)
    first = at + 1
  }
  const text = ranges.length > 6 ? `${ranges.slice(0, 6).join(', ')}, …` : ranges.join(', ')
  return shards.length > 1 ? `${text} (${shards.length})` : text
}
