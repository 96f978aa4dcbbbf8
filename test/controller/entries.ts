import { emptyBytes } from '../../base/bytes.ts'
import type { SeededRandom } from '../../base/random.ts'
import { checkReport } from '../../controller/admin-checks.ts'
import type { ConfigState } from '../../controller/config-state.ts'
import { controllersGroup } from '../../controller/controller-members.ts'
import { type ControllerEntry, encodeEntry } from '../../controller/entry.ts'
import { computeJoin } from '../../controller/join.ts'
import type { LeaderView } from '../../controller/leader-view.ts'
import { computeReport } from '../../controller/report.ts'
import { toEnd } from '../../controller/slices.ts'
import { pb } from '../../proto/messages.ts'
import { type Entry, EntryKind } from '../../raft/core/types.ts'
import { firstStanding } from '../../raft/standing.ts'

export const clusterId = new Uint8Array(16).fill(1)
export const nonce = (value: number): Uint8Array => new Uint8Array(16).fill(value)

const threeControllers = firstStanding(new Map([1, 2, 3].map((replica) => [replica, `c${replica}`])))

/** A leader that knows no sizes and hears all nodes. */
export function viewOf(state: ConfigState, more: Partial<LeaderView> = {}): LeaderView {
  return {
    state,
    atMs: 1_700_000_000_000,
    sizeOf: () => 0,
    progressOf: () => ({ attempt: 0, bytesTotal: 0 }),
    isDriven: () => true,
    hasLeader: () => true,
    hasNoRoom: () => false,
    isLive: () => true,
    isLivenessKnown: true,
    lost: [],
    controllers: controllersGroup(state.controllerMembers, threeControllers),
    ...more,
  }
}

export function entryAt(index: number, entry: ControllerEntry | undefined, term = 1): Entry {
  return { term, index, kind: EntryKind.Normal, data: entry === undefined ? emptyBytes : encodeEntry(entry) }
}

export function formed(shardCount = 16): ControllerEntry {
  return { kind: 'formed', formed: { clusterId, shardCount } }
}

export function joined(
  state: ConfigState,
  names: readonly string[],
  options: { requestId?: string; nodes?: readonly string[] } = {},
): ControllerEntry {
  const members = (options.nodes ?? ['n1', 'n2', 'n3']).map((node, at) => ({ node, address: `127.0.0.1:${7410 + at}` }))
  const groups = names.map((name) => ({ name, weight: 1, isWeightGiven: false, members }))
  const join = { groups, once: false, author: 'test', requestId: Buffer.from(options.requestId ?? ''), base: 0, baseMigrations: 0 }
  const outcome = toEnd(computeJoin(viewOf(state), join))
  if (outcome.kind === 'nothing') throw new Error('nothing to join')
  return { kind: 'change', change: outcome.change }
}

/** The target of migration `id` asks for its commit. */
export function ready(state: ConfigState, id: number): ControllerEntry {
  const report = { migration: id, group: state.migrations.byId.get(id)?.to ?? '', kind: pb.v1.ReportKind.REPORT_READY }
  const outcome = computeReport(viewOf(state), checkReport(report))
  if (outcome.kind !== 'change') throw new Error(`migration ${id} is not to be committed`)
  return { kind: 'change', change: outcome.change }
}

export function registered(id: string, port: number, by = nonce(9), controller = false): ControllerEntry {
  const entry = { id, addresses: [{ name: 'default', address: `127.0.0.1:${port}` }], pid: port, http: '' }
  return { kind: 'register', registration: { entry, controller, nonce: by } }
}

export function claimed(replica: number, by: number): ControllerEntry {
  return { kind: 'claim', claim: { replica, node: 'n1', group: 'g1@1', nonce: nonce(by) } }
}

/** Some entry that might come next, now and then one that is refused. */
export function randomEntry(state: ConfigState, random: SeededRandom): ControllerEntry | undefined {
  if (state.config === undefined) return formed(64)
  switch (random.below(6)) {
    case 0: {
      const names = Array.from({ length: 1 + random.below(3) }, () => `g${random.below(1_000_000)}`)
      const entry = joined(state, [...new Set(names)], { requestId: random.below(2) === 0 ? `r${random.below(50)}` : '' })
      // Now and then another change came first.
      if (entry.kind === 'change' && random.below(4) === 0) entry.change.base = Math.max(0, (entry.change.base ?? 0) - 1)
      return entry
    }
    case 1:
      return claimed(random.below(state.nextReplica + 2), 1 + random.below(3))
    case 2:
      return registered(`c${random.below(3)}`, 7400 + random.below(10), nonce(3), true)
    case 3:
      return undefined
    default:
      return registered(`n${random.below(10)}`, 7410 + random.below(100))
  }
}
