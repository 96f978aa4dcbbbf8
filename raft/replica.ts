import type { Clock } from '../base/clock.ts'
import { AppliedWaiters } from './applied-waiters.ts'
import { ApplyPump } from './apply-pump.ts'
import { leavesQuiet } from './core/quiescence.ts'
import type { Raft } from './core/raft.ts'
import { type ConfChange, type ConfState, type Entry, type Message, NONE, type ProgressStatus, type Ready } from './core/types.ts'
import { Fitness } from './fitness.ts'
import { GroupTime } from './group-time.ts'
import { LeaderTransfer, type TransferOutcome } from './leader-transfer.ts'
import { Lease } from './lease.ts'
import type { GroupLog } from './log/group-log.ts'
import { LogTruncation } from './log-truncation.ts'
import { type MemberChangeOutcome, MemberChanges } from './member-changes.ts'
import type { Envelope } from './message-codec.ts'
import { PendingProposals } from './pending-proposals.ts'
import { PendingReads } from './pending-reads.ts'
import type { ReplicaApi } from './replica-api.ts'
import { makeCore, type ReplicaOptions } from './replica-options.ts'
import { SnapshotInstall } from './snapshot-install.ts'
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
  readonly #proposals = new PendingProposals<Result>()
  readonly #reads = new PendingReads()
  readonly #lease: Lease | undefined
  /** Messages that wait for the durability of an append, behind which they were made; the last list is the newest append's. */
  readonly #unsynced: Message[][] = []
  readonly #pump: ApplyPump<Result>
  readonly #truncation: LogTruncation
  readonly #waiters: AppliedWaiters
  readonly #transfer: LeaderTransfer
  readonly #fitness: Fitness
  readonly #install: SnapshotInstall
  readonly #members: MemberChanges<Result>
  #drainScheduled = false
  readonly #drainTask = () => this.#drain()
  /** It follows in a quiet group. */
  #rests = false
  #stopped: Error | undefined

  constructor(options: ReplicaOptions<Result>) {
    this.#options = options
    const { clock, log, stateMachine } = options
    this.#log = log
    this.#lease = options.leaseMs === undefined ? undefined : new Lease(clock, options.leaseMs)
    this.#time = new GroupTime(clock, stateMachine.timeMs ?? 0)
    this.#pump = new ApplyPump({
      clock,
      log,
      stateMachine,
      commit: options.hardState.commit,
      onApplied: (entries, results) => this.#applied(entries, results),
      onSnapshotNeeded: (index) => this.#needSnapshot(index),
      onFailed: (error) => this.#stop(error),
    })
    this.#truncation = new LogTruncation({
      log,
      stateMachine,
      snapshotLogBytes: options.snapshotLogBytes,
      applied: () => this.#pump.applied,
      stable: () => this.#core.stableIndex,
      fetchedSnapshot: () => this.#core.lowestPendingSnapshot(),
      onTruncated: options.onTruncated,
      onFailed: (error) => this.#stop(error),
    })
    this.#waiters = new AppliedWaiters(options.group, this.#pump.applied)
    this.#core = makeCore(options, this.#pump)
    this.#transfer = new LeaderTransfer(this.#core, options.electionTicks)
    this.#fitness = new Fitness(this.#core, options.electionTicks, (ended) => this.#handOver(ended))
    this.#install = this.#makeInstall()
    this.#members = new MemberChanges(this.#core, this.#proposals, stateMachine.durable)
    log.onLoaded = () => {
      this.#guard(() => this.#core.entriesLoaded())
      this.#wake()
    }
    stateMachine.onDurable = () => this.#guard(() => this.#truncation.maybeTruncate())
    this.#pump.run()
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
    return this.#pump.applied
  }

  get commit(): number {
    return this.#pump.commit
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

  /** The replicas heard of lately, as a leader knows it; empty on others. */
  activePeers(): readonly number[] {
    return this.progress()
      .filter((peer) => peer.active)
      .map((peer) => peer.replica)
  }

  groupTimeMs(): number {
    return this.#time.now()
  }

  propose(data: Uint8Array, done: (outcome: ProposalOutcome<Result>) => void): void {
    this.#proposals.queue(data, done)
    this.#wake()
  }

  readIndex(done: (outcome: ReadOutcome) => void, kind: ReadKind = 'quorum'): void {
    this.#reads.queue(done, kind)
    this.#wake()
  }

  get freshAsOfMs(): number {
    return this.#reads.freshAsOfMs
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
    this.#guard(() => this.#core.tick(at))
    this.#guard(() => this.#fitness.tick(at))
    this.#transfer.tick()
    if (this.#core.hasReady() || this.#transfer.underWay) this.#wake()
  }

  step(message: Message, envelope: Envelope): void {
    if (this.#stopped !== undefined) return
    this.#guard(() => {
      const { quiet, leader } = this.#core
      if (quiet && message.from !== leader && !leavesQuiet(message)) this.#core.wake(this.#options.silentTicks(leader))
      this.#core.step(message)
      if (message.term === this.#core.term && message.from === this.#core.leader) {
        this.#time.hear(envelope.groupTimeMs)
        this.#truncation.matchedTo(envelope.allMatched)
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
    return this.#waiters.wait(index, clock, timeoutMs)
  }

  /** The oldest segment of the node's log must go, and this group pins it: makes durable what is applied, and truncates. */
  freeLog(): void {
    this.#guard(() => this.#truncation.free())
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
      this.#proposals.refuseQueued('stopped', NONE)
      this.#reads.refuseAll('stopped', NONE)
      return
    }
    this.#guard(() => {
      this.#transfer.check()
      const keepBack = this.#transfer.underWay
      if (!keepBack) this.#proposals.submit((datas) => this.#core.propose(datas))
      if (!keepBack || this.#core.role === 'leader') this.#submitReads()
      while (this.#core.hasReady()) this.#handle(this.#core.ready())
      this.#transfer.check()
      if (keepBack && !this.#transfer.underWay) this.#wake()
      this.#settleTime()
    })
    if (this.needsTicks) this.#options.wantTicks()
  }

  #submitReads(): void {
    const { term, office, leader } = this.#core
    const nowMs = this.#options.clock.monotonicMs()
    this.#reads.submitLeased(this.#lease?.index(term, office), nowMs)
    this.#reads.submit(this.#core, leader, nowMs)
    this.#reads.release(this.#pump.applied)
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
    this.#persist(ready)
    this.#lease?.sending(this.#core.term, this.#core.office, ready.messages)
    this.#sendAll(ready.messages)
    this.#pump.commitTo(ready.commit)
    if (ready.snapshot !== undefined) this.#install.offered(ready.snapshot.index)
    for (const { context, index } of ready.readStates) this.#reads.confirmed(context, index)
    for (const context of ready.lostReads) {
      if (this.#transfer.underWay) this.#reads.requeue(context)
      else this.#reads.lost(context, this.#core.leader)
    }
    this.#reads.release(this.#pump.applied)
    if (this.#reads.hasQueued) this.#wake()
  }

  /** The disk stalls. `ended` is called when another has the office, or nobody takes it. */
  #handOver(ended: () => void): void {
    const [target] = this.successors()
    this.#options.logger.warn({ to: target }, 'the disk does not answer: this replica gives its leadership up')
    if (target === undefined) ended()
    else this.#transfer.request(target, ended)
  }

  /** It must not lead until it has one: it could not apply what it commits. */
  #needSnapshot(index: number): void {
    this.#options.logger.warn({ index }, 'an entry cannot be applied without a snapshot from a peer')
    this.#guard(() => this.#fitness.needSnapshot(true))
    // What is committed will not be applied here: it comes with the snapshot.
    this.#proposals.loseBehind(0)
    this.#install.needed(index)
    this.#wake()
  }

  /** The state machine's edit was the commit point; the log's mark comes next, and the answer to the leader leaves behind it. */
  #installed(standing: Standing): void {
    const { index } = standing
    if (this.#core.snapshotInstalled(standing)) this.#log.reset(index, standing.term)
    this.#members.installed(standing)
    this.#options.onMembers()
    this.#fitness.needSnapshot(false)
    this.#proposals.loseBehind(0)
    this.#pump.installed(index)
    this.#time.hear(this.#options.stateMachine.timeMs ?? 0)
    this.#reads.release(index)
    this.#waiters.appliedTo(index)
    this.#truncation.maybeTruncate()
    this.#wake()
  }

  #makeInstall(): SnapshotInstall {
    const { clock, logger, peers, stateMachine, replica: self } = this.#options
    return new SnapshotInstall({
      clock,
      logger,
      peers,
      stateMachine,
      pump: this.#pump,
      candidates: () => {
        const { leader, membership } = this.#core
        return [leader, ...membership.replicas.filter((peer) => peer !== leader)].filter((peer) => peer !== NONE && peer !== self)
      },
      onInstalled: (standing) => this.#installed(standing),
      onDeclined: () => {
        this.#guard(() => this.#core.snapshotFailed())
        this.#wake()
      },
      onFailed: (error) => this.#stop(error),
    })
  }

  #softStateChanged(): void {
    if (this.#core.role === 'leader') {
      this.#time.run()
    } else {
      this.#time.stand()
      this.#proposals.loseBehind(this.#pump.commit)
    }
    this.#options.onSoftState()
  }

  /** Messages that must not leave before an append is durable leave in its callback; those behind which nothing is unsynced leave at once. */
  #persist(ready: Ready): void {
    const { entries, messagesAfterAppend: messages } = ready
    const hardState =
      this.#options.unsafe?.forgetVote && ready.hardState !== undefined ? { ...ready.hardState, vote: NONE } : ready.hardState
    if (entries.length === 0 && (hardState === undefined || !ready.mustSync)) {
      if (hardState !== undefined) this.#log.append(entries, hardState, undefined)
      const newest = this.#unsynced.at(-1)
      if (newest === undefined) this.#sendAll(messages)
      else newest.push(...messages)
      return
    }
    const waiting = [...messages]
    this.#unsynced.push(waiting)
    this.#fitness.appendHanded()
    const last = entries.at(-1)
    this.#log.append(entries, hardState, () => {
      this.#unsynced.shift()
      if (this.#stopped !== undefined) return
      this.#guard(() => {
        this.#fitness.appendDurable()
        if (last !== undefined) this.#core.appended(last.term, last.index)
        this.#sendAll(waiting)
      })
      this.#wake()
    })
  }

  #sendAll(messages: readonly Message[]): void {
    if (messages.length === 0 || this.#stopped !== undefined) return
    const envelope = {
      group: this.#options.group,
      groupTimeMs: this.#time.now(),
      allMatched: this.#core.role === 'leader' ? this.#allMatched() : 0,
    }
    for (const message of messages) {
      if (message.to === this.#options.replica) this.#guard(() => this.#core.step(message))
      else this.#options.send(message, envelope)
    }
  }

  /** As a leader knows it. */
  #allMatched(): number {
    this.#truncation.matchedTo(this.#core.matchedByAll())
    return this.#truncation.allMatched
  }

  #applied(entries: readonly Entry[], results: readonly Result[]): void {
    const { applied } = this.#pump
    this.#time.hear(this.#options.stateMachine.timeMs ?? 0)
    const membersChanged = this.#members.applied(entries)
    this.#core.applied(applied)
    if (membersChanged) this.#options.onMembers()
    this.#proposals.applied(entries, results)
    this.#reads.release(applied)
    this.#waiters.appliedTo(applied)
    // Where a leader is alone no message asks for it.
    if (this.#core.role === 'leader') this.#allMatched()
    this.#truncation.maybeTruncate()
    this.#truncation.maybeFlush()
    this.#wake()
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
    this.#options.stateMachine.onDurable = undefined
    this.#log.onLoaded = undefined
    this.#install.stop()
    this.#pump.stop()
    this.#truncation.stop()
    this.#waiters.stop()
    this.#transfer.stop()
    this.#proposals.loseBehind(0)
    this.#wake()
  }
}
