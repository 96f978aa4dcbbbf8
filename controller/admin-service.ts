import type { Clock } from '../base/clock.ts'
import type { CallContext } from '../base/transport.ts'
import { OstrakaError } from '../proto/errors.ts'
import { pb } from '../proto/messages.ts'
import {
  checkAutoRebalance,
  checkLeave,
  checkMove,
  checkRebalance,
  checkReport,
  checkSteer,
  checkUnpin,
  checkWeigh,
} from './admin-checks.ts'
import { computeAutoRebalance } from './auto-rebalance.ts'
import { computeChangeMembers, computeReplaceNode } from './change-members.ts'
import type { ChangeQueue } from './change-queue.ts'
import { computeJoin } from './join.ts'
import type { Asked, Compute, LeaderView, Outcome } from './leader-view.ts'
import { computeLeave } from './leave.ts'
import { checkChangeMembers, checkMembersReport, checkReplaceNode } from './member-checks.ts'
import { computeMembersReport } from './members-report.ts'
import { encodeRecord, type MigrationRecord } from './migration-record.ts'
import { computeMove, computeRebalance, computeUnpin } from './move.ts'
import { planReply } from './plan.ts'
import { computeReport } from './report.ts'
import type { Reported } from './reported.ts'
import { checkJoin } from './request-checks.ts'
import { requestedBy } from './requested.ts'
import type { Slices } from './slices.ts'
import { computeSteer } from './steer.ts'
import { waitingDrains } from './upkeep.ts'
import { waitsForOf } from './waits-for.ts'
import { computeWeigh } from './weigh.ts'

export interface AdminServiceParts {
  readonly queue: ChangeQueue
  /** The leader's view, linearizably. */
  readonly read: (hint: (replica: number) => string) => Promise<LeaderView>
  readonly hint: (context: CallContext) => (replica: number) => string
  readonly reported: Reported
  readonly clock: Pick<Clock, 'monotonicMs'>
}

/** Of admins' changes. */
const changesWaitingMax = 64
/** Groups report without being asked, and each report counts. */
const reportsWaitingMax = 1024

/** Changes of groups, their replicas and shards, and what groups report of them. Rejects with OstrakaErrors. */
export class AdminService {
  readonly #parts: AdminServiceParts

  constructor(parts: AdminServiceParts) {
    this.#parts = parts
  }

  join(request: pb.v1.JoinRequest, context: CallContext): Promise<pb.v1.ChangeReply> {
    return this.#change(checkJoin(request), computeJoin, requestedBy('join', pb.v1.JoinRequest, request), context)
  }

  leave(request: pb.v1.LeaveRequest, context: CallContext): Promise<pb.v1.ChangeReply> {
    return this.#change(checkLeave(request), computeLeave, requestedBy('leave', pb.v1.LeaveRequest, request), context)
  }

  move(request: pb.v1.MoveRequest, context: CallContext): Promise<pb.v1.ChangeReply> {
    return this.#change(checkMove(request), computeMove, requestedBy('move', pb.v1.MoveRequest, request), context)
  }

  unpin(request: pb.v1.UnpinRequest, context: CallContext): Promise<pb.v1.ChangeReply> {
    return this.#change(checkUnpin(request), computeUnpin, requestedBy('unpin', pb.v1.UnpinRequest, request), context)
  }

  rebalance(request: pb.v1.RebalanceRequest, context: CallContext): Promise<pb.v1.ChangeReply> {
    return this.#change(checkRebalance(request), computeRebalance, requestedBy('rebalance', pb.v1.RebalanceRequest, request), context)
  }

  weigh(request: pb.v1.WeighRequest, context: CallContext): Promise<pb.v1.ChangeReply> {
    return this.#change(checkWeigh(request), computeWeigh, requestedBy('weigh', pb.v1.WeighRequest, request), context)
  }

  autoRebalance(request: pb.v1.AutoRebalanceRequest, context: CallContext): Promise<pb.v1.ChangeReply> {
    const requested = requestedBy('autoRebalance', pb.v1.AutoRebalanceRequest, request)
    return this.#change(checkAutoRebalance(request), computeAutoRebalance, requested, context)
  }

  steer(request: pb.v1.SteerRequest, context: CallContext): Promise<pb.v1.ChangeReply> {
    return this.#change(checkSteer(request), computeSteer, requestedBy('steer', pb.v1.SteerRequest, request), context)
  }

  changeMembers(request: pb.v1.ChangeMembersRequest, context: CallContext): Promise<pb.v1.ChangeReply> {
    return this.#change(
      checkChangeMembers(request),
      computeChangeMembers,
      requestedBy('changeMembers', pb.v1.ChangeMembersRequest, request),
      context,
    )
  }

  replaceNode(request: pb.v1.ReplaceNodeRequest, context: CallContext): Promise<pb.v1.ChangeReply> {
    return this.#change(
      checkReplaceNode(request),
      computeReplaceNode,
      requestedBy('replaceNode', pb.v1.ReplaceNodeRequest, request),
      context,
    )
  }

  async reportMembers(request: pb.v1.ReportMembersRequest, context: CallContext): Promise<pb.v1.ReportMembersReply> {
    const report = checkMembersReport(request)
    const waiting = { hint: this.#parts.hint(context), waitingMax: reportsWaitingMax }
    const { configNumber } = await this.#parts.queue.submit((view) => computeMembersReport(view, report), waiting)
    return new pb.v1.ReportMembersReply({ configNumber })
  }

  async plan(request: pb.v1.PlanRequest, context: CallContext): Promise<pb.v1.PlanReply> {
    const compute = planned(request)
    return await this.#parts.queue.ask(compute, this.#parts.hint(context), (view, outcome) => new pb.v1.PlanReply(planReply(view, outcome)))
  }

  async migrations({ ids, known }: pb.v1.MigrationsRequest, context: CallContext): Promise<pb.v1.MigrationsReply> {
    const view = await this.#parts.read(this.#parts.hint(context))
    const { config, migrations } = view.state
    const waiting = [...waitingDrains(view)].map(([uid, why]) => `${config?.groupByUid(uid)?.name ?? uid} is being drained, ${why}`)
    const changed = ids.length === 0 ? migrations.changedSince(known) : ids.flatMap((id) => migrations.byId.get(id) ?? [])
    const records = changed ?? migrations.history()
    const shown = records.map((record) => ({
      ...this.#shown(record),
      waitsFor: waitsForOf(view, record, this.#parts.reported.progressOf(record.id)?.waitsFor ?? ''),
    }))
    const since = ids.length === 0 && changed !== undefined ? known : 0
    return new pb.v1.MigrationsReply({ migrations: shown, waiting, version: migrations.version, since })
  }

  async report(request: pb.v1.ReportRequest, context: CallContext): Promise<pb.v1.ReportReply> {
    const report = checkReport(request)
    let state: LeaderView['state'] | undefined
    const compute = (view: LeaderView): Outcome => {
      state = view.state
      return computeReport(view, report)
    }
    await this.#parts.queue.submit(compute, { hint: this.#parts.hint(context), waitingMax: reportsWaitingMax })
    if (report.noRoom) this.#parts.reported.noteNoRoom(report.group, this.#parts.clock.monotonicMs())
    if (report.kind === 'born') return new pb.v1.ReportReply()
    const record = state?.migrations.byId.get(report.migration)
    const forgotten = { id: report.migration, phase: pb.v1.MigrationPhase.ABORTED }
    return new pb.v1.ReportReply({ migration: record === undefined ? forgotten : this.#shown(record) })
  }

  async #change<T extends Asked>(
    checked: T,
    compute: (view: LeaderView, checked: T) => Outcome | Slices<Outcome>,
    requested: number,
    context: CallContext,
  ): Promise<pb.v1.ChangeReply> {
    const request = { id: checked.requestId, requested }
    const waiting = { request, hint: this.#parts.hint(context), waitingMax: changesWaitingMax }
    const answer = await this.#parts.queue.submit((view) => compute(view, checked), waiting)
    return new pb.v1.ChangeReply({ ...answer, migrations: [...answer.migrations] })
  }

  /** With what its group's leader says of it meanwhile. */
  #shown(record: MigrationRecord): pb.v1.Migration.$Properties {
    const progress = this.#parts.reported.progressOf(record.id)
    const message = { ...encodeRecord(record), bytesCopied: record.phase === 'done' ? record.bytesTotal : 0 }
    if (progress === undefined || (record.phase !== 'copying' && record.phase !== 'committed')) return message
    const { attempt, bytesCopied, bytesTotal, catchingUp } = progress
    return {
      ...message,
      attempt: Math.max(attempt ?? 0, record.attempt),
      bytesCopied: bytesCopied ?? 0,
      bytesTotal: bytesTotal || record.bytesTotal,
      catchingUp: catchingUp ?? false,
    }
  }
}

/** The computation of the change that is asked about, its request checked. */
function planned({ join, leave, move, rebalance, weigh }: pb.v1.PlanRequest): Compute {
  if (join) return bound(computeJoin, checkJoin(join))
  if (leave) return bound(computeLeave, checkLeave(leave))
  if (move) return bound(computeMove, checkMove(move))
  if (rebalance) return bound(computeRebalance, checkRebalance(rebalance))
  if (weigh) return bound(computeWeigh, checkWeigh(weigh))
  throw new OstrakaError('INVALID_ARGUMENT', 'no change given to plan', true)
}

function bound<T>(compute: (view: LeaderView, checked: T) => Slices<Outcome>, checked: T): Compute {
  return (view) => compute(view, checked)
}
