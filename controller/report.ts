import { must, unreachable } from '../base/assert.ts'
import type { Config } from '../proto/config.ts'
import { OstrakaError } from '../proto/errors.ts'
import { isEnded } from '../proto/migration.ts'
import type { ShardBirth } from '../proto/migration-list.ts'
import type { CheckedReport } from './admin-checks.ts'
import { configOf, type LeaderView, type Outcome, refused } from './leader-view.ts'
import { encodeRecord, type MigrationRecord } from './migration-record.ts'
import { type MigrationEvent, transition } from './migration-transition.ts'
import { Steps } from './step.ts'

/**
 * What a group's word of a migration would do, computed by the leader. Pure. Whatever is said again, late or of a migration that has gone
 * on changes nothing: the answer tells how it stands. Refusals are thrown as OstrakaErrors.
 */
export function computeReport(view: LeaderView, report: CheckedReport): Outcome {
  if (report.kind === 'born') return born(view, report)
  const { migrations } = view.state
  const record = migrations.byId.get(report.migration)
  if (record === undefined) {
    if (report.migration < migrations.next) return nothing
    throw new OstrakaError('NOT_FOUND', `no migration ${report.migration}: the next one will be ${migrations.next}`, true)
  }
  mustHaveSay(record, report)
  switch (report.kind) {
    case 'ready':
      return ready(view, record, report)
    case 'cannot':
      return changed(view, record, { kind: 'abort', reason: report.reason, atMs: view.atMs })
    case 'refused':
      return record.phase === 'committed'
        ? giveBack(view, record, report)
        : changed(view, record, { kind: 'abort', reason: report.reason, atMs: view.atMs })
    case 'active':
      if (record.phase === 'copying') throw refused(`migration ${record.id} is not committed: nothing can be active by it`)
      return changed(view, record, { kind: 'finish', pauseUs: report.pauseUs, atMs: view.atMs })
    case 'clean':
      if (!isEnded(record.phase)) throw refused(`migration ${record.id} is not over: nothing is to be cleaned up yet`)
      return changed(view, record, { kind: 'confirm', group: report.group })
    default:
      return unreachable(report.kind)
  }
}

const nothing: Outcome = { kind: 'nothing', note: '' }

function mustHaveSay(record: MigrationRecord, { kind, group }: CheckedReport): void {
  if (group === record.to || (kind === 'clean' && group === record.from)) return
  throw new OstrakaError(
    'INVALID_ARGUMENT',
    `group ${group} has no say in migration ${record.id} from ${record.from} to ${record.to}`,
    true,
  )
}

function changed(view: LeaderView, record: MigrationRecord, event: MigrationEvent): Outcome {
  const after = transition(record, event)
  if (after === undefined) return nothing
  return { kind: 'change', change: { base: configOf(view).number, changed: [encodeRecord(after)] }, note: '' }
}

/** The commit: one config number for each shard. */
function ready(view: LeaderView, record: MigrationRecord, report: CheckedReport): Outcome {
  if (record.phase !== 'copying') return nothing
  if (record.paused) throw refused(`migration ${record.id} is paused: it is not committed before it is resumed`)
  // A leader that has come since the files were ingested has not seen them.
  const told = view.progressOf(record.id)
  const attempt = Math.max(report.attempt, told.attempt)
  const bytesTotal = report.bytes || told.bytesTotal
  const { digest } = report
  return handOver(view, record, record.to, '', ({ configNumber, epochs }) => ({
    kind: 'commit',
    configNumber,
    epochs,
    digest,
    attempt,
    bytesTotal,
  }))
}

/** The target has refused for good what was committed to it: the source goes on, or, if it was given up since, the target begins empty. */
function giveBack(view: LeaderView, record: MigrationRecord, { reason }: CheckedReport): Outcome {
  const owner = record.fromConfirmed ? record.to : record.from
  return handOver(view, record, owner, `, given back`, ({ configNumber, epochs }) => ({
    kind: 'give-back',
    configNumber,
    epochs,
    reason,
    atMs: view.atMs,
  }))
}

function handOver(
  view: LeaderView,
  record: MigrationRecord,
  owner: string,
  what: string,
  event: (decided: { configNumber: number; epochs: number[] }) => MigrationEvent,
): Outcome {
  const config = configOf(view)
  const steps = new Steps(config)
  const target = nameOf(config, record.to)
  const names = owner === record.to && what === '' ? [nameOf(config, record.from), target] : [target, nameOf(config, owner)]
  const way = names[0] === names[1] ? `begin empty at ${names[1]}` : `from ${names[0]} to ${names[1]}`
  const epochs = record.shards.map((shard) => config.epochOf(shard) + 1)
  for (const [at, shard] of record.shards.entries()) {
    const cause = `move ${shard} ${way}${what}${record.cause.startsWith('move ') ? '' : ` (${record.cause})`}`
    // A shard that came back must not be sent out again because it is held where it was refused.
    const unpinned = what !== '' && owner !== record.to && config.pins.get(shard) === target ? [shard] : []
    steps.add({ cause, author: record.author, atMs: view.atMs }, { shards: [{ shard, group: owner, epoch: epochs[at] ?? 0 }], unpinned })
  }
  const after = must(transition(record, event({ configNumber: steps.number, epochs })), 'the phase was looked at')
  const isBirth = what !== '' && owner === record.to
  const births: ShardBirth[] = isBirth ? record.shards.map((shard, at) => ({ shard, group: owner, epoch: epochs[at] ?? 0 })) : []
  return { kind: 'change', change: { base: config.number, steps: steps.all, changed: [encodeRecord(after)], births }, note: '' }
}

function born(view: LeaderView, { group, births }: CheckedReport): Outcome {
  const pending = view.state.migrations.births
  const confirmed = births.filter((birth) => {
    const known = pending.get(birth.shard)
    return birth.group === group && known?.group === group && known.epoch === birth.epoch
  })
  if (confirmed.length === 0) return nothing
  return { kind: 'change', change: { base: configOf(view).number, born: confirmed }, note: '' }
}

function nameOf(config: Config, uid: string): string {
  return config.groupByUid(uid)?.name ?? uid
}
