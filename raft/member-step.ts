import type { Member } from '../proto/config.ts'
import { isJoint } from './core/conf-changer.ts'
import type { ConfStep, ProgressStatus } from './core/types.ts'
import type { Standing } from './standing.ts'

/** What the leader of a group sees of its members: what the cluster's config wants, and what the group's log says. */
export interface MembersView {
  /** The leader's own number. */
  readonly self: number
  readonly wanted: readonly Member[]
  /** Of the config that wants it. */
  readonly configNumber: number
  readonly members: Omit<Standing, 'index' | 'term'>
  /** Learners that hold about what the leader holds. */
  readonly caughtUp: ReadonlySet<number>
  /** The other voters, the one that could take over soonest first. */
  readonly successors: readonly number[]
  /** A quorum of the members holds on its disks that the newest change is committed. */
  readonly held: boolean
}

export type MemberStep =
  /** The log says what the config wants, or this config is older than what the group has done already. */
  | { readonly kind: 'nothing' }
  /** Look again soon. */
  | { readonly kind: 'wait' }
  | { readonly kind: 'change'; readonly steps: readonly ConfStep[] }
  /** This leader is to leave: another has to take the last step. */
  | { readonly kind: 'hand-over'; readonly to: number }
  /** What the config wants is done, but a crash may still take back that it is known: an entry behind it has to be committed. */
  | { readonly kind: 'hold' }
  /** What the config wants is done, or what has to be known before it goes on: the controllers do not know it yet. */
  | { readonly kind: 'report' }

/** The next step towards what the config wants (docs/membership.md). Pure: every leader comes to the same from the same log. */
export function nextMemberStep(view: MembersView): MemberStep {
  const { wanted, members, caughtUp } = view
  const { conf } = members
  if (view.configNumber < members.configNumber) return { kind: 'nothing' }
  if (isJoint(conf)) return { kind: 'wait' }
  const joining = wanted.filter(({ state }) => state === 'joining').map(({ replica }) => replica)
  const unknown = joining.filter((replica) => !conf.voters.includes(replica) && !conf.learners.includes(replica))
  if (unknown.length > 0) return { kind: 'change', steps: unknown.map((replica) => ({ type: 'add-learner', replica })) }
  const learning = joining.filter((replica) => conf.learners.includes(replica))
  if (learning.some((replica) => !caughtUp.has(replica))) return makeRoom(view, new Set(learning))
  const staying = stayingIn(wanted)
  const leaving = [...conf.voters, ...conf.learners].filter((replica) => !staying.has(replica))
  if (learning.length === 0 && leaving.length === 0) {
    return wanted.some(({ state }) => state !== 'voter') ? report(view) : { kind: 'nothing' }
  }
  return change(view, learning, leaving)
}

/** A node holds one replica of a group at a time: where one is to come to the node of one that leaves, the old one goes first. */
function makeRoom(view: MembersView, learning: ReadonlySet<number>): MemberStep {
  const { wanted, members } = view
  const { voters, learners } = members.conf
  const nodes = new Set(wanted.filter(({ replica }) => learning.has(replica)).map(({ node }) => node))
  const old = wanted.filter(({ state, node }) => state === 'leaving' && nodes.has(node)).map(({ replica }) => replica)
  if (old.length === 0) return { kind: 'wait' }
  const inTheWay = old.filter((replica) => voters.includes(replica) || learners.includes(replica))
  return inTheWay.length === 0 ? report(view) : change(view, [], inTheWay)
}

/**
 * Who is told that a replica is out deletes it. Until then those that remain may need its vote: who comes back from a crash and does not know that
 * the removal is committed counts by the members of before.
 */
function report({ held }: MembersView): MemberStep {
  return { kind: held ? 'report' : 'hold' }
}

function change({ self, wanted, successors }: MembersView, learning: readonly number[], leaving: readonly number[]): MemberStep {
  const promoted = learning.map((replica) => ({ type: 'add-voter', replica }) as const)
  if (leaving.includes(self)) {
    const staying = stayingIn(wanted)
    const to = successors.find((replica) => staying.has(replica))
    if (to !== undefined) return { kind: 'hand-over', to }
    // Of those that vote nobody stays: who comes must vote before it can take over.
    return promoted.length > 0 ? { kind: 'change', steps: promoted } : { kind: 'wait' }
  }
  return { kind: 'change', steps: [...promoted, ...leaving.map((replica) => ({ type: 'remove', replica }) as const)] }
}

function stayingIn(wanted: readonly Member[]): ReadonlySet<number> {
  return new Set(wanted.filter(({ state }) => state !== 'leaving').map(({ replica }) => replica))
}

/**
 * Which learners have caught up: their logs have reached the leader's last index as it was at most `withinMs` ago. One that lags further would hold
 * up the group's commits once it votes.
 */
export class CatchUp {
  readonly #withinMs: number
  /** The leader's last index as it was, oldest first. */
  #looks: { readonly atMs: number; readonly lastIndex: number }[] = []

  constructor(withinMs: number) {
    this.#withinMs = withinMs
  }

  look(nowMs: number, lastIndex: number, progress: readonly ProgressStatus[]): ReadonlySet<number> {
    this.#looks.push({ atMs: nowMs, lastIndex })
    this.#looks = this.#looks.filter(({ atMs }) => nowMs - atMs <= this.#withinMs)
    const reached = Math.min(...this.#looks.map((look) => look.lastIndex))
    return new Set(progress.filter(({ learner, active, match }) => learner && active && match >= reached).map(({ replica }) => replica))
  }
}
