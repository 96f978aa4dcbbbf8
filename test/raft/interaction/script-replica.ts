import { must } from '../../../base/assert.ts'
import { decodeConfChange } from '../../../raft/core/conf-change-codec.ts'
import { entryBytes } from '../../../raft/core/message.ts'
import { Raft } from '../../../raft/core/raft.ts'
import {
  type ConfState,
  type CoreOptions,
  type Entry,
  EntryKind,
  type HardState,
  type Message,
  MessageType,
  type ReadState,
  type Ready,
  type SnapshotMeta,
  type SoftState,
} from '../../../raft/core/types.ts'
import { MemoryLog } from '../core/memory-log.ts'

/** What one thread of a replica tells the replica when work of it is done. */
export type Local =
  | { readonly kind: 'appended'; readonly term: number; readonly index: number }
  | { readonly kind: 'applied'; readonly index: number }

/** What one step of a replica showed. Messages and locals are for the pool. */
export class Effects {
  readonly messages: Message[] = []
  readonly locals: Local[] = []
  readonly hardStates: HardState[] = []
  readonly softStates: SoftState[] = []
  /** Given to the log. */
  readonly entries: Entry[] = []
  /** Given to be applied. */
  readonly committed: Entry[] = []
  readonly readStates: ReadState[] = []
  readonly lostReads: number[] = []
  /** What each write of the append thread had. */
  readonly writes: (readonly Entry[])[] = []

  add(other: Effects): void {
    this.messages.push(...other.messages)
    this.locals.push(...other.locals)
    this.hardStates.push(...other.hardStates)
    this.softStates.push(...other.softStates)
    this.entries.push(...other.entries)
    this.committed.push(...other.committed)
    this.readStates.push(...other.readStates)
    this.lostReads.push(...other.lostReads)
    this.writes.push(...other.writes)
  }
}

export interface ScriptReplicaSetup {
  readonly options: Omit<CoreOptions, 'self' | 'conf' | 'hardState' | 'applied' | 'log'>
  readonly conf: ConfState
  /** The log begins behind this entry of term 1; 0: it is empty. */
  readonly index: number
  /** Writes and applying are threads of their own, which the script runs. */
  readonly asyncStorage: boolean
  /** Requests for votes do not wait for the disk. Only for scripts in which nothing crashes. */
  readonly hastyVoteRequests: boolean
  /** Bytes of entries that one Ready's handling applies; at least one entry. */
  readonly maxApplyBytes: number
}

/**
 * A core and a driver whose every stage the script runs by hand. Without `asyncStorage` the handling of a Ready writes, makes durable, applies and
 * acknowledges at once.
 */
export class ScriptReplica {
  readonly id: number
  raft: Raft
  log: MemoryLog
  readonly #setup: ScriptReplicaSetup
  /** Readys that were taken early and are not yet handled. */
  #held: Ready[] = []
  /** The append thread's work: Readys that are written and not durable. */
  #appends: Ready[] = []
  /** The apply thread's work. */
  #applies: (readonly Entry[])[] = []
  /** What the core allowed to be applied. */
  #commit: number
  /** What was given to be applied. */
  #given: number
  /** The state machine: durable as it applies. */
  #applied: SnapshotMeta

  constructor(id: number, setup: ScriptReplicaSetup) {
    this.id = id
    this.#setup = setup
    const base = { index: setup.index, term: setup.index === 0 ? 0 : 1 }
    this.log = new MemoryLog([], { term: 0, vote: 0, commit: setup.index }, base)
    this.#applied = { ...base, conf: setup.conf }
    this.#commit = setup.index
    this.#given = setup.index
    this.raft = this.#start()
  }

  #start(): Raft {
    const { conf, index } = this.#applied
    return new Raft({ ...this.#setup.options, self: this.id, conf, hardState: this.log.hardState, applied: index, log: this.log })
  }

  get conf(): ConfState {
    return this.raft.membership.conf
  }

  /** Bytes that may be on their way to one follower. */
  get windowBytes(): number {
    return this.#setup.options.maxInflightBytes
  }

  /** The state that this replica has applied, as a snapshot. */
  get snapshot(): SnapshotMeta {
    return this.#applied
  }

  get hasReady(): boolean {
    return this.#held.length > 0 || this.raft.hasReady() || this.#given < this.#commit
  }

  get hasAppendWork(): boolean {
    return this.#appends.length > 0
  }

  get hasApplyWork(): boolean {
    return this.#applies.length > 0
  }

  /** Takes a Ready now; `handleReady` handles it later. So what is proposed next is sent apart. */
  holdReady(): void {
    if (this.raft.hasReady()) this.#held.push(this.#take())
  }

  /** Handles what was held and one Ready more; also what installing an offered snapshot makes due. */
  handleReady(): Effects {
    const effects = new Effects()
    this.holdReady()
    const readys = this.#held
    this.#held = []
    for (const ready of readys) {
      this.#handle(ready, effects)
      if (ready.snapshot === undefined) continue
      this.#install(ready.snapshot, effects)
      if (this.raft.hasReady()) this.#handle(this.#take(), effects)
    }
    this.#giveToApply(effects)
    if (this.#setup.asyncStorage) return effects
    while (this.hasAppendWork) this.#write(effects, true)
    while (this.hasApplyWork) this.raft.applied(this.#apply())
    return effects
  }

  /** The oldest write becomes durable. */
  processAppend(): Effects {
    const effects = new Effects()
    this.#write(effects, false)
    return effects
  }

  processApply(): Effects {
    const effects = new Effects()
    effects.locals.push({ kind: 'applied', index: this.#apply() })
    return effects
  }

  take(local: Local): void {
    if (local.kind === 'appended') this.raft.appended(local.term, local.index)
    else this.raft.applied(local.index)
  }

  /** Drops the log's front. */
  compact(index: number): void {
    this.log.truncateFront(Math.min(index, this.#applied.index))
  }

  /** Starts again from what is durable: the log's writes that were done, and all that was applied. */
  crash(): void {
    this.log = this.log.afterCrash(this.#applied)
    this.#held = []
    this.#appends = []
    this.#applies = []
    this.#commit = this.#applied.index
    this.#given = this.#applied.index
    this.raft = this.#start()
  }

  #take(): Ready {
    const ready = this.raft.ready()
    if (needsWrite(ready)) this.log.submit({ hardState: ready.hardState, entries: ready.entries, reset: undefined })
    return ready
  }

  #handle(ready: Ready, effects: Effects): void {
    if (ready.hardState !== undefined) effects.hardStates.push(ready.hardState)
    if (ready.softState !== undefined) effects.softStates.push(ready.softState)
    effects.entries.push(...ready.entries)
    effects.messages.push(...ready.messages, ...ready.messagesAfterAppend.filter((message) => this.#isHasty(message)))
    effects.readStates.push(...ready.readStates)
    effects.lostReads.push(...ready.lostReads)
    if (needsWrite(ready)) this.#appends.push(ready)
    this.#commit = ready.commit
  }

  #isHasty({ type }: Message): boolean {
    return this.#setup.hastyVoteRequests && type === MessageType.Vote
  }

  /** `direct`: the replica is told at once, not by way of the pool. */
  #write(effects: Effects, direct: boolean): void {
    const ready = must(this.#appends.shift(), 'a write to do')
    this.log.persist()
    effects.writes.push(ready.entries)
    const last = ready.entries.at(-1)
    if (last !== undefined && direct) this.raft.appended(last.term, last.index)
    else if (last !== undefined) effects.locals.push({ kind: 'appended', term: last.term, index: last.index })
    for (const message of ready.messagesAfterAppend) {
      if (this.#isHasty(message)) continue
      if (message.to === this.id && direct) this.raft.step(message)
      else effects.messages.push(message)
    }
  }

  /** What is offered is had at once, as of the offer's index. */
  #install(meta: SnapshotMeta, effects: Effects): void {
    if (meta.index <= this.#applied.index) {
      this.raft.snapshotFailed()
      return
    }
    if (this.raft.snapshotInstalled(meta)) {
      // A reset is a write like any other: what was submitted before it is durable first.
      while (this.hasAppendWork) this.#write(effects, true)
      this.log.submit({ hardState: undefined, entries: [], reset: meta })
      this.log.persist()
    }
    this.#commit = Math.max(this.#commit, meta.index)
    this.#given = meta.index
    this.#applied = meta
  }

  #giveToApply(effects: Effects): void {
    const entries: Entry[] = []
    let bytes = 0
    while (this.#given < this.#commit) {
      const next = must(this.log.entry(this.#given + 1), `entry ${this.#given + 1} to apply`)
      bytes += entryBytes(next)
      if (entries.length > 0 && bytes > this.#setup.maxApplyBytes) break
      entries.push(next)
      this.#given++
    }
    if (entries.length === 0) return
    effects.committed.push(...entries)
    this.#applies.push(entries)
  }

  #apply(): number {
    for (const { term, index, kind, data } of must(this.#applies.shift(), 'entries to apply')) {
      if (kind === EntryKind.ConfChange) this.raft.applyConfChange(must(decodeConfChange(data), 'a conf change').change)
      this.#applied = { term, index, conf: this.conf }
    }
    return this.#applied.index
  }
}

/** Whether the log, or whoever waits for it, has anything of a Ready. */
function needsWrite({ hardState, entries, messagesAfterAppend }: Ready): boolean {
  return hardState !== undefined || entries.length > 0 || messagesAfterAppend.length > 0
}
