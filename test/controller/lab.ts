import { checkLeave, checkMove, checkRebalance, checkReport, checkSteer, checkUnpin, checkWeigh } from '../../controller/admin-checks.ts'
import { computeChangeMembers, computeReplaceNode } from '../../controller/change-members.ts'
import { ConfigState } from '../../controller/config-state.ts'
import { type ControllerEntry, decodeEntry, encodeEntry } from '../../controller/entry.ts'
import { computeJoin } from '../../controller/join.ts'
import type { LeaderView, Outcome } from '../../controller/leader-view.ts'
import { computeLeave } from '../../controller/leave.ts'
import { computeReplacements } from '../../controller/lost-replicas.ts'
import { checkChangeMembers, checkReplaceNode } from '../../controller/member-checks.ts'
import { staying } from '../../controller/members.ts'
import { computeMembersReport } from '../../controller/members-report.ts'
import type { MigrationRecord } from '../../controller/migration-record.ts'
import { computeMove, computeRebalance, computeUnpin } from '../../controller/move.ts'
import { planReply } from '../../controller/plan.ts'
import { computeReport } from '../../controller/report.ts'
import { checkJoin } from '../../controller/request-checks.ts'
import { type Slices, toEnd } from '../../controller/slices.ts'
import { computeSteer } from '../../controller/steer.ts'
import { computeAborts, computeDrains, computeRemovals } from '../../controller/upkeep.ts'
import { computeWeigh } from '../../controller/weigh.ts'
import type { Member } from '../../proto/config.ts'
import { pb } from '../../proto/messages.ts'
import { formed, nonce, viewOf } from './entries.ts'

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
  /** Ids of nodes that are not live. */
  readonly dead = new Set<string>()
  /** Replicas that their nodes cannot hold, by number. */
  readonly lostReplicas = new Map<number, string>()
  /** Names of groups of whose leader nobody hears. */
  readonly leaderless = new Set<string>()
  /** Names of groups that have refused shards for want of room. */
  readonly full = new Set<string>()
  /** Migrations that nobody drives. */
  readonly undriven = new Set<number>()
  /** False: the leader is new, and has heard nobody for long enough. */
  isLivenessKnown = true
  readonly sizes = new Map<number, number>()
  /** False: the leader is new, and has been told of no size. */
  knowsSizes = true
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
      sizeOf: (shard) => (this.knowsSizes ? (this.sizes.get(shard) ?? 0) : undefined),
      isDriven: (migration) => !this.undriven.has(migration),
      hasLeader: (uid) => !this.leaderless.has(this.state.config?.groupByUid(uid)?.name ?? ''),
      hasNoRoom: (uid) => this.full.has(this.state.config?.groupByUid(uid)?.name ?? ''),
      isLivenessKnown: this.isLivenessKnown,
      isLive: (group, { node, replica }) => !this.lost.has(group.name) && !this.dead.has(node) && !this.lostReplicas.has(replica),
      lost: [...this.lostReplicas].map(([replica, reason]) => {
        const group = this.config.groups.find(({ members }) => members.some((member) => member.replica === replica))
        const node = group?.members.find((member) => member.replica === replica)?.node ?? ''
        return { group: group?.uid ?? '', replica, node, reason, sinceMs: 0 }
      }),
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
  join(names: readonly string[], base = 0, weights: readonly number[] = []): readonly number[] {
    return this.#run(computeJoin(this.view, joinOf(names, base, weights)))
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

  weigh(group: string, weight: number, base = 0): readonly number[] {
    return this.#run(computeWeigh(this.view, checkWeigh({ group, weight, author: 'op', base })))
  }

  steer(shard: number, steering: keyof typeof steerings): readonly number[] {
    return this.#run(computeSteer(this.view, checkSteer({ shard, steering: steerings[steering], author: 'op' })))
  }

  changeMembers(group: string, add: readonly string[], remove: readonly string[]): void {
    const members = add.map((node) => ({ node, address: `${node}:7410` }))
    this.#run(computeChangeMembers(this.view, checkChangeMembers({ group, add: members, remove: [...remove], author: 'op' })))
  }

  replaceNode(old: string, node: string): void {
    this.#run(computeReplaceNode(this.view, checkReplaceNode({ old, new: { node, address: `${node}:7410` }, author: 'op' })))
  }

  /** What the group's log says of its members. */
  reportMembers(group: string, voters: readonly number[], learners: readonly number[] = []): void {
    this.#run(computeMembersReport(this.view, { group, voters, learners }))
  }

  /** The group's log does what its config wants, and its leader tells. */
  settle(name: string): void {
    this.reportMembers(
      this.uid(name),
      staying(this.members(name)).map(({ replica }) => replica),
    )
  }

  /** The steward's part, for migrations that nobody has driven for a minute. */
  abortUndriven(): void {
    this.#run(computeAborts(this.view, this.undriven, 60_000))
  }

  /** The nodes of a group have begun the logs of their replicas. */
  start(name: string): void {
    const group = this.uid(name)
    for (const { node, replica } of this.members(name)) this.#apply({ kind: 'claim', claim: { replica, node, group, nonce: nonce(1) } })
  }

  /** The steward's part, for all groups. */
  replaceLost(): void {
    this.#run(computeReplacements(this.view, new Set(this.config.groups.map(({ uid }) => uid))))
  }

  members(name: string): readonly Member[] {
    return this.config.groupByName(name)?.members ?? []
  }

  /** 'n1#1 n4#7+ n2#2-': who joins has a plus, who leaves a minus. */
  shown(name: string): string {
    const marks = { voter: '', joining: '+', leaving: '-' } as const
    return this.members(name)
      .map(({ node, replica, state }) => `${node}#${replica}${marks[state]}`)
      .join(' ')
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
    const { groups } = this.config
    this.#run(computeDrains(this.view, new Set(groups.map(({ uid }) => uid))))
  }

  plan(request: pb.v1.PlanRequest.$Properties) {
    const { view } = this
    const slices = request.join
      ? computeJoin(view, checkJoin(request.join))
      : request.leave
        ? computeLeave(view, checkLeave(request.leave))
        : request.move
          ? computeMove(view, checkMove(request.move))
          : request.weigh
            ? computeWeigh(view, checkWeigh(request.weigh))
            : computeRebalance(view, checkRebalance(request.rebalance ?? {}))
    return planReply(view, toEnd(slices))
  }

  /** What became of a hand-made entry. */
  try(change: pb.v1.ConfigChange.$Properties): string {
    return this.state.apply(decodeEntry(encodeEntry({ kind: 'change', change })), nowhere).outcome
  }

  #run(computed: Outcome | Slices<Outcome>): readonly number[] {
    const outcome = 'kind' in computed ? computed : toEnd(computed)
    this.note = outcome.note
    if (outcome.kind === 'nothing') return outcome.migrations ?? []
    return this.#apply(
      outcome.kind === 'change' ? { kind: 'change', change: outcome.change } : { kind: 'controllers', controllers: outcome.change },
    )
  }

  #apply(entry: ControllerEntry): readonly number[] {
    const result = this.state.apply(decodeEntry(encodeEntry(entry)), nowhere)
    if (result.outcome !== 'applied') throw new Error(`${entry.kind} was ${result.outcome}`)
    this.log.push(entry)
    this.onEntry?.()
    return result.migrations ?? []
  }
}

/** `weights` by place in `names`; 0: none is given. */
export function joinOf(names: readonly string[], base = 0, weights: readonly number[] = []) {
  const members = ['n1', 'n2', 'n3'].map((node) => ({ node, address: `${node}:7410` }))
  return checkJoin({ groups: names.map((name, at) => ({ name, members, weight: weights[at] ?? 0 })), author: 'op', base })
}
