import { must } from '../../base/assert.ts'
import { draftMessage, entryBytes, type Outbox } from './message.ts'
import type { Progress } from './progress.ts'
import type { ProgressTracker } from './progress-tracker.ts'
import type { RaftLog } from './raft-log.ts'
import { type CoreOptions, type Message, MessageType, type ReplicaNumber, type SnapshotMeta } from './types.ts'

type ReplicationOptions = Pick<CoreOptions, 'self' | 'maxAppendBytes'>

/**
 * How a leader brings its followers' logs to where its own is: Appends, and an offer of a snapshot where its log no longer reaches back to what a
 * follower needs. Appends are never sent at once: what came in one turn leaves with `flush`, as few messages to each follower as its windows
 * and `maxAppendBytes` allow.
 */
export class Replication {
  readonly #options: ReplicationOptions
  readonly #term: number
  readonly #log: RaftLog
  readonly #outbox: Outbox
  readonly #tracker: ProgressTracker
  /** `flush` may have something to send. */
  #due = false

  constructor(options: ReplicationOptions, term: number, log: RaftLog, outbox: Outbox, tracker: ProgressTracker) {
    this.#options = options
    this.#term = term
    this.#log = log
    this.#outbox = outbox
    this.#tracker = tracker
  }

  get isDue(): boolean {
    return this.#due
  }

  /** The log has grown, more of it is committed, or somebody came. */
  becomeDue(): void {
    this.#due = true
  }

  flush(): void {
    if (!this.#due) return
    this.#due = false
    for (const peer of this.#tracker.followers) while (this.#maybeSendAppend(peer)) {}
  }

  /** Returns whether it acknowledges what was not known to be there: more may be committed. */
  handleAppendResponse(message: Message): boolean {
    const peer = this.#tracker.get(message.from)
    if (peer === undefined) return false
    peer.heard()
    if (message.reject && message.context === 1) {
      if (peer.match === 0 && peer.state !== 'snapshot') this.#maybeBeginSnapshot(peer)
    } else if (message.reject) {
      // The follower's log has nothing of a term above hintTerm up to hintIndex, so entries of ours with a higher term need no try.
      const possible = message.hintTerm > 0 ? this.#log.lastWithTermAtMost(message.hintIndex, message.hintTerm) : message.hintIndex
      if (peer.reject(message.index, possible)) this.#due = true
    } else if (message.index <= this.#log.lastIndex && peer.acknowledge(message.index, this.#log.firstIndex)) {
      this.#due = true
      return true
    }
    return false
  }

  /** `peer` has answered a heartbeat: what was sent to it before and has no answer may be lost. */
  resume(peer: Progress): void {
    peer.resume(this.#log.lastIndex)
    // The follower ignores an offer while it fetches.
    if (peer.state === 'snapshot') this.#offerSnapshot(peer)
    this.#due = true
  }

  /** What `RaftLog.entries` could not give at once is in memory now. */
  entriesLoaded(): void {
    for (const peer of this.#tracker.followers) peer.loaded()
    this.#due = true
  }

  /** What was sent to `replica` may be lost. */
  reportUnreachable(replica: ReplicaNumber): void {
    const peer = this.#tracker.get(replica)
    if (peer?.state !== 'replicate') return
    peer.becomeProbe()
    this.#due = true
  }

  /** `replica` has taken the snapshot that it was offered, or could not. */
  reportSnapshot(replica: ReplicaNumber, ok: boolean): void {
    this.#tracker.get(replica)?.snapshotEnded(ok)
    this.#due = true
  }

  /** Returns whether more may be sent at once. */
  #maybeSendAppend(peer: Progress): boolean {
    if (peer.paused) return false
    const previous = peer.next - 1
    const previousTerm = previous >= this.#log.firstIndex - 1 ? this.#log.term(previous) : undefined
    if (previousTerm === undefined) return this.#maybeBeginSnapshot(peer)
    const room = Math.min(this.#options.maxAppendBytes, peer.room)
    const entries = peer.admitsEntries ? this.#log.entries(peer.next, room) : []
    if (entries === undefined) {
      peer.awaitLoad()
      return false
    }
    if (entries.length === 0 && !peer.wantsEmptyAppend(this.#log.commit)) return false
    const message = draftMessage(MessageType.Append, this.#options.self, peer.replica, this.#term)
    message.index = previous
    message.logTerm = previousTerm
    message.commit = this.#log.commit
    message.entries = entries
    message.mayWait = entries.length === 0 && peer.state === 'replicate'
    this.#outbox.send(message)
    let bytes = 0
    for (const entry of entries) bytes += entryBytes(entry)
    peer.appendSent(entries.length, bytes, this.#log.commit)
    return entries.length > 0
  }

  /** The follower needs entries that the log no longer has, or where to begin. Offered only to one that was heard: an offer keeps the log from being truncated. */
  #maybeBeginSnapshot(peer: Progress): false {
    if (!peer.active) return false
    peer.becomeSnapshot(this.#newestSnapshot())
    this.#offerSnapshot(peer)
    return false
  }

  #offerSnapshot(peer: Progress): void {
    let meta = must(peer.pendingSnapshot, 'snapshot of a follower in the snapshot state')
    if (meta.index < this.#log.firstIndex - 1 || meta.index <= peer.match) {
      meta = this.#newestSnapshot()
      peer.becomeSnapshot(meta)
    }
    const message = draftMessage(MessageType.Snapshot, this.#options.self, peer.replica, this.#term)
    message.snapshot = meta
    this.#outbox.send(message)
  }

  #newestSnapshot(): SnapshotMeta {
    const index = this.#log.applied
    return { index, term: must(this.#log.term(index), `term of the applied entry ${index}`), conf: this.#tracker.membership.conf }
  }
}
