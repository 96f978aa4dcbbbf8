/**
 * Key → slot → shard → group → node to ask. Pure: it knows the newest config, who was said to lead, and who failed lately; it never dials.
 * Duties of the caller: `update` with every newer config; after each attempt one of `answered`, `redirected`, `failed`.
 */
import { shardOf, slotOf } from '../base/slot.ts'
import type { Config, Group } from '../proto/config.ts'

interface GroupRoute {
  /** Position in the group's members of the node to ask. */
  position: number
  /** The node that answered as leader last; undefined since it failed. */
  leader: string | undefined
}

interface Suspect {
  failures: number
  failedAtMs: number
  /** Until then it is not asked where there is another. */
  avoidedUntilMs: number
}

/** However often a node failed, it is tried again after so long. */
const AVOID_MS_MAX = 4000
/** A node of which another says that it leads is tried again after so long: somebody has heard it, and later than we have. */
const HINTED_AVOID_MS = 250

export class Router {
  #config: Config | undefined
  readonly #routes = new Map<string, GroupRoute>()
  /** By shard, under the present config: uid of the group that still serves it, while its owner does not yet; '': not any more. */
  readonly #detours = new Map<number, string>()
  /** Nodes that gave no answer since they were last heard. */
  readonly #suspects = new Map<string, Suspect>()
  /** Counts the requests that any replica may answer. */
  #nextReader: number

  /** `firstReader`: any number, so that not all clients begin at the same replica. */
  constructor(firstReader = 0) {
    this.#nextReader = firstReader
  }

  get config(): Config | undefined {
    return this.#config
  }

  /** Takes a newer config; an older one is ignored. Returns whether it was newer. */
  update(config: Config): boolean {
    if (this.#config !== undefined && config.number <= this.#config.number) return false
    this.#config = config
    this.#detours.clear()
    for (const uid of this.#routes.keys()) if (config.groupByUid(uid) === undefined) this.#routes.delete(uid)
    return true
  }

  slotOf(key: Uint8Array): number {
    return slotOf(key)
  }

  shardOf(key: Uint8Array): number {
    return shardOf(slotOf(key), this.#config?.shardCount ?? 0)
  }

  /** The group to ask for a shard: its owner, or the one that it has not left yet. */
  groupOf(shard: number): Group | undefined {
    const detour = this.#detours.size > 0 ? this.#config?.groupByUid(this.#detours.get(shard) ?? '') : undefined
    return detour ?? this.#config?.groupOf(shard)
  }

  /**
   * The owner of `shard` says that group `uid` serves it still. Returns whether that one is to be asked: once under each config, for what a group has
   * given away it does not serve again before the next.
   */
  detour(shard: number, uid: string): boolean {
    if (this.#detours.has(shard)) return this.#detours.get(shard) === uid
    const isOther = this.#config?.groupByUid(uid) !== undefined && this.#config.groupOf(shard)?.uid !== uid
    if (isOther) this.#detours.set(shard, uid)
    return isOther
  }

  /** Group `uid` does not serve `shard`. Returns whether it was asked by a detour, which is over. */
  endDetour(shard: number, uid: string): boolean {
    if (this.#detours.get(shard) !== uid) return false
    this.#detours.set(shard, '')
    return true
  }

  /** The node to ask for a group: the leader as far as known. Undefined: the group is gone or has no members. */
  target(uid: string): string | undefined {
    const members = this.#config?.groupByUid(uid)?.members
    if (members === undefined || members.length === 0) return undefined
    return members[(this.#routes.get(uid)?.position ?? 0) % members.length]?.node
  }

  /**
   * A node to ask for what any replica of the group may answer: each time another, and one that failed lately only where there is no other.
   * Undefined: the group is gone or has no members.
   */
  reader(uid: string, nowMs: number): string | undefined {
    const members = this.#config?.groupByUid(uid)?.members ?? []
    for (let tried = 0; tried < members.length; tried++) {
      const node = members[this.#nextReader++ % members.length]?.node
      if (node !== undefined && !this.#isAvoided(node, nowMs)) return node
    }
    return members[this.#nextReader++ % members.length]?.node
  }

  /** The node that answered as the group's leader last. */
  leaderOf(uid: string): string | undefined {
    return this.#routes.get(uid)?.leader
  }

  /** A node that may be dead: an attempt there is not waited for long. */
  isSuspect(node: string): boolean {
    return this.#suspects.has(node)
  }

  /** Something came from `node`. */
  heard(node: string): void {
    this.#suspects.delete(node)
  }

  answered(uid: string, node: string): void {
    this.heard(node)
    const route = this.#routes.get(uid)
    if (route !== undefined && route.leader === node) return
    this.#point(uid, node, true)
  }

  /** `node` said that `hint` leads. Returns whether `hint` is asked next; else the next member is. */
  redirected(uid: string, node: string, hint: string, nowMs: number): boolean {
    const isMember = this.#config?.groupByUid(uid)?.members.some((member) => member.node === hint) ?? false
    if (hint !== node && isMember && this.#mayTryHint(hint, nowMs)) {
      this.#point(uid, hint, false)
      return true
    }
    this.#next(uid, node, nowMs)
    return false
  }

  /**
   * `node` did not answer or cannot serve: the next member is asked, and where there is another `node` is not for `avoidMs`, doubled with
   * each failure in a row.
   */
  failed(uid: string, node: string, nowMs: number, avoidMs: number): void {
    if (avoidMs > 0) {
      const failures = (this.#suspects.get(node)?.failures ?? 0) + 1
      this.#suspects.set(node, {
        failures,
        failedAtMs: nowMs,
        avoidedUntilMs: nowMs + Math.min(AVOID_MS_MAX, avoidMs * 2 ** Math.min(failures - 1, 10)),
      })
    }
    this.#next(uid, node, nowMs)
  }

  #mayTryHint(node: string, nowMs: number): boolean {
    return !this.#isAvoided(node, nowMs) || nowMs - (this.#suspects.get(node)?.failedAtMs ?? 0) >= HINTED_AVOID_MS
  }

  #isAvoided(node: string, nowMs: number): boolean {
    return (this.#suspects.get(node)?.avoidedUntilMs ?? nowMs) > nowMs
  }

  #next(uid: string, node: string, nowMs: number): void {
    if (this.target(uid) !== node) return
    const route = this.#route(uid)
    const members = this.#config?.groupByUid(uid)?.members ?? []
    route.leader = undefined
    for (let step = 1; step <= members.length; step++) {
      const candidate = members[(route.position + step) % members.length]?.node ?? ''
      if (this.#isAvoided(candidate, nowMs)) continue
      route.position += step
      return
    }
    route.position++
  }

  #point(uid: string, node: string, leads: boolean): void {
    const position = this.#config?.groupByUid(uid)?.members.findIndex((member) => member.node === node) ?? -1
    if (position < 0) return
    const route = this.#route(uid)
    route.position = position
    route.leader = leads ? node : undefined
  }

  #route(uid: string): GroupRoute {
    let route = this.#routes.get(uid)
    if (route === undefined) {
      route = { position: 0, leader: undefined }
      this.#routes.set(uid, route)
    }
    return route
  }
}
