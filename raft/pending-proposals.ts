import type { Entry } from './core/types.ts'
import type { ProposalOutcome, Refused } from './state-machine.ts'

type Done<Result> = (outcome: ProposalOutcome<Result>) => void
type ProposeAnswer =
  | { readonly ok: true; readonly term: number; readonly firstIndex: number }
  | { readonly ok: false; readonly reason: string; readonly leader: number }

/** The proposals of one replica from their arrival to their outcome. */
export class PendingProposals<Result> {
  #queuedData: Uint8Array[] = []
  #queuedDone: Done<Result>[] = []
  /** In the log by index, not applied yet. */
  readonly #inLog = new Map<number, { readonly term: number; readonly done: Done<Result> }>()

  queue(data: Uint8Array, done: Done<Result>): void {
    this.#queuedData.push(data)
    this.#queuedDone.push(done)
  }

  /** Hands what queued to the core. */
  submit(propose: (datas: readonly Uint8Array[]) => ProposeAnswer): void {
    if (this.#queuedData.length === 0) return
    const answer = propose(this.#queuedData)
    if (!answer.ok) {
      this.refuseQueued({ kind: 'refused', reason: answer.reason === 'overloaded' ? 'overloaded' : 'not-leader', leader: answer.leader })
      return
    }
    for (let i = 0; i < this.#queuedDone.length; i++) {
      const done = this.#queuedDone[i]
      if (done !== undefined) this.#inLog.set(answer.firstIndex + i, { term: answer.term, done })
    }
    this.#queuedData = []
    this.#queuedDone = []
  }

  /** What was put into the log by another way. */
  expect(term: number, index: number, done: (outcome: { kind: 'applied'; index: number } | { kind: 'lost' }) => void): void {
    this.#inLog.set(index, { term, done: (outcome) => done(outcome.kind === 'applied' ? outcome : { kind: 'lost' }) })
  }

  refuseQueued(outcome: Refused): void {
    const refused = this.#queuedDone
    this.#queuedData = []
    this.#queuedDone = []
    for (const done of refused) done(outcome)
  }

  applied(entries: readonly Entry[], results: readonly Result[]): void {
    if (this.#inLog.size === 0) return
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]
      const pending = entry === undefined ? undefined : this.#inLog.get(entry.index)
      if (entry === undefined || pending === undefined) continue
      this.#inLog.delete(entry.index)
      if (pending.term === entry.term) pending.done({ kind: 'applied', index: entry.index, result: results[i] as Result })
      else pending.done({ kind: 'lost' })
    }
  }

  /** Leadership is gone: what is in the log behind `commit` may still be committed by another leader. What is committed will be applied here. */
  loseBehind(commit: number): void {
    const lost = [...this.#inLog].filter(([index]) => index > commit)
    for (const [index] of lost) this.#inLog.delete(index)
    for (const [, { done }] of lost) done({ kind: 'lost' })
  }
}
