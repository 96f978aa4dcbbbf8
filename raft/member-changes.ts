import type { Raft } from './core/raft.ts'
import { type ConfChange, type ConfChangeResult, type Entry, EntryKind, type ReplicaNumber } from './core/types.ts'
import type { PendingProposals } from './pending-proposals.ts'
import { changeOf, encodeMembersContext, type MembersContext, type Standing, standBehind } from './standing.ts'

/** What became of a change of a group's membership. */
export type MemberChangeOutcome =
  /** It holds from entry `index` on; one by a joint configuration is being left. */
  | { readonly kind: 'applied'; readonly index: number }
  /** Definite: it is in no log. `leader`: replica number, 0 unknown. */
  | {
      readonly kind: 'refused'
      readonly reason: Extract<ConfChangeResult, { ok: false }>['reason'] | 'stopped'
      readonly leader: ReplicaNumber
    }
  /** Indefinite: it was in this replica's log when leadership was lost, or the replica stopped. */
  | { readonly kind: 'lost' }

/** The members of one replica's group, as of what is applied here: kept for the driver, told to the core, changed by a leader. */
export class MemberChanges<Result> {
  readonly #core: Pick<Raft, 'proposeConfChange' | 'applyConfChange'>
  readonly #pending: Pick<PendingProposals<Result>, 'expect'>
  /** Its membership counts; its index moves only with that. */
  #standing: Standing

  constructor(
    core: Pick<Raft, 'proposeConfChange' | 'applyConfChange'>,
    pending: Pick<PendingProposals<Result>, 'expect'>,
    durable: Standing,
  ) {
    this.#core = core
    this.#pending = pending
    this.#standing = durable
  }

  get members(): Omit<Standing, 'index' | 'term'> {
    return this.#standing
  }

  /** `done` is called exactly once, perhaps within this call. */
  propose(change: ConfChange, context: MembersContext, done: (outcome: MemberChangeOutcome) => void): void {
    const answer = this.#core.proposeConfChange(change, encodeMembersContext(context))
    if (answer.ok) this.#pending.expect(answer.term, answer.firstIndex, done)
    else done({ kind: 'refused', reason: answer.reason, leader: answer.leader })
  }

  /** These are applied. Tells the core of each change among them; returns whether there was one. */
  applied(entries: readonly Entry[]): boolean {
    let changed = false
    for (const entry of entries) {
      if (entry.kind === EntryKind.Normal) continue
      this.#standing = standBehind(this.#standing, entry)
      this.#core.applyConfChange(changeOf(entry).change)
      changed = true
    }
    return changed
  }

  /** All state was replaced; the core knows. */
  installed(standing: Standing): void {
    this.#standing = standing
  }
}
