import { OstrakaError } from '../proto/errors.ts'
import { limits } from '../proto/limits.ts'
import { pb } from '../proto/messages.ts'
import { decodeBirth, type ShardBirth } from '../proto/migration-list.ts'
import { type BalanceRules, plainRules } from './balance-rules.ts'
import type { Asked } from './leader-view.ts'
import { check, checkAsked, checkName, checkUid, checkWeight, shown } from './request-checks.ts'

/** Requests about moving shards, checked as in `request-checks.ts`. Whether a shard or group is there only the state tells. */

export interface CheckedLeave extends Asked {
  readonly group: string
  readonly abandonData: boolean
  readonly confirmShards: number
}

export interface CheckedMove extends Asked {
  readonly shard: number
  readonly group: string
}

export interface CheckedUnpin extends Asked {
  readonly shard: number
}

export type CheckedRebalance = Asked

export interface CheckedWeigh extends Asked {
  readonly group: string
  readonly weight: number
}

/** As in `rulesAfter`: what is zero stays as it is. */
export interface CheckedAutoRebalance extends Asked {
  readonly wanted: BalanceRules
}

export interface CheckedSteer extends Asked {
  readonly shard: number
  readonly steering: 'pause' | 'resume' | 'cancel'
}

export interface CheckedReport {
  readonly kind: 'ready' | 'cannot' | 'refused' | 'active' | 'clean' | 'born'
  /** 0 with 'born'. */
  readonly migration: number
  /** Uid of the group that reports. */
  readonly group: string
  /** One line; never empty for 'cannot' and 'refused'. */
  readonly reason: string
  readonly digest: Uint8Array
  readonly pauseUs: number
  readonly births: readonly ShardBirth[]
  readonly attempt: number
  readonly bytes: number
  /** With 'cannot' and 'refused': for want of room. */
  readonly noRoom: boolean
}

const reasonCharactersMax = 256
const digestBytesMax = 64

export function checkLeave(request: pb.v1.LeaveRequest.$Properties): CheckedLeave {
  const group = checkName(request.group, 'group name')
  return { group, abandonData: request.abandonData ?? false, confirmShards: request.confirmShards ?? 0, ...checkAsked(request) }
}

export function checkMove(request: pb.v1.MoveRequest.$Properties): CheckedMove {
  return { shard: request.shard ?? 0, group: checkName(request.group, 'group name'), ...checkAsked(request) }
}

export function checkUnpin(request: pb.v1.UnpinRequest.$Properties): CheckedUnpin {
  return { shard: request.shard ?? 0, ...checkAsked(request) }
}

export function checkRebalance(request: pb.v1.RebalanceRequest.$Properties): CheckedRebalance {
  return checkAsked(request)
}

export function checkWeigh(request: pb.v1.WeighRequest.$Properties): CheckedWeigh {
  const group = checkName(request.group, 'group name')
  return { group, weight: checkWeight(request.weight ?? 0, group), ...checkAsked(request) }
}

export function checkAutoRebalance(request: pb.v1.AutoRebalanceRequest.$Properties): CheckedAutoRebalance {
  return { wanted: plainRules(request), ...checkAsked(request) }
}

export function checkSteer(request: pb.v1.SteerRequest.$Properties): CheckedSteer {
  const steering = steerings.get(request.steering ?? 0)
  check(steering !== undefined, `steering ${request.steering}: PAUSE, RESUME or CANCEL`)
  return { shard: request.shard ?? 0, steering, ...checkAsked(request) }
}

const steerings = new Map<number, CheckedSteer['steering']>([
  [pb.v1.Steering.PAUSE, 'pause'],
  [pb.v1.Steering.RESUME, 'resume'],
  [pb.v1.Steering.CANCEL, 'cancel'],
])

const reportKinds = new Map<number, CheckedReport['kind']>([
  [pb.v1.ReportKind.REPORT_READY, 'ready'],
  [pb.v1.ReportKind.REPORT_CANNOT, 'cannot'],
  [pb.v1.ReportKind.REPORT_REFUSED, 'refused'],
  [pb.v1.ReportKind.REPORT_ACTIVE, 'active'],
  [pb.v1.ReportKind.REPORT_CLEAN, 'clean'],
  [pb.v1.ReportKind.REPORT_BORN, 'born'],
])

export function checkReport(request: pb.v1.ReportRequest.$Properties): CheckedReport {
  const kind = reportKinds.get(request.kind ?? 0)
  check(kind !== undefined, `report of kind ${request.kind}`)
  const migration = request.migration ?? 0
  check(Number.isSafeInteger(migration) && migration > 0 === (kind !== 'born'), `report ${kind} of migration ${migration}`)
  const digest = Uint8Array.from(request.digest ?? [])
  check(digest.length <= digestBytesMax, `digest of ${digest.length} bytes`)
  const [pauseUs, bytes] = [request.pauseUs ?? 0, request.bytes ?? 0]
  check(Number.isSafeInteger(pauseUs) && Number.isSafeInteger(bytes), `pause of ${pauseUs} µs, ${bytes} bytes`)
  const reason = shown((request.reason || 'no reason given').slice(0, reasonCharactersMax))
  const births = checkBirths(request.births ?? [])
  const noRoom = request.noRoom ?? false
  return { kind, migration, group: checkUid(request.group), reason, digest, pauseUs, births, attempt: request.attempt ?? 0, bytes, noRoom }
}

function checkBirths(births: readonly pb.v1.ShardBirth.$Properties[]): ShardBirth[] {
  check(births.length <= limits.shardCountMax, `${births.length} births`)
  try {
    return births.map(decodeBirth)
  } catch (error) {
    if (error instanceof RangeError) throw new OstrakaError('INVALID_ARGUMENT', error.message, true)
    throw error
  }
}
