import type { Clock, Timer } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'
import type { Member } from '../proto/config.ts'
import { OstrakaError } from '../proto/errors.ts'
import { CatchUp, type MemberStep, nextMemberStep } from './member-step.ts'
import type { Replica } from './replica.ts'

const reportAgainMs = 500
/** How often a leader looks at learners that have not caught up, per election timeout. */
const looksPerTimeout = 4

type Led = Pick<
  Replica<unknown>,
  'group' | 'replica' | 'role' | 'members' | 'log' | 'progress' | 'successors' | 'propose' | 'changeMembers' | 'transferLeadership'
>

/** Who a group's members are to be. */
export interface WantedMembers {
  readonly members: readonly Member[]
  /** Of what wants it: a config's number, the version of the controllers' list. Only rises. */
  readonly number: number
}

/** What a group's log says of its members. */
export interface MembersReport {
  /** Uid. */
  readonly group: string
  /** Index of the newest change. */
  readonly index: number
  readonly voters: number[]
  readonly learners: number[]
}

export interface MembershipsOptions {
  readonly clock: Clock
  readonly logger: Logger
  readonly electionTimeoutMs: number
  /** As far as is known here; undefined: nothing is. */
  wanted(group: string): WantedMembers | undefined
  /** Tells who decides that what was wanted is done. Rejects with OstrakaErrors. */
  report(report: MembersReport): Promise<unknown>
  /** The replicas that run here. */
  hosted(): readonly { readonly replica: Led }[]
  onFatal(error: Error): void
}

/** What is under way for a group that is led here and whose members change. */
interface Change {
  readonly catchUp: CatchUp
  /** Index of the newest change that is known to be held: an entry that was appended when it was applied is committed. */
  heldAt: number | undefined
  busy: boolean
  timer: Timer | undefined
}

/**
 * Makes the members of the groups that are led here those that are wanted, one step at a time, and reports it. Nothing is remembered but in
 * the groups' logs: whoever leads next goes on where the last one ended. Where nothing is to change nothing runs.
 */
export class Memberships {
  readonly #options: MembershipsOptions
  readonly #changes = new Map<string, Change>()
  #closed = false

  constructor(options: MembershipsOptions) {
    this.#options = options
  }

  /** What is wanted has changed, or the role or the members of a replica. */
  check(): void {
    if (this.#closed) return
    const led = new Set<string>()
    for (const { replica } of this.#options.hosted()) {
      const wanted = replica.role === 'leader' ? this.#options.wanted(replica.group) : undefined
      if (wanted === undefined) continue
      led.add(replica.group)
      this.#look(replica, wanted)
    }
    for (const group of this.#changes.keys()) if (!led.has(group)) this.#end(group)
  }

  close(): void {
    this.#closed = true
    for (const group of [...this.#changes.keys()]) this.#end(group)
  }

  #look(replica: Led, wanted: WantedMembers): void {
    const { clock } = this.#options
    const change = this.#changes.get(replica.group) ?? this.#begin()
    if (change.busy) return
    const isWatched = change.timer !== undefined || wanted.members.some(({ state }) => state === 'joining')
    const caughtUp = isWatched ? change.catchUp.look(clock.monotonicMs(), replica.log.lastIndex, replica.progress()) : new Set<number>()
    const { members } = replica
    const successors = replica.successors()
    const step = nextMemberStep({
      self: replica.replica,
      wanted: wanted.members,
      configNumber: wanted.number,
      members,
      caughtUp,
      successors,
      held: change.heldAt === members.changedAt,
    })
    if (step.kind === 'nothing') {
      this.#end(replica.group)
      return
    }
    this.#changes.set(replica.group, change)
    change.timer?.cancel()
    change.timer = undefined
    this.#take(step, replica, wanted, change)
  }

  #take(step: Exclude<MemberStep, { kind: 'nothing' }>, replica: Led, wanted: WantedMembers, change: Change): void {
    const { logger } = this.#options
    if (step.kind === 'wait') {
      this.#lookAgain(change, this.#lookMs)
      return
    }
    change.busy = true
    const done = (outcome: { readonly kind: string }) => {
      logger.info({ group: replica.group, step, outcome }, 'a step of a change of members')
      change.busy = false
      this.#lookAgain(change, outcome.kind === 'refused' ? this.#lookMs : 0)
    }
    if (step.kind === 'report') this.#report(replica, change)
    else if (step.kind === 'hold') this.#hold(replica, change, done)
    else if (step.kind === 'hand-over') replica.transferLeadership(step.to, done)
    else {
      const nodes = new Map(wanted.members.map((member) => [member.replica, member.node]))
      replica.changeMembers({ transition: 'auto', steps: step.steps }, { nodes, configNumber: wanted.number }, done)
    }
  }

  /**
   * Whoever has the entry on its disk has with it that what the leader had applied is committed: the commit index comes with the entries and
   * lies in one batch with them.
   */
  #hold(replica: Led, change: Change, done: (outcome: { readonly kind: string }) => void): void {
    const { changedAt } = replica.members
    this.#options.logger.info(
      { group: replica.group, changedAt },
      'an entry is proposed behind a change of members: a quorum is to hold that it is committed',
    )
    replica.propose(new Uint8Array(0), (outcome) => {
      if (outcome.kind === 'applied') change.heldAt = changedAt
      done(outcome)
    })
  }

  #begin(): Change {
    return { catchUp: new CatchUp(this.#options.electionTimeoutMs), heldAt: undefined, busy: false, timer: undefined }
  }

  get #lookMs(): number {
    return this.#options.electionTimeoutMs / looksPerTimeout
  }

  #report({ group, members }: Led, change: Change): void {
    const { logger, onFatal } = this.#options
    const { conf, changedAt } = members
    const report = { group, index: changedAt, voters: [...conf.voters], learners: [...conf.learners] }
    this.#options
      .report(report)
      .catch((error: unknown) => {
        if (!(error instanceof OstrakaError)) throw error
        logger.debug({ group, error: error.message }, 'the members of a group could not be reported')
      })
      .then(
        () => {
          change.busy = false
          // Until what follows from it is known here; the answer may be lost, or come from a leader that is none any more.
          this.#lookAgain(change, reportAgainMs)
        },
        (error: unknown) => {
          if (!this.#closed) onFatal(error instanceof Error ? error : new Error(String(error)))
        },
      )
  }

  #lookAgain(change: Change, delayMs: number): void {
    change.timer?.cancel()
    change.timer = this.#closed ? undefined : this.#options.clock.setTimer(delayMs, () => this.check())
  }

  #end(group: string): void {
    const change = this.#changes.get(group)
    // What is under way ends by itself, and looks again.
    if (change === undefined || (change.busy && !this.#closed)) return
    change.timer?.cancel()
    this.#changes.delete(group)
  }
}
