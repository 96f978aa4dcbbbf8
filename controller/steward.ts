import type { Clock, Timer } from '../base/clock.ts'
import type { Compute, LeaderView } from './leader-view.ts'
import { computeReplacements, replaceable } from './lost-replicas.ts'
import { computeAborts, computeDrains, computeRemovals, isStuck, removable, stranded, undriven } from './upkeep.ts'

/** How long a group's shards may stand still before they are planned again: whoever cancelled them gets to see it. */
const patienceMs = 5000
/** Where a plan for them came to nothing the wait is twice as long, up to this: each costs a cut, copies and files to be removed again. */
const patienceMsMax = 5 * 60_000
const everyMs = 1000
/** How long nobody may drive a migration, for want of a leader of its target, before it is aborted: as long as a leader waits that makes no progress. */
const undrivenMs = 60_000
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
 * that are being drained, aborts what nobody drives, and replaces lost replicas. The caller's duties: `changed` after each change of state or role, and `close`.
 */
export class Steward {
  readonly #parts: StewardParts
  /** By uid: whose shards stand still. */
  readonly #idle = new Enduring<string>()
  /** Uid → how many shards the group had when they were planned again last, and how long they may stand still the next time. */
  readonly #planned = new Map<string, { readonly shards: number; readonly waitMs: number }>()
  /** By id: migrations that nobody drives. */
  readonly #undriven = new Enduring<number>()
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
    if (!this.#parts.isLeader()) return false
    const view = this.#parts.view()
    // Nothing tells that a target is dead: what is being copied is looked at as long as it is.
    const isCopying = view.state.migrations.open().some(({ phase }) => phase === 'copying')
    return isCopying || removable(view).length > 0 || stranded(view).length > 0 || replaceable(view).length > 0
  }

  #run(): void {
    this.#timer = undefined
    if (this.#closed || !this.#hasWork()) {
      this.#idle.clear()
      this.#undriven.clear()
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
    const nowMs = this.#parts.clock.monotonicMs()
    const drains = this.#dueDrains(view, nowMs)
    if (drains.size > 0) await this.#parts.submit((newest) => computeDrains(newest, drains))
    const left = this.#undriven.take(
      undriven(view).map(({ id }) => id),
      nowMs,
      () => undrivenMs,
    )
    if (left.size > 0) await this.#parts.submit((newest) => computeAborts(newest, left, undrivenMs))
    const due = this.#dueReplacements(view)
    if (due.size > 0) await this.#parts.submit((newest) => computeReplacements(newest, due))
  }

  /** Uids of groups whose shards have stood still for long enough. */
  #dueDrains(view: LeaderView, nowMs: number): ReadonlySet<string> {
    const shardsOf = (uid: string) => view.state.config?.shardsOf(uid).length ?? 0
    // What has lost some since gets on.
    for (const [uid, { shards }] of this.#planned) if (shardsOf(uid) < shards) this.#planned.delete(uid)
    // What nobody can take is not planned in vain, but as soon as somebody can.
    const idle = isStuck(view) ? [] : stranded(view).map(({ uid }) => uid)
    const waitOf = (uid: string) => this.#planned.get(uid)?.waitMs ?? patienceMs
    const due = this.#idle.take(idle, nowMs, waitOf)
    for (const uid of due) this.#planned.set(uid, { shards: shardsOf(uid), waitMs: Math.min(patienceMsMax, waitOf(uid) * 2) })
    return due
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
}

/** Since when something has been so without a break. */
class Enduring<Key> {
  readonly #since = new Map<Key, number>()

  /** `keys`: of which it is so now. Returns those of which it has been so for as long as `forMs` says, and counts anew for them. */
  take(keys: Iterable<Key>, nowMs: number, forMs: (key: Key) => number): ReadonlySet<Key> {
    const now = new Set(keys)
    for (const key of this.#since.keys()) if (!now.has(key)) this.#since.delete(key)
    const taken = new Set<Key>()
    for (const key of now) {
      const since = this.#since.get(key) ?? nowMs
      this.#since.set(key, since)
      if (nowMs - since < forMs(key)) continue
      taken.add(key)
      this.#since.delete(key)
    }
    return taken
  }

  clear(): void {
    this.#since.clear()
  }
}
