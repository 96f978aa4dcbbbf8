import { configOf, type LeaderView } from './leader-view.ts'
import { hasMajority } from './members.ts'
import { isOpen, type MigrationRecord } from './migration-record.ts'
import { withoutMajority } from './takers.ts'

/**
 * What a migration waits for, one line for people; '': nothing that is known of. What holds it in the eyes of the controllers comes first; else what
 * its target's leader has `told`. Pure.
 */
export function waitsForOf(view: LeaderView, record: MigrationRecord, told: string): string {
  if (!isOpen(record)) return ''
  if (record.paused) return record.pausedBy === '' ? 'its resumption' : `its resumption: paused by ${record.pausedBy}`
  const config = configOf(view)
  const [source, target] = [config.groupByUid(record.from), config.groupByUid(record.to)]
  if (target !== undefined && !hasMajority(view, target)) return `its target: ${target.name} ${withoutMajority(view, target)}`
  if (source !== undefined && !hasMajority(view, source)) return `its source: ${source.name} ${withoutMajority(view, source)}`
  if (target !== undefined && !view.hasLeader(target.uid)) return `its target: ${target.name} has no leader that the controllers hear`
  return told
}
