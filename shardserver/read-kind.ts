import { limits } from '../proto/limits.ts'
import { pb } from '../proto/messages.ts'
import type { ReadKind } from '../raft/state-machine.ts'
import type { HostedGroup, KvNode } from './kv-node.ts'

/** What a request says of how fresh an answer must be. */
export interface Freshness {
  readonly consistency?: number | null
  /** 0: the default. */
  readonly maxStalenessMs?: number | null
}

/**
 * How a read that has come now learns where it may be served; undefined: it may be served at once, or at any later time, since what is applied
 * only grows newer. A stale read whose bound is not met is served as a follower's, and the bound counts anew from when its round was asked for.
 */
export function readKindOf(node: KvNode, hosted: HostedGroup, { consistency, maxStalenessMs }: Freshness): ReadKind | undefined {
  switch (consistency) {
    case pb.v1.Consistency.LEASE:
      return 'lease'
    case pb.v1.Consistency.FOLLOWER:
      return 'follower'
    case pb.v1.Consistency.STALE:
      return ageMs(node, hosted) <= (maxStalenessMs || limits.maxStalenessMsDefault) ? undefined : 'follower'
    default:
      return 'quorum'
  }
}

function ageMs({ clock }: KvNode, { replica }: HostedGroup): number {
  return clock.monotonicMs() - replica.freshAsOfMs
}
