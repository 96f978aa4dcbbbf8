/** Typed refusals: what a caller is told. The closed set of codes of CONTRACT and the one error class that carries them. */

export type ErrorCode =
  | 'NOT_LEADER'
  | 'WRONG_GROUP'
  | 'SHARD_MOVING'
  | 'CONDITION_FAILED'
  | 'INVALID_ARGUMENT'
  | 'OVERLOADED'
  | 'UNAVAILABLE'
  | 'UNKNOWN'
  | 'DEADLINE'
  | 'CANCELLED'
  | 'SESSION_EXPIRED'
  | 'FAILED_PRECONDITION'
  | 'NOT_FOUND'
  | 'LOST'

export interface ErrorDetails {
  readonly leaderHint?: string
  readonly configNumber?: number
  readonly groupHint?: string
  readonly waitMs?: number
}

export class OstrakaError extends Error {
  override readonly name = 'OstrakaError'
  readonly code: ErrorCode
  /** True: the operation had no effect and never will. False: it may have taken effect or still may. */
  readonly definite: boolean
  readonly details: ErrorDetails
  /** Set by `putMany`: which members failed, and why. */
  failed?: readonly { readonly index: number; readonly error: OstrakaError }[]

  constructor(code: ErrorCode, message: string, definite: boolean, details: ErrorDetails = {}) {
    super(message)
    this.code = code
    this.definite = definite
    this.details = details
  }
}
