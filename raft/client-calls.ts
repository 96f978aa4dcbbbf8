import type { Clock } from '../base/clock.ts'
import { AppliedWaiters } from './applied-waiters.ts'
import type { Raft } from './core/raft.ts'
import { type Entry, type Message, NONE, type Ready } from './core/types.ts'
import { Lease } from './lease.ts'
import { PendingProposals } from './pending-proposals.ts'
import { PendingReads } from './pending-reads.ts'
import type { ProposalOutcome, ReadKind, ReadOutcome, Refused } from './state-machine.ts'

export interface ClientCallsOptions {
  readonly group: string
  readonly clock: Clock
  readonly core: Pick<Raft, 'role' | 'term' | 'leader' | 'office' | 'propose' | 'readIndex' | 'forwardReadIndex'>
  /** Where the state machine stands at the start. */
  readonly applied: number
  /** Undefined: reads rely on no lease. */
  readonly leaseMs: number | undefined
}

/**
 * What clients want of one replica and have no answer to: proposals, reads, and waits for an index. Each is answered exactly once, at the latest when
 * the replica stops: a proposal when it is applied here, or by what is known of it when that cannot be seen any more; a read when all that was
 * committed when its round or its lease was looked at is applied. Proposals and reads are never answered within the call that brings them.
 */
export class ClientCalls<Result> {
  readonly #options: ClientCallsOptions
  readonly #proposals = new PendingProposals<Result>()
  readonly #reads = new PendingReads()
  readonly #waiters: AppliedWaiters
  readonly #lease: Lease | undefined
  /** Index of the last entry applied. */
  #applied: number

  constructor(options: ClientCallsOptions) {
    this.#options = options
    this.#waiters = new AppliedWaiters(options.group, options.applied)
    this.#applied = options.applied
    this.#lease = options.leaseMs === undefined ? undefined : new Lease(options.clock, options.leaseMs)
  }

  propose(data: Uint8Array, done: (outcome: ProposalOutcome<Result>) => void): void {
    this.#proposals.queue(data, done)
  }

  /** See `PendingProposals.expect`. */
  expect(...proposal: Parameters<PendingProposals<Result>['expect']>): void {
    this.#proposals.expect(...proposal)
  }

  read(done: (outcome: ReadOutcome) => void, kind: ReadKind): void {
    this.#reads.queue(done, kind)
  }

  /** See `PendingReads`. */
  get freshAsOfMs(): number {
    return this.#reads.freshAsOfMs
  }

  /** See `AppliedWaiters`. */
  whenApplied(index: number, clock: Clock, timeoutMs: number): Promise<void> {
    return this.#waiters.wait(index, clock, timeoutMs)
  }

  /**
   * Hands to the core what has come. `keepBack`: not what another leader would have to take, for who leads is about to change. `heir`: who will
   * lead and takes it already; NONE: nobody does.
   */
  submit(keepBack: boolean, heir: number): void {
    const { core, clock } = this.#options
    if (heir !== NONE) {
      const refused: Refused = { kind: 'refused', reason: 'not-leader', leader: heir, isHeir: true }
      this.#proposals.refuseQueued(refused)
      this.#reads.refuseQueued(refused)
      return
    }
    if (!keepBack) this.#proposals.submit((datas) => core.propose(datas))
    if (keepBack && core.role !== 'leader') return
    const nowMs = clock.monotonicMs()
    this.#reads.submitLeased(this.#lease?.index(core.term, core.office), nowMs)
    this.#reads.submit(core, core.leader, nowMs)
    this.#reads.release(this.#applied)
  }

  /** The core's messages leave now: leases count from here. */
  sending(messages: readonly Message[]): void {
    const { term, office } = this.#options.core
    this.#lease?.sending(term, office, messages)
  }

  /** What a Ready says of reads. `keepBack`: those that are lost are asked for again. Returns whether reads wait that `submit` would take now. */
  settleReads({ readStates, lostReads }: Ready, keepBack: boolean): boolean {
    for (const { context, index } of readStates) this.#reads.confirmed(context, index)
    for (const context of lostReads) {
      if (keepBack) this.#reads.requeue(context)
      else this.#reads.lost(context, this.#options.core.leader)
    }
    this.#reads.release(this.#applied)
    return this.#reads.hasQueued
  }

  /** The state machine stands at `index`, behind `entries`. */
  applied(entries: readonly Entry[], results: readonly Result[], index: number): void {
    this.#proposals.applied(entries, results)
    this.caughtUp(index)
  }

  /** The state machine stands at `index`. */
  caughtUp(index: number): void {
    this.#applied = index
    this.#reads.release(index)
    this.#waiters.appliedTo(index)
  }

  /** What becomes of proposals behind `index` will not be seen here. */
  loseBehind(index: number): void {
    this.#proposals.loseBehind(index)
  }

  /** For a replica that has stopped: what was in its log is lost, who waits for an index hears that it has stopped. */
  stop(): void {
    this.#waiters.stop()
    this.#proposals.loseBehind(0)
  }

  /** For a replica that has stopped: what has come since, and reads. */
  refuseAll(): void {
    const refused: Refused = { kind: 'refused', reason: 'stopped', leader: NONE }
    this.#proposals.refuseQueued(refused)
    this.#reads.refuseAll(refused)
  }
}
