import type { Clock } from '../base/clock.ts'

/** Below 3 s by what a heartbeat takes on its way, so that a death shows within 3 s. */
const liveMs = 2500

/**
 * Who lives, as the controllers' leader hears it; in memory only. A new leader has heard nobody yet and gives everybody the benefit of the
 * doubt once.
 */
export class Liveness {
  readonly #clock: Pick<Clock, 'monotonicMs'>
  /** Since when it has been heard without a break, and when last. */
  readonly #heard = new Map<string, { readonly sinceMs: number; readonly lastMs: number }>()
  readonly #leaders = new Map<string, { readonly term: number; readonly leader: string; readonly sinceMs: number }>()
  #graceFrom = Number.NEGATIVE_INFINITY

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock
  }

  /** This controller leads from now on: what it heard in an earlier term counts no more. */
  begin(): void {
    this.#heard.clear()
    this.#leaders.clear()
    this.#graceFrom = this.#clock.monotonicMs()
  }

  /** Since when this controller leads. */
  get leadingSinceMs(): number {
    return this.#graceFrom
  }

  /** A node that died before this controller led is not taken for live any more. */
  get isKnown(): boolean {
    return this.#clock.monotonicMs() - this.#graceFrom >= liveMs
  }

  heard(kind: 'node' | 'controller', id: string): void {
    const nowMs = this.#clock.monotonicMs()
    this.#heard.set(`${kind} ${id}`, { sinceMs: this.liveSinceMs(kind, id) ?? nowMs, lastMs: nowMs })
  }

  /** It has begun anew. */
  started(kind: 'node' | 'controller', id: string): void {
    this.#heard.delete(`${kind} ${id}`)
    this.heard(kind, id)
  }

  isLive(kind: 'node' | 'controller', id: string): boolean {
    const last = Math.max(this.#graceFrom, this.#heard.get(`${kind} ${id}`)?.lastMs ?? Number.NEGATIVE_INFINITY)
    return this.#clock.monotonicMs() - last < liveMs
  }

  /** Since when it has been heard without a break; undefined: not heard now. */
  liveSinceMs(kind: 'node' | 'controller', id: string): number | undefined {
    const heard = this.#heard.get(`${kind} ${id}`)
    return heard !== undefined && this.#clock.monotonicMs() - heard.lastMs < liveMs ? heard.sinceMs : undefined
  }

  /** What a replica of group `uid` says of its leader: the highest term counts. */
  noteLeader(uid: string, term: number, leader: string): void {
    const known = this.#leaders.get(uid)
    if (known !== undefined && (term < known.term || (term === known.term && leader === ''))) return
    const isSame = known?.term === term && known.leader === leader
    this.#leaders.set(uid, { term, leader, sinceMs: isSame ? known.sinceMs : this.#clock.monotonicMs() })
  }

  /** The node that leads group `uid`; '' where it is not known or no longer lives. */
  leaderOf(uid: string): string {
    const leader = this.#leaders.get(uid)?.leader ?? ''
    return leader !== '' && this.isLive('node', leader) ? leader : ''
  }

  /** Since when `leaderOf` has been so, as far as it was told. */
  leaderSinceMs(uid: string): number {
    return this.#leaders.get(uid)?.sinceMs ?? this.#graceFrom
  }

  /** Forgets groups that are no more. */
  retain(isPresent: (uid: string) => boolean): void {
    for (const uid of this.#leaders.keys()) if (!isPresent(uid)) this.#leaders.delete(uid)
  }
}
