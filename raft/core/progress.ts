import { Inflights } from './inflights.ts'
import type { ProgressState, ProgressStatus, ReplicaNumber, SnapshotMeta } from './types.ts'

/**
 * What a leader knows of one replica. Invariant: match < next. Every change of state is a method here; `Replication` decides when.
 */
export class Progress {
  readonly replica: ReplicaNumber
  readonly #inflights: Inflights
  #state: ProgressState = 'probe'
  /** The replica durably agrees with the leader's log up to here. Only rises. */
  #match = 0
  /** The next entry to send. In probe a guess that falls with rejections; in replicate it runs ahead of acknowledgements. */
  #next: number
  /** The highest commit index that a message to the replica made effective, if it arrived. */
  #sentCommit = 0
  /** Probe: one Append is out, no more until an answer or a heartbeat's answer. */
  #probeSent = false
  /** The entries to send are being loaded from disk. */
  #loading = false
  /** An Append is due even if it has nothing to carry: it makes the replica say where it stands. */
  #pokeDue = false
  #pendingSnapshot: SnapshotMeta | undefined
  /** Heard from since the last check of the quorum. */
  #active = false
  /** Checks of the quorum in a row before which it was not heard. */
  #silentPeriods = 0
  /** The newest read round that the replica has confirmed. */
  #confirmedRound = 0
  /** The newest that it has confirmed under its promise not to vote. */
  #promisedRound = 0

  constructor(replica: ReplicaNumber, next: number, maxInflightBytes: number) {
    this.replica = replica
    this.#next = next
    this.#inflights = new Inflights(maxInflightBytes)
  }

  get state(): ProgressState {
    return this.#state
  }

  get match(): number {
    return this.#match
  }

  get next(): number {
    return this.#next
  }

  get active(): boolean {
    return this.#active
  }

  get silentPeriods(): number {
    return this.#silentPeriods
  }

  get confirmedRound(): number {
    return this.#confirmedRound
  }

  get promisedRound(): number {
    return this.#promisedRound
  }

  get pendingSnapshot(): SnapshotMeta | undefined {
    return this.#pendingSnapshot
  }

  /** Nothing at all may be sent. */
  get paused(): boolean {
    return this.#loading || this.#state === 'snapshot' || (this.#state === 'probe' && this.#probeSent)
  }

  /** Whether entries may be sent; a full window still lets an Append without entries pass. */
  get admitsEntries(): boolean {
    return this.#state === 'probe' || !this.#inflights.full
  }

  /** Bytes of entries that the window still takes. */
  get room(): number {
    return this.#state === 'probe' ? Number.POSITIVE_INFINITY : this.#inflights.room
  }

  /** Whether an Append without entries has something to say. */
  wantsEmptyAppend(commit: number): boolean {
    return this.#pokeDue || Math.min(commit, this.#next - 1) > this.#sentCommit
  }

  heard(): void {
    this.#active = true
  }

  /** Begins a new period of the quorum check. */
  forgetActivity(): void {
    this.#silentPeriods = this.#active ? 0 : this.#silentPeriods + 1
    this.#active = false
  }

  confirmRound(round: number, promised: boolean): void {
    if (round > this.#confirmedRound) this.#confirmedRound = round
    if (promised && round > this.#promisedRound) this.#promisedRound = round
  }

  /** This leader's own log is durable up to `index`. */
  selfStableTo(index: number): void {
    if (index > this.#match) this.#match = index
    this.#next = Math.max(this.#next, this.#match + 1)
  }

  appendSent(entryCount: number, bytes: number, commit: number): void {
    const last = this.#next - 1 + entryCount
    this.#sentCommit = Math.max(this.#sentCommit, Math.min(commit, last))
    this.#pokeDue = false
    if (this.#state === 'probe') {
      this.#probeSent = true
    } else if (entryCount > 0) {
      this.#next = last + 1
      this.#inflights.add(last, bytes)
    }
  }

  /**
   * The replica agrees up to `index`. Returns whether that is news: match rose, or a probe ended. `firstIndex` is that of the leader's log:
   * a replica leaves the snapshot state when the log reaches back to it.
   */
  acknowledge(index: number, firstIndex: number): boolean {
    const rose = index > this.#match
    if (!rose && !(index === this.#match && this.#state === 'probe')) return false
    this.#match = Math.max(this.#match, index)
    this.#next = Math.max(this.#next, this.#match + 1)
    if (this.#state === 'replicate') this.#inflights.freeTo(index)
    else if (this.#state === 'probe' || this.#match + 1 >= firstIndex) this.#becomeReplicate()
    return true
  }

  /**
   * The replica has no entry that agrees with the leader's at `rejected`; up to `lastPossible` it may agree. Returns whether that is news:
   * late and doubled rejections are not, and none moves next to match or below.
   */
  reject(rejected: number, lastPossible: number): boolean {
    if (this.#state === 'snapshot' || rejected <= this.#match) return false
    if (this.#state === 'replicate') {
      this.becomeProbe()
      return true
    }
    if (this.#next - 1 !== rejected) return false
    this.#next = Math.max(Math.min(rejected, lastPossible + 1), this.#match + 1)
    this.#probeSent = false
    return true
  }

  /** A heartbeat was answered: whatever was waited for may be tried again, since it may have been lost. */
  resume(lastIndex: number): void {
    this.#probeSent = false
    this.#loading = false
    if (this.#state === 'probe' || (this.#state === 'replicate' && this.#match < lastIndex)) this.#pokeDue = true
  }

  awaitLoad(): void {
    this.#loading = true
  }

  loaded(): void {
    this.#loading = false
  }

  becomeProbe(): void {
    this.#enter('probe')
    this.#next = this.#match + 1
    this.#sentCommit = 0
  }

  becomeSnapshot(meta: SnapshotMeta): void {
    this.#enter('snapshot')
    this.#pendingSnapshot = meta
  }

  /** The snapshot was taken (`ok`) or not: probe again, but not before a heartbeat has been answered, so that failures do not spin. */
  snapshotEnded(ok: boolean): void {
    if (this.#state !== 'snapshot') return
    const sent = this.#pendingSnapshot?.index ?? 0
    this.becomeProbe()
    if (ok) this.#next = Math.max(this.#next, sent + 1)
    this.#probeSent = true
  }

  status(learner: boolean): ProgressStatus {
    return {
      replica: this.replica,
      learner,
      state: this.#state,
      match: this.#match,
      next: this.#next,
      inflightBytes: this.#inflights.bytes,
      pendingSnapshot: this.#pendingSnapshot?.index ?? 0,
      active: this.#active,
    }
  }

  #becomeReplicate(): void {
    this.#enter('replicate')
    this.#next = this.#match + 1
  }

  #enter(state: ProgressState): void {
    this.#state = state
    this.#probeSent = false
    this.#loading = false
    this.#pokeDue = false
    this.#pendingSnapshot = undefined
    this.#inflights.clear()
  }
}
