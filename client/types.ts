import type { OstrakaError } from '../proto/errors.ts'

/** What goes in: text is UTF-8. What comes out are Buffers of the caller's own. */
export type Bytes = string | Uint8Array

/**
 * How fresh a read must be. 'linearizable': sees every write acknowledged before the read was issued. 'lease' promises the same, and spares the
 * leader a round as long as the clocks of the group's nodes go at about the same speed; where servers hold no leases it is 'linearizable'. 'follower'
 * promises the same from any replica, which asks the leader for a read index. 'stale', from any replica: every write acknowledged more than
 * `maxStalenessMs` before the read was issued.
 */
export type ReadMode = 'linearizable' | 'lease' | 'follower' | 'stale'

export interface CallOptions {
  /** Milliseconds until the call is given up, 1 to 600,000. Default: the client's. */
  readonly deadlineMs?: number | undefined
  /** Gives the call up with CANCELLED. */
  readonly signal?: AbortSignal | undefined
}

export interface WriteOptions extends CallOptions {
  /** Milliseconds that the record lives, at least 1. Default: no end. */
  readonly ttlMs?: number | undefined
}

export interface ReadOptions extends CallOptions {
  readonly read?: ReadMode | undefined
  /** For 'stale': how old an answer may be, milliseconds, 1 to 3,600,000. Default: the client's, or else 10,000. */
  readonly maxStalenessMs?: number | undefined
}

export interface ScanOptions extends ReadOptions {
  /** Only keys that begin with it. */
  readonly prefix?: Bytes | undefined
  /** First key, inclusive. */
  readonly start?: Bytes | undefined
  /** Last key, exclusive. */
  readonly end?: Bytes | undefined
  /** At most this many records. */
  readonly limit?: number | undefined
  /** From the end downwards. */
  readonly reverse?: boolean | undefined
}

export interface Written {
  /** The shard's revision that this write made. Rises within a shard. */
  readonly revision: number
}

export interface Found {
  readonly value: Buffer
  /** The revision at which the key was written last. */
  readonly revision: number
  /** Milliseconds that it still lives; missing: no end. */
  readonly expiresInMs?: number
}

export interface ScannedRecord extends Found {
  readonly key: Buffer
}

export type Condition = { readonly value: Bytes } | { readonly revision: number } | { readonly absent: true }

export type Replacement = Bytes | { readonly delete: true }

export interface CompareAndSetResult {
  readonly applied: boolean
  /** Not applied: what is there, undefined if nothing is. Applied: what was written, undefined after a delete. */
  readonly current: { readonly value: Buffer; readonly revision: number } | undefined
}

export type BatchMember =
  | { readonly check: Bytes; readonly revision: number }
  | { readonly put: Bytes; readonly value: Bytes; readonly ttlMs?: number | undefined }
  | { readonly delete: Bytes }

export interface Explanation {
  readonly key: Buffer
  readonly slot: number
  readonly shard: number
  /** The group's name; undefined: no group owns the shard yet. */
  readonly group: string | undefined
  /** Id of the node that leads the group; undefined: not known. */
  readonly leader: string | undefined
  readonly configNumber: number
}

/** Which members of a `putMany` failed, and why. */
export interface FailedMember {
  readonly index: number
  readonly error: OstrakaError
}
