import { hasEnded, type MigrationJson, progressOf } from './migration-json.ts'
import { byteText, durationText } from './units.ts'

/** Below this share of the whole nobody can tell how long it will take. */
const tellingShare = 0.02

/**
 * One line for each change of which several migrations were planned and some still run: 'join g3, by me@here: 12 of 64 shards moved, 21 %, 1.2 GiB
 * copied, about 40.0 s left'. What is left goes by what is done. `nowMs`: the wall clock.
 */
export function sumLines(migrations: readonly MigrationJson[], nowMs: number): string[] {
  const changes = new Map<string, MigrationJson[]>()
  for (const migration of migrations) {
    const change = `${migration.startedAt} ${migration.cause} ${migration.author}`
    changes.set(change, [...(changes.get(change) ?? []), migration])
  }
  return [...changes.values()].filter((all) => all.length > 1 && !all.every(hasEnded)).map((all) => lineOf(all, nowMs))
}

function lineOf(all: readonly MigrationJson[], nowMs: number): string {
  const total = shardsOf(all)
  const moved = shardsOf(all.filter(({ phase }) => phase === 'done'))
  const aborted = shardsOf(all.filter(({ phase }) => phase === 'aborted'))
  const share = all.reduce((sum, one) => sum + (one.phase === 'aborted' ? 1 : progressOf(one)) * one.shards.length, 0) / total
  const copied = all.reduce((sum, { bytesCopied }) => sum + bytesCopied, 0)
  const [first] = all
  const tookMs = nowMs - Date.parse(first?.startedAt ?? '')
  const isTold = share >= tellingShare && all.every(({ paused }) => !paused)
  return [
    `${first?.cause}${first?.author ? `, by ${first.author}` : ''}: ${moved} of ${total} shards moved`,
    ...(aborted > 0 ? [`${aborted} aborted`] : []),
    `${Math.floor(share * 100)} %`,
    `${byteText(copied)} copied`,
    ...(isTold ? [`about ${durationText((tookMs * (1 - share)) / share)} left`] : []),
  ].join(', ')
}

function shardsOf(migrations: readonly MigrationJson[]): number {
  return migrations.reduce((sum, { shards }) => sum + shards.length, 0)
}
