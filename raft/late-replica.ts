import type { ConfState } from './core/types.ts'
import type { ReplicaApi } from './replica-api.ts'
import type { ProposalOutcome, ReadKind, ReadOutcome } from './state-machine.ts'

/** Stands for a replica that is not started yet: until `attach` it follows nobody and refuses everything. */
export class LateReplica<Result> implements ReplicaApi<Result> {
  readonly group: string
  readonly replica: number
  readonly #conf: ConfState
  /** Runs a callback after this turn. */
  readonly #soon: (callback: () => void) => void
  #attached: ReplicaApi<Result> | undefined

  constructor(group: string, replica: number, conf: ConfState, soon: (callback: () => void) => void) {
    this.group = group
    this.replica = replica
    this.#conf = conf
    this.#soon = soon
  }

  attach(replica: ReplicaApi<Result>): void {
    this.#attached = replica
  }

  get role(): ReplicaApi<Result>['role'] {
    return this.#attached?.role ?? 'follower'
  }

  get leader(): number {
    return this.#attached?.leader ?? 0
  }

  get term(): number {
    return this.#attached?.term ?? 0
  }

  get conf(): ConfState {
    return this.#attached?.conf ?? this.#conf
  }

  get applied(): number {
    return this.#attached?.applied ?? 0
  }

  groupTimeMs(): number {
    return this.#attached?.groupTimeMs() ?? 0
  }

  propose(data: Uint8Array, done: (outcome: ProposalOutcome<Result>) => void): void {
    if (this.#attached !== undefined) this.#attached.propose(data, done)
    else this.#soon(() => done({ kind: 'refused', reason: 'not-leader', leader: 0 }))
  }

  get freshAsOfMs(): number {
    return this.#attached?.freshAsOfMs ?? Number.NEGATIVE_INFINITY
  }

  readIndex(done: (outcome: ReadOutcome) => void, kind?: ReadKind): void {
    if (this.#attached !== undefined) this.#attached.readIndex(done, kind)
    else this.#soon(() => done({ kind: 'refused', reason: 'not-leader', leader: 0 }))
  }
}
