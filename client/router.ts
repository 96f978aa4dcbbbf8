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

export class Router {
  #config: Config | undefined
  readonly #routes = new Map<string, GroupRoute>()
  /** Node → until when it is not asked where there is another. */
  readonly #avoided = new Map<string, number>()

  get config(): Config | undefined {
    return this.#config
  }

  /** Takes a newer config; an older one is ignored. Returns whether it was newer. */
  update(config: Config): boolean {
    if (this.#config !== undefined && config.number <= this.#config.number) return false
    this.#config = config
    for (const uid of this.#routes.keys()) if (config.groupByUid(uid) === undefined) this.#routes.delete(uid)
    return true
  }

  slotOf(key: Uint8Array): number {
    return slotOf(key)
  }

  shardOf(key: Uint8Array): number {
    return shardOf(slotOf(key), this.#config?.shardCount ?? 0)
  }

  groupOf(shard: number): Group | undefined {
    return this.#config?.groupOf(shard)
  }

  /** The node to ask for a group: the leader as far as known. Undefined: the group is gone or has no members. */
  target(uid: string): string | undefined {
    const members = this.#config?.groupByUid(uid)?.members
    if (members === undefined || members.length === 0) return undefined
    return members[(this.#routes.get(uid)?.position ?? 0) % members.length]?.node
  }

  /** The node that answered as the group's leader last. */
  leaderOf(uid: string): string | undefined {
    return this.#routes.get(uid)?.leader
  }

  answered(uid: string, node: string): void {
    this.#avoided.delete(node)
    const route = this.#routes.get(uid)
    if (route !== undefined && route.leader === node) return
    this.#point(uid, node, true)
  }

  /** `node` said that `hint` leads. Returns whether `hint` is asked next; else the next member is. */
  redirected(uid: string, node: string, hint: string, nowMs: number): boolean {
    const isMember = this.#config?.groupByUid(uid)?.members.some((member) => member.node === hint) ?? false
    if (hint !== node && isMember && (this.#avoided.get(hint) ?? 0) <= nowMs) {
      this.#point(uid, hint, false)
      return true
    }
    this.#next(uid, node, nowMs)
    return false
  }

  /** `node` did not answer or cannot serve: the next member is asked, and `node` not for `avoidMs` where there is another. */
  failed(uid: string, node: string, nowMs: number, avoidMs: number): void {
    if (avoidMs > 0) this.#avoided.set(node, nowMs + avoidMs)
    this.#next(uid, node, nowMs)
  }

  #next(uid: string, node: string, nowMs: number): void {
    if (this.target(uid) !== node) return
    const route = this.#route(uid)
    const members = this.#config?.groupByUid(uid)?.members ?? []
    route.leader = undefined
    for (let step = 1; step <= members.length; step++) {
      const candidate = members[(route.position + step) % members.length]?.node ?? ''
      if ((this.#avoided.get(candidate) ?? 0) > nowMs) continue
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
