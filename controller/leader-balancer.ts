import type { Clock } from '../base/clock.ts'
import type { Group } from '../proto/config.ts'
import type { ConfigState } from './config-state.ts'
import { balanceLeaders, type LedGroup } from './leader-balance.ts'
import type { Liveness } from './liveness.ts'
import { hasMajority, isChanging, type Liveliness } from './members.ts'

/** How long everything has to be quiet before leaderships are moved: who leads, which nodes live, and who leads the controllers. */
const usualSettledMs = 10_000
const everyMs = 1000
/** A group's leadership is moved at most so often: one that does not stay where it was brought is let be for a while. */
const groupEveryMs = 30_000
/** At once: each is a short pause of its group. Bounds the turn in which a plan is made as well: some milliseconds where one node leads all of 256 groups. */
const improvementsMax = 16
/** A wish that was not fetched by then is forgotten. */
const offeredMs = 5000

export interface LeaderBalancerParts {
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly state: () => Pick<ConfigState, 'config' | 'nodes'>
  readonly liveness: Pick<Liveness, 'leadingSinceMs' | 'liveSinceMs' | 'leaderOf' | 'leaderSinceMs'>
  readonly isLive: Liveliness['isLive']
  /** How long everything has to be quiet. Default: 10 s. */
  readonly settledMs?: number | undefined
}

/** A leadership that another node should take over. */
export interface WantedTransfer {
  /** Uid. */
  readonly group: string
  /** Node id. */
  readonly node: string
}

/**
 * Has the leaders of the groups spread over the nodes: looks now and then how they are spread, and tells each node that leads too many which
 * ones it should hand over. Only the controllers' leader does. What becomes of a wish is seen by who leads later.
 */
export class LeaderBalancer {
  readonly #parts: LeaderBalancerParts
  readonly #settledMs: number
  /** By uid. */
  readonly #offered = new Map<string, { readonly from: string; readonly to: string }>()
  /** Uid → when a transfer of its leadership was wished for last. */
  readonly #wishedAt = new Map<string, number>()
  #lookedAtMs = Number.NEGATIVE_INFINITY
  #offeredAtMs = Number.NEGATIVE_INFINITY

  constructor(parts: LeaderBalancerParts) {
    this.#parts = parts
    this.#settledMs = parts.settledMs ?? usualSettledMs
  }

  /** What `node` should hand over; each is told once. */
  transfersOf(node: string): WantedTransfer[] {
    const nowMs = this.#parts.clock.monotonicMs()
    if (nowMs - this.#offeredAtMs >= offeredMs) this.#offered.clear()
    if (this.#offered.size === 0 && nowMs - this.#lookedAtMs >= everyMs) this.#look(nowMs)
    const mine = [...this.#offered].filter(([, { from }]) => from === node)
    for (const [uid] of mine) this.#offered.delete(uid)
    return mine.map(([group, { to }]) => ({ group, node: to }))
  }

  #look(nowMs: number): void {
    this.#lookedAtMs = nowMs
    for (const [uid, atMs] of this.#wishedAt) if (nowMs - atMs >= groupEveryMs) this.#wishedAt.delete(uid)
    const nodes = this.#settledNodes(nowMs)
    const groups = nodes === undefined ? undefined : this.#settledGroups(nowMs)
    if (nodes === undefined || groups === undefined) return
    for (const { uid, from, to } of balanceLeaders(nodes, groups, improvementsMax)) {
      this.#offered.set(uid, { from, to })
      this.#wishedAt.set(uid, nowMs)
      this.#offeredAtMs = nowMs
    }
  }

  /** The nodes that live; undefined: somebody has come, or may still have gone, a moment ago. */
  #settledNodes(nowMs: number): string[] | undefined {
    const { liveness, state } = this.#parts
    if (nowMs - liveness.leadingSinceMs < this.#settledMs) return undefined
    const nodes: string[] = []
    for (const id of state().nodes.keys()) {
      const sinceMs = liveness.liveSinceMs('node', id)
      if (sinceMs === undefined) continue
      if (nowMs - sinceMs < this.#settledMs) return undefined
      nodes.push(id)
    }
    return nodes.sort()
  }

  /** What moved last goes first, so that a leadership that fled from a node comes back to it. undefined: a leader is not known, or is new. */
  #settledGroups(nowMs: number): LedGroup[] | undefined {
    const { liveness, state, isLive } = this.#parts
    const groups: (LedGroup & { readonly sinceMs: number })[] = []
    for (const group of state().config?.groups ?? []) {
      if (!hasMajority({ isLive }, group)) continue
      const leader = liveness.leaderOf(group.uid)
      const sinceMs = liveness.leaderSinceMs(group.uid)
      if (leader === '' || nowMs - sinceMs < this.#settledMs) return undefined
      groups.push({ uid: group.uid, leader, candidates: this.#candidates(group), sinceMs })
    }
    return groups.sort((a, b) => b.sinceMs - a.sinceMs)
  }

  #candidates(group: Group): string[] {
    if (isChanging(group) || this.#wishedAt.has(group.uid)) return []
    return group.members.filter((member) => this.#parts.isLive(group, member)).map(({ node }) => node)
  }
}
