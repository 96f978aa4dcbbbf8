import type { Clock } from '../base/clock.ts'
import { AppendPipeline } from './append-pipeline.ts'
import { AppliedState } from './applied-state.ts'
import { ClientCalls } from './client-calls.ts'
import { leavesQuiet } from './core/quiescence.ts'
import type { Raft } from './core/raft.ts'
import { type ConfChange, type ConfState, type Entry, type Message, NONE, type ProgressStatus, type Ready } from './core/types.ts'
import { Fitness } from './fitness.ts'
import { GroupTime } from './group-time.ts'
import { LeaderTransfer, type TransferOutcome } from './leader-transfer.ts'
import type { GroupLog } from './log/group-log.ts'
import { type MemberChangeOutcome, MemberChanges } from './member-changes.ts'
import type { Envelope } from './message-codec.ts'
import type { ReplicaApi } from './replica-api.ts'
import { makeCore, type ReplicaOptions } from './replica-options.ts'
import type { MembersContext, Standing } from './standing.ts'
import type { ProposalOutcome, ReadKind, ReadOutcome, StateMachine } from './state-machine.ts'

/**
 * Drives one replica: the pure core (`core/raft.ts`), the log, the state machine and the messenger. The duties numbered in raft/README.md
 * are met here. Appending, sending and applying are three pipelines, none waits for another. What one turn brings in (messages,
 * proposals, reads) is drained once, at the end of the turn.
 */
export class Replica<Result> implements ReplicaApi<Result> {
  readonly #options: ReplicaOptions<Result>
  readonly #core: Raft
  readonly #log: GroupLog
  readonly #time: GroupTime
  readonly #calls: ClientCalls<Result>
  readonly #appends: AppendPipeline
  readonly #transfer: LeaderTransfer
  readonly #fitness: Fitness
  readonly #members: MemberChanges<Result>
  readonly #state: AppliedState<Result>
  #drainScheduled = false
  readonly #drainTask = () => this.#drain()
  /** It follows in a quiet group. */
  #rests = false
  #stopped: Error | undefined

  constructor(options: ReplicaOptions<Result>) {
    this.#options = options
    const { group, clock, log, stateMachine, leaseMs } = options
    this.#log = log
    this.#time = new GroupTime(clock, stateMachine.timeMs ?? 0)
    this.#core = makeCore(options)
    this.#transfer = new LeaderTransfer(this.#core, options.electionTicks)
    this.#fitness = new Fitness(this.#core, options.electionTicks, (ended) => this.#handOver(ended))
    this.#calls = new ClientCalls({ group, clock, leaseMs, core: this.#core, applied: stateMachine.durable.index })
    this.#members = new MemberChanges(this.#core, this.#calls, stateMachine.durable)
    this.#state = new AppliedState({
      options,
      core: this.#core,
      time: this.#time,
      calls: this.#calls,
      fitness: this.#fitness,
      members: this.#members,
      guard: (action) => this.#guard(action),
      wake: () => this.#wake(),
      onFailed: (error) => this.#stop(error),
    })
    this.#appends = new AppendPipeline({
      log,
      forgetVote: options.unsafe?.forgetVote === true,
      send: (messages) => this.#sendAll(messages),
      onHanded: () => this.#fitness.appendHanded(),
      onDurable: (last, messages) => this.#durable(last, messages),
    })
    log.onLoaded = () => {
      this.#guard(() => this.#core.entriesLoaded())
      this.#wake()
    }
  }

  /** Goes to work: applies what was committed before the start. To be called once. */
  begin(): void {
    this.#state.start()
    this.#wake()
  }

  get group(): string {
    return this.#options.group
  }

  get replica(): number {
    return this.#options.replica
  }

  get role(): 'leader' | 'follower' | 'candidate' | 'learner' {
    if (this.#stopped !== undefined) return 'follower'
    const { role } = this.#core
    if (role === 'follower' && this.conf.learners.includes(this.replica)) return 'learner'
    return role === 'preCandidate' ? 'candidate' : role
  }

  get leader(): number {
    return this.#stopped === undefined ? this.#core.leader : NONE
  }

  get term(): number {
    return this.#core.term
  }

  get conf(): ConfState {
    return this.#core.membership.conf
  }

  /** As of what is applied here. */
  get members(): Omit<Standing, 'index' | 'term'> {
    return this.#members.members
  }

  get applied(): number {
    return this.#state.applied
  }

  get commit(): number {
    return this.#state.commit
  }

  get log(): GroupLog {
    return this.#log
  }

  get stateMachine(): StateMachine<Result> {
    return this.#options.stateMachine
  }

  /** Why this replica stopped; undefined: it runs. */
  get failure(): Error | undefined {
    return this.#stopped
  }

  /** How far each replica is, learners too, as a leader knows it; empty on others. */
  progress(): readonly ProgressStatus[] {
    return this.role === 'leader' ? this.#core.progress() : []
  }

  groupTimeMs(): number {
    return this.#time.now()
  }

  propose(data: Uint8Array, done: (outcome: ProposalOutcome<Result>) => void): void {
    this.#calls.propose(data, done)
    this.#wake()
  }

  readIndex(done: (outcome: ReadOutcome) => void, kind: ReadKind = 'quorum'): void {
    this.#calls.read(done, kind)
    this.#wake()
  }

  get freshAsOfMs(): number {
    return this.#calls.freshAsOfMs
  }

  /** Changes who the group's members are, if this replica leads: one change at a time. `done` is called exactly once, perhaps within this call. */
  changeMembers(change: ConfChange, context: MembersContext, done: (outcome: MemberChangeOutcome) => void): void {
    if (this.#stopped !== undefined) done({ kind: 'refused', reason: 'stopped', leader: NONE })
    else this.#guard(() => this.#members.propose(change, context, done))
    this.#wake()
  }

  /** Hands the office to replica `to`. `done` is called exactly once, at the latest after two election timeouts. */
  transferLeadership(to: number, done: (outcome: TransferOutcome) => void): void {
    if (this.#stopped !== undefined) done({ kind: 'refused', reason: 'stopped', leader: NONE })
    else this.#guard(() => this.#transfer.request(to, done))
    this.#wake()
  }

  /** False: from now on this replica neither campaigns nor takes an office that is handed to it. */
  allowCampaign(allowed: boolean): void {
    if (this.#stopped !== undefined) return
    this.#guard(() => this.#core.allowCampaign(allowed))
    this.#wake()
  }

  /** The other voters, as a leader knows them; the one that could take over soonest first. */
  successors(): readonly number[] {
    if (this.role !== 'leader') return []
    const { voters } = this.conf
    return this.progress()
      .filter((peer) => voters.includes(peer.replica) && peer.replica !== this.replica)
      .sort((a, b) => Number(b.active) - Number(a.active) || b.match - a.match)
      .map((peer) => peer.replica)
  }

  /** Nobody of the group has anything to do (`core/quiescence.ts`). */
  get quiet(): boolean {
    return this.#stopped === undefined && this.#core.quiet
  }

  get needsTicks(): boolean {
    return this.#stopped === undefined && !this.#core.quiet
  }

  /** Ends the quiet; the leader's node, where it is another, was not heard for `silentTicks`. */
  wake(silentTicks: number): void {
    if (!this.quiet) return
    this.#core.wake(silentTicks)
    this.#wake()
  }

  /** The process in which replica `leader` led is gone: this one campaigns after `delayTicks`. */
  leaderLost(leader: number, delayTicks: number): void {
    if (this.#stopped !== undefined) return
    this.#core.leaderLost(leader, delayTicks)
    this.#wake()
  }

  /** `at`: the number of the process's tick. */
  tick(at: number): void {
    if (this.#stopped !== undefined) return
    if (this.#core.quiet) {
      this.#core.tick(at)
      return
    }
    const keptBack = this.#keepsBack
    this.#guard(() => this.#core.tick(at))
    this.#guard(() => this.#fitness.tick(at))
    this.#transfer.tick()
    if (this.#core.hasReady() || keptBack || this.#keepsBack) this.#wake()
  }

  step(message: Message, envelope: Envelope): void {
    if (this.#stopped !== undefined) return
    this.#guard(() => {
      const { quiet, leader } = this.#core
      if (quiet && message.from !== leader && !leavesQuiet(message)) this.#core.wake(this.#options.silentTicks(leader))
      this.#core.step(message)
      if (message.term === this.#core.term && message.from === this.#core.leader) {
        this.#time.hear(message.term, envelope.groupTimeMs)
        this.#state.matchedTo(envelope.allMatched)
      }
    })
    this.#wake()
  }

  /** A message to replica `peer` was not taken: it may have missed entries. */
  reportUnreachable(peer: number): void {
    if (this.#stopped !== undefined) return
    this.#guard(() => this.#core.reportUnreachable(peer))
    this.#wake()
  }

  /** Resolves once `index` is applied here. Rejects with OstrakaError: DEADLINE after `timeoutMs`, UNAVAILABLE when the replica stops. */
  whenApplied(index: number, clock: Clock, timeoutMs: number): Promise<void> {
    return this.#calls.whenApplied(index, clock, timeoutMs)
  }

  /** The oldest segment of the node's log must go, and this group pins it: makes durable what is applied, and truncates. */
  freeLog(): void {
    this.#guard(() => this.#state.freeLog())
  }

  /** Its state machine cannot go on: it stops as by a fault of its own. */
  fail(error: Error): void {
    this.#stop(error)
  }

  /** Stops without a failure: what is pending is answered, nothing more is sent or applied. */
  stop(): void {
    this.#end(new Error('the replica was stopped'))
  }

  #wake(): void {
    if (this.#drainScheduled) return
    this.#drainScheduled = true
    this.#options.turn.drain(this.#drainTask)
  }

  #drain(): void {
    this.#drainScheduled = false
    if (this.#stopped !== undefined) {
      this.#calls.refuseAll()
      return
    }
    this.#guard(() => {
      this.#transfer.check()
      const keepBack = this.#keepsBack
      this.#calls.submit(keepBack, this.#transfer.heir)
      while (this.#core.hasReady()) this.#handle(this.#core.ready())
      this.#transfer.check()
      if (keepBack && !this.#keepsBack) this.#wake()
      this.#settleTime()
    })
    if (this.needsTicks) this.#options.wantTicks()
  }

  /** Who leads is about to change, from here or to here: what clients want waits until it is known. */
  get #keepsBack(): boolean {
    return this.#transfer.underWay || this.#core.takesOffice
  }

  /** In a quiet group no message brings the leader's time: until it wakes this replica's own clock goes on for it. */
  #settleTime(): void {
    const rests = this.#core.quiet && this.#core.role === 'follower'
    if (rests === this.#rests) return
    this.#rests = rests
    if (rests) this.#time.run()
    else if (this.#core.role !== 'leader') this.#time.stand()
  }

  /** raft/README.md, duties of the driver. */
  #handle(ready: Ready): void {
    if (ready.softState !== undefined) this.#softStateChanged()
    this.#appends.persist(ready)
    this.#calls.sending(ready.messages)
    this.#sendAll(ready.messages)
    this.#state.handle(ready)
    if (this.#calls.settleReads(ready, this.#keepsBack)) this.#wake()
  }

  /** An append is durable that ended with `last`. */
  #durable(last: Entry | undefined, messages: readonly Message[]): void {
    if (this.#stopped !== undefined) return
    this.#guard(() => {
      this.#fitness.appendDurable()
      if (last !== undefined) this.#core.appended(last.term, last.index)
      this.#sendAll(messages)
    })
    this.#wake()
  }

  /** The disk stalls. `ended` is called when another has the office, or nobody takes it. */
  #handOver(ended: () => void): void {
    const [target] = this.successors()
    this.#options.logger.warn({ to: target }, 'the disk does not answer: this replica gives its leadership up')
    if (target === undefined) ended()
    else this.#transfer.request(target, ended)
  }

  #softStateChanged(): void {
    if (this.#core.role === 'leader') {
      this.#time.run()
    } else {
      this.#time.stand()
      this.#calls.loseBehind(this.commit)
    }
    this.#options.onSoftState()
  }

  #sendAll(messages: readonly Message[]): void {
    if (messages.length === 0 || this.#stopped !== undefined) return
    const envelope = {
      group: this.#options.group,
      groupTimeMs: this.#time.now(),
      allMatched: this.#state.allMatched(),
    }
    for (const message of messages) {
      if (message.to === this.#options.replica) this.#guard(() => this.#core.step(message))
      else this.#options.send(message, envelope)
    }
  }

  #guard(action: () => void): void {
    try {
      action()
    } catch (error) {
      this.#stop(error instanceof Error ? error : new Error(String(error)))
    }
  }

  #stop(error: Error): void {
    if (this.#stopped !== undefined) return
    this.#end(error)
    this.#options.onStopped(error)
  }

  #end(error: Error): void {
    if (this.#stopped !== undefined) return
    this.#stopped = error
    this.#time.stand()
    this.#log.onLoaded = undefined
    this.#state.stop()
    this.#transfer.stop()
    this.#calls.stop()
    this.#wake()
  }
}
