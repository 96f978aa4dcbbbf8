import type { Clock, Timer } from '../base/clock.ts'
import type { Compute, LeaderView } from './leader-view.ts'
import { computeReplacements, replaceable } from './lost-replicas.ts'
import { computeDrains, computeRemovals, removable, stranded } from './upkeep.ts'

/** How long a group's shards may stand still before they are planned again: whoever cancelled them gets to see it. */
const patienceMs = 5000
const everyMs = 1000
/** How long a replica has to be lost before it is replaced, and how often one of the same group is: what is lost again and again must not fill the log. */
const lostForMs = 1000
const replaceEveryMs = 5000

export interface StewardParts {
  readonly clock: Clock
  readonly view: () => LeaderView
  readonly isLeader: () => boolean
  /** Has the outcome of a computation proposed; rejections are the caller's to handle. */
  readonly submit: (compute: Compute) => Promise<void>
}

/**
 * What the controllers' leader does without being asked: it removes groups that are drained, plans again what stands still in groups
 * that are being drained, and replaces lost replicas. The caller's duties: `changed` after each change of state or role, and `close`.
 */
export class Steward {
  readonly #parts: StewardParts
  /** Uid → since when its shards have stood still. */
  readonly #idleSince = new Map<string, number>()
  /** Uid → when lost replicas of the group were replaced last. */
  readonly #replacedAt = new Map<string, number>()
  #timer: Timer | undefined
  #busy = false
  #closed = false

  constructor(parts: StewardParts) {
    this.#parts = parts
  }

  changed(): void {
    if (this.#closed || this.#timer !== undefined || this.#busy || !this.#hasWork()) return
    this.#timer = this.#parts.clock.setTimer(0, () => this.#run())
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  #hasWork(): boolean {
    const view = this.#parts.view()
    return this.#parts.isLeader() && (removable(view).length > 0 || stranded(view).length > 0 || replaceable(view).length > 0)
  }

  #run(): void {
    this.#timer = undefined
    if (this.#closed || !this.#hasWork()) {
      this.#idleSince.clear()
      return
    }
    this.#busy = true
    this.#step().finally(() => {
      this.#busy = false
      if (!this.#closed && this.#hasWork()) this.#timer = this.#parts.clock.setTimer(everyMs, () => this.#run())
    })
  }

  async #step(): Promise<void> {
    const view = this.#parts.view()
    if (removable(view).length > 0) await this.#parts.submit(computeRemovals)
    if (this.#haveWaited(view)) await this.#parts.submit(computeDrains)
    const due = this.#dueReplacements(view)
    if (due.size > 0) await this.#parts.submit((newest) => computeReplacements(newest, due))
  }

  /** Uids of groups whose lost replicas are to be replaced now. */
  #dueReplacements(view: LeaderView): ReadonlySet<string> {
    const nowMs = this.#parts.clock.monotonicMs()
    for (const [uid, atMs] of this.#replacedAt) if (nowMs - atMs >= replaceEveryMs) this.#replacedAt.delete(uid)
    const due = new Set<string>()
    for (const { uid } of replaceable(view)) {
      const isLong = view.lost.some(({ group, sinceMs }) => group === uid && nowMs - sinceMs >= lostForMs)
      if (isLong && !this.#replacedAt.has(uid)) due.add(uid)
    }
    for (const uid of due) this.#replacedAt.set(uid, nowMs)
    return due
  }

  /** Whether one of the groups has stood still for long enough. */
  #haveWaited(view: LeaderView): boolean {
    const nowMs = this.#parts.clock.monotonicMs()
    const idle = new Set(stranded(view).map(({ uid }) => uid))
    for (const uid of this.#idleSince.keys()) if (!idle.has(uid)) this.#idleSince.delete(uid)
    for (const uid of idle) if (!this.#idleSince.has(uid)) this.#idleSince.set(uid, nowMs)
    const waited = [...this.#idleSince].filter(([, since]) => nowMs - since >= patienceMs)
    for (const [uid] of waited) this.#idleSince.delete(uid)
    return waited.length > 0
  }
}
