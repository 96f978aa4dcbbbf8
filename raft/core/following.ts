import { draftMessage, type Outbox } from './message.ts'
import type { RaftLog } from './raft-log.ts'
import { type Message, MessageType, NONE, type ReplicaNumber, type SnapshotMeta } from './types.ts'

/** What a replica does at a leader's word: takes entries, the commit index and offers of snapshots, and answers. Terms are settled before. */
export class Following {
  readonly #self: ReplicaNumber
  readonly #log: RaftLog
  readonly #outbox: Outbox
  readonly #promises: boolean
  /** An offered snapshot that the driver is fetching or installing. */
  #installing: SnapshotMeta | undefined
  /** The same, as long as no Ready has shown it. */
  #offer: SnapshotMeta | undefined

  /** `promises`: its answers to heartbeats say that a lease may rest on them. */
  constructor(self: ReplicaNumber, log: RaftLog, outbox: Outbox, promises: boolean) {
    this.#self = self
    this.#promises = promises
    this.#log = log
    this.#outbox = outbox
  }

  get isInstalling(): boolean {
    return this.#installing !== undefined
  }

  get offer(): SnapshotMeta | undefined {
    return this.#offer
  }

  offerShown(): void {
    this.#offer = undefined
  }

  handleAppend(message: Message): void {
    if (message.index < this.#log.commit) {
      // What is committed agrees with every leader's log.
      this.#accept(message.from, message.term, this.#log.commit)
    } else if (this.#log.term(message.index) === message.logTerm) {
      if (!isRun(message)) return
      this.#log.merge(message.entries)
      const last = message.index + message.entries.length
      this.#log.commitTo(Math.min(message.commit, last))
      this.#accept(message.from, message.term, last)
    } else {
      this.#reject(message)
    }
  }

  /** The answer to an Append of one that can begin with a snapshot only. */
  askForSnapshot(message: Message): void {
    const answer = draftMessage(MessageType.AppendResponse, this.#self, message.from, message.term)
    answer.reject = true
    answer.index = message.index
    answer.context = 1
    this.#outbox.send(answer)
  }

  handleHeartbeat(message: Message): void {
    this.#log.commitTo(message.commit)
    const answer = draftMessage(MessageType.HeartbeatResponse, this.#self, message.from, message.term)
    answer.context = message.context
    answer.hintIndex = this.#promises ? 1 : 0
    this.#outbox.send(answer)
  }

  /** Returns whether this replica is quiet from now on: it has exactly what the leader has, durably and applied, and nothing is under way. `fit`: nor is it lacking anything. */
  handleQuiesce(message: Message, fit: boolean): boolean {
    const { lastIndex, lastTerm, commit, stableIndex, applied } = this.#log
    const matches = lastIndex === message.index && lastTerm === message.logTerm
    const agrees = fit && matches && commit === lastIndex && stableIndex === lastIndex && applied === lastIndex && !this.isInstalling
    this.sayQuiet(message.from, message.term, message.context, agrees)
    return agrees
  }

  /** `quiet` false: asks the leader for heartbeats. */
  sayQuiet(leader: ReplicaNumber, term: number, attempt: number, quiet: boolean): void {
    const answer = draftMessage(MessageType.QuiesceResponse, this.#self, leader, term)
    answer.context = attempt
    answer.reject = !quiet
    this.#outbox.send(answer)
  }

  handleSnapshot(message: Message): void {
    const meta = message.snapshot
    if (meta === undefined || this.#installing !== undefined) return
    if (meta.index <= this.#log.commit || this.#log.term(meta.index) === meta.term) {
      this.#log.commitTo(meta.index)
      this.#accept(message.from, message.term, this.#log.commit)
    } else {
      this.#installing = meta
      this.#offer = meta
    }
  }

  /** The state machine stands at `meta`. Tells `leader`, if there is one. Returns whether the log is discarded. */
  installed(meta: SnapshotMeta, leader: ReplicaNumber, term: number): boolean {
    this.#endInstall()
    const reset = this.#log.installSnapshot(meta.index, meta.term)
    if (leader !== NONE) this.#accept(leader, term, meta.index)
    return reset
  }

  /** Nothing was installed. Tells `leader`, if there is one. */
  failed(leader: ReplicaNumber, term: number): void {
    const meta = this.#installing
    this.#endInstall()
    if (meta === undefined || leader === NONE) return
    const message = draftMessage(MessageType.SnapshotStatus, this.#self, leader, term)
    message.index = meta.index
    message.reject = true
    this.#outbox.send(message)
  }

  #endInstall(): void {
    this.#installing = undefined
    this.#offer = undefined
  }

  #accept(leader: ReplicaNumber, term: number, index: number): void {
    const answer = draftMessage(MessageType.AppendResponse, this.#self, leader, term)
    answer.index = index
    this.#outbox.sendAfterAppend(answer)
  }

  /** Says where the logs may agree, so that the leader steps back over a whole term at a time (Raft, 5.3). */
  #reject(message: Message): void {
    const hint = this.#log.lastWithTermAtMost(Math.min(message.index, this.#log.lastIndex), message.logTerm)
    const answer = draftMessage(MessageType.AppendResponse, this.#self, message.from, message.term)
    answer.reject = true
    answer.index = message.index
    // What is committed here agrees in any case.
    answer.hintIndex = Math.max(hint, this.#log.commit)
    answer.hintTerm = this.#log.term(answer.hintIndex) ?? 0
    this.#outbox.send(answer)
  }
}

/** Whether the entries of an Append follow on each other and on its (index, logTerm). */
function isRun(message: Message): boolean {
  let index = message.index
  let term = message.logTerm
  for (const entry of message.entries) {
    if (entry.index !== index + 1 || entry.term < term || entry.term > message.term) return false
    index = entry.index
    term = entry.term
  }
  return true
}
