import { checkLeave, checkMove, checkRebalance, checkReport, checkSteer, checkUnpin } from '../../controller/admin-checks.ts'
import { ConfigState } from '../../controller/config-state.ts'
import { type ControllerEntry, decodeEntry, encodeEntry } from '../../controller/entry.ts'
import { computeJoin } from '../../controller/join.ts'
import type { LeaderView, Outcome } from '../../controller/leader-view.ts'
import { computeLeave } from '../../controller/leave.ts'
import type { MigrationRecord } from '../../controller/migration-record.ts'
import { computeMove, computeRebalance, computeUnpin } from '../../controller/move.ts'
import { planReply } from '../../controller/plan.ts'
import { computeReport } from '../../controller/report.ts'
import { checkJoin } from '../../controller/request-checks.ts'
import { computeSteer } from '../../controller/steer.ts'
import { computeDrains, computeRemovals } from '../../controller/upkeep.ts'
import { pb } from '../../proto/messages.ts'
import { formed, viewOf } from './entries.ts'

const nowhere = { put() {}, delete() {} }
const kinds = {
  ready: pb.v1.ReportKind.REPORT_READY,
  cannot: pb.v1.ReportKind.REPORT_CANNOT,
  refused: pb.v1.ReportKind.REPORT_REFUSED,
  active: pb.v1.ReportKind.REPORT_ACTIVE,
  clean: pb.v1.ReportKind.REPORT_CLEAN,
} as const
export type Said = keyof typeof kinds
const steerings = { pause: pb.v1.Steering.PAUSE, resume: pb.v1.Steering.RESUME, cancel: pb.v1.Steering.CANCEL } as const

/** A controllers' state to which commands and reports are done in turn, as a leader computes them. */
export class Lab {
  readonly state = new ConfigState()
  /** Names of groups without a majority. */
  readonly lost = new Set<string>()
  readonly sizes = new Map<number, number>()
  /** All entries so far. */
  readonly log: ControllerEntry[] = []
  /** What every entry is told of beside the state. */
  onEntry: (() => void) | undefined
  note = ''

  constructor(shardCount = 16) {
    this.#apply(formed(shardCount))
  }

  get view(): LeaderView {
    return viewOf(this.state, {
      sizeOf: (shard) => this.sizes.get(shard) ?? 0,
      hasMajority: (group) => !this.lost.has(group.name),
    })
  }

  get config() {
    if (this.state.config === undefined) throw new Error('not formed')
    return this.state.config
  }

  uid(name: string): string {
    const group = this.config.groupByName(name)
    if (group === undefined) throw new Error(`no group ${name}`)
    return group.uid
  }

  counts(): Record<string, number> {
    const counts = this.config.shardCounts()
    return Object.fromEntries(this.config.groups.map(({ name }, at) => [name, counts[at] ?? 0]))
  }

  open(): MigrationRecord[] {
    return this.state.migrations.open()
  }

  /** Ids of the migrations that it planned or concerned. */
  join(names: readonly string[], base = 0): readonly number[] {
    return this.#run(computeJoin(this.view, joinOf(names, base)))
  }

  leave(group: string, more: pb.v1.LeaveRequest.$Properties = {}): readonly number[] {
    return this.#run(computeLeave(this.view, checkLeave({ group, author: 'op', ...more })))
  }

  move(shard: number, group: string, base = 0): readonly number[] {
    return this.#run(computeMove(this.view, checkMove({ shard, group, author: 'op', base })))
  }

  unpin(shard: number): readonly number[] {
    return this.#run(computeUnpin(this.view, checkUnpin({ shard })))
  }

  rebalance(base = 0, baseMigrations = 0): readonly number[] {
    return this.#run(computeRebalance(this.view, checkRebalance({ base, baseMigrations })))
  }

  steer(shard: number, steering: keyof typeof steerings): readonly number[] {
    return this.#run(computeSteer(this.view, checkSteer({ shard, steering: steerings[steering], author: 'op' })))
  }

  /** `group`: uid; the target where none is given. */
  report(migration: number, kind: Said, group = this.state.migrations.byId.get(migration)?.to ?? 'x@1'): void {
    const request = {
      migration,
      group,
      kind: kinds[kind],
      reason: 'disk full',
      digest: Uint8Array.of(7),
      pauseUs: 900,
      attempt: 1,
      bytes: 5,
    }
    this.#run(computeReport(this.view, checkReport(request)))
  }

  born(group: string, births: pb.v1.ShardBirth.$Properties[]): void {
    this.#run(computeReport(this.view, checkReport({ kind: pb.v1.ReportKind.REPORT_BORN, group, births })))
  }

  /** From commit to both confirmations. */
  complete(migration: number): void {
    for (const kind of ['ready', 'active'] as const) this.report(migration, kind)
    this.clean(migration)
  }

  clean(migration: number): void {
    const record = this.state.migrations.byId.get(migration)
    for (const group of [record?.from, record?.to]) this.report(migration, 'clean', group)
  }

  completeAll(): void {
    for (const { id } of this.open()) this.complete(id)
  }

  upkeep(): void {
    this.#run(computeRemovals(this.view))
    this.#run(computeDrains(this.view))
  }

  plan(request: pb.v1.PlanRequest.$Properties) {
    const { view } = this
    const outcome = request.join
      ? computeJoin(view, checkJoin(request.join))
      : request.leave
        ? computeLeave(view, checkLeave(request.leave))
        : request.move
          ? computeMove(view, checkMove(request.move))
          : computeRebalance(view, checkRebalance(request.rebalance ?? {}))
    return planReply(view, outcome)
  }

  /** What became of a hand-made entry. */
  try(change: pb.v1.ConfigChange.$Properties): string {
    return this.state.apply(decodeEntry(encodeEntry({ kind: 'change', change })), nowhere).outcome
  }

  #run(outcome: Outcome): readonly number[] {
    this.note = outcome.note
    if (outcome.kind === 'nothing') return outcome.migrations ?? []
    return this.#apply({ kind: 'change', change: outcome.change })
  }

  #apply(entry: ControllerEntry): readonly number[] {
    const result = this.state.apply(decodeEntry(encodeEntry(entry)), nowhere)
    if (result.outcome !== 'applied') throw new Error(`${entry.kind} was ${result.outcome}`)
    this.log.push(entry)
    this.onEntry?.()
    return result.migrations ?? []
  }
}

export function joinOf(names: readonly string[], base = 0) {
  const members = ['n1', 'n2', 'n3'].map((node) => ({ node, address: `${node}:7410` }))
  return checkJoin({ groups: names.map((name) => ({ name, members })), author: 'op', base })
}
