import type { ConfChange, ConfState, ConfStep, ReplicaNumber } from './types.ts'

/**
 * Why a change is refused.
 * - joint: only leaving is possible. not-joint: there is nothing to leave.
 * - no-voters: a group without voters has no quorum that could agree to another. all-voters-removed: it would become one.
 * - several-voters: quorums before and after need not overlap; a joint configuration must lie between.
 */
export type ConfRefusal = 'joint' | 'not-joint' | 'no-voters' | 'all-voters-removed' | 'several-voters'

export type ConfOutcome = { readonly ok: true; readonly conf: ConfState } | { readonly ok: false; readonly reason: ConfRefusal }

/** What `change` makes of `conf`. Pure: every replica of a group comes to the same configurations by applying the same changes. */
export function changeConf(conf: ConfState, { transition, steps }: ConfChange): ConfOutcome {
  if (steps.length === 0) return leaveJoint(conf)
  if (transition !== 'auto') return enterJoint(conf, transition === 'joint-implicit', steps)
  const simple = changeSimply(conf, steps)
  return !simple.ok && simple.reason === 'several-voters' ? enterJoint(conf, true, steps) : simple
}

/** At most one voter comes or goes, so that any two quorums before and after overlap (thesis, 4.1). Learners may change at will. */
export function changeSimply(conf: ConfState, steps: readonly ConfStep[]): ConfOutcome {
  if (isJoint(conf)) return refused('joint')
  const draft = new Draft(conf)
  for (const step of steps) draft.take(step)
  if (draft.voters.size === 0) return refused('all-voters-removed')
  if (countDifferences(conf.voters, draft.voters) > 1) return refused('several-voters')
  return { ok: true, conf: draft.conf(false) }
}

/**
 * What votes now must agree beside what is to vote, until the joint configuration is left (thesis, 4.3). A voter that becomes a learner goes on voting
 * in the outgoing half, and is noted in `learnersNext`. `autoLeave`: the leader leaves it by itself.
 */
export function enterJoint(conf: ConfState, autoLeave: boolean, steps: readonly ConfStep[]): ConfOutcome {
  if (isJoint(conf)) return refused('joint')
  if (conf.voters.length === 0) return refused('no-voters')
  const draft = new Draft({ ...conf, votersOutgoing: conf.voters })
  for (const step of steps) draft.take(step)
  if (draft.voters.size === 0) return refused('all-voters-removed')
  return { ok: true, conf: draft.conf(autoLeave) }
}

/** The outgoing half votes no more. */
export function leaveJoint(conf: ConfState): ConfOutcome {
  if (!isJoint(conf)) return refused('not-joint')
  const learners = ascending(new Set([...conf.learners, ...conf.learnersNext]))
  return { ok: true, conf: { voters: conf.voters, votersOutgoing: [], learners, learnersNext: [], autoLeave: false } }
}

export function isJoint(conf: ConfState): boolean {
  return conf.votersOutgoing.length > 0
}

/** A configuration while steps are taken, which find it as the ones before left it. Who is where it is to be already stays there; so does who is nobody. */
class Draft {
  readonly voters: Set<ReplicaNumber>
  readonly #outgoing: ReadonlySet<ReplicaNumber>
  readonly #learners: Set<ReplicaNumber>
  readonly #learnersNext: Set<ReplicaNumber>

  constructor(conf: ConfState) {
    this.voters = new Set(conf.voters)
    this.#outgoing = new Set(conf.votersOutgoing)
    this.#learners = new Set(conf.learners)
    this.#learnersNext = new Set(conf.learnersNext)
  }

  take({ type, replica }: ConfStep): void {
    if (replica < 1) return
    this.voters.delete(replica)
    this.#learners.delete(replica)
    this.#learnersNext.delete(replica)
    if (type === 'add-voter') this.voters.add(replica)
    // Nobody is voter and learner at once: who still votes in the outgoing half becomes a learner on leaving.
    else if (type === 'add-learner') (this.#outgoing.has(replica) ? this.#learnersNext : this.#learners).add(replica)
  }

  conf(autoLeave: boolean): ConfState {
    return {
      voters: ascending(this.voters),
      votersOutgoing: ascending(this.#outgoing),
      learners: ascending(this.#learners),
      learnersNext: ascending(this.#learnersNext),
      autoLeave,
    }
  }
}

function refused(reason: ConfRefusal): ConfOutcome {
  return { ok: false, reason }
}

function ascending(replicas: ReadonlySet<ReplicaNumber>): readonly ReplicaNumber[] {
  return [...replicas].sort((a, b) => a - b)
}

function countDifferences(before: readonly ReplicaNumber[], after: ReadonlySet<ReplicaNumber>): number {
  const kept = before.filter((replica) => after.has(replica)).length
  return before.length - kept + after.size - kept
}
