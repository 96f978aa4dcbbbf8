/** What becomes of an attempt that failed, and how long to wait before the next. Pure. */
import type { Random } from '../base/random.ts'
import type { pb } from '../proto/messages.ts'
import { type ErrorCode, errorCodeOf } from './error-code.ts'

/**
 * - finish: the outcome; the call ends with this error.
 * - leader: another node of the group is to be asked, at `hint` if it is named.
 * - config: a config of at least `configNumber` is needed first.
 * - shard: the same shard again: at once in group `groupHint`, if it is named and was not asked before, else after `waitMs`.
 * - load: the same group again, after `waitMs`.
 * - session: the shard has no session of ours.
 */
export type Action = 'finish' | 'leader' | 'config' | 'shard' | 'load' | 'session'

/** Longer a server does not get to make us wait. */
const WAIT_MAX_MS = 5000

export interface Verdict {
  readonly action: Action
  readonly code: ErrorCode
  readonly message: string
  /** The attempt had no effect and never will. */
  readonly definite: boolean
  readonly hint: string
  /** Uid of a group; '': none. */
  readonly groupHint: string
  readonly configNumber: number
  readonly waitMs: number
}

/** What the failure of a request (`whole`) or of one member of it means. */
export function verdictOf(error: pb.v1.Error.$Properties, whole: boolean): Verdict {
  const code = errorCodeOf(error.code ?? 0)
  return {
    action: actionOf(code, whole),
    code: code ?? 'UNKNOWN',
    message: error.message ?? '',
    definite: code !== undefined && (error.definite ?? false),
    hint: error.leaderHint ?? '',
    groupHint: error.groupHint ?? '',
    configNumber: error.configNumber ?? 0,
    waitMs: Math.min(error.waitMs ?? 0, WAIT_MAX_MS),
  }
}

/** A request that got no answer: whether it was executed is not known. */
export function unanswered(code: ErrorCode, message: string): Verdict {
  return { action: 'leader', code, message, definite: false, hint: '', groupHint: '', configNumber: 0, waitMs: 0 }
}

function actionOf(code: ErrorCode | undefined, whole: boolean): Action {
  switch (code) {
    case 'CONDITION_FAILED':
    case 'INVALID_ARGUMENT':
      return 'finish'
    case 'WRONG_GROUP':
      return 'config'
    case 'SHARD_MOVING':
      return 'shard'
    case 'OVERLOADED':
      return whole ? 'load' : 'shard'
    case 'SESSION_EXPIRED':
      return 'session'
    default:
      return 'leader'
  }
}

const FIRST_MS = 5
const LEADER_MAX_MS = 100
const LOAD_MAX_MS = 250

/** Before the `failures`-th attempt in a row to find who serves: short, since an election takes as long as it takes. Jittered. */
export function leaderBackoffMs(failures: number, random: Random): number {
  return jittered(Math.min(LEADER_MAX_MS, FIRST_MS * 2 ** Math.min(failures, 10)), random)
}

/** Before the next attempt on a group or shard that asked to wait `waitMs` (0: did not say). Jittered upwards. */
export function loadBackoffMs(waitMs: number, failures: number, random: Random): number {
  const baseMs = waitMs > 0 ? waitMs : Math.min(LOAD_MAX_MS, 4 * FIRST_MS * 2 ** Math.min(failures, 10))
  return baseMs * (1 + random.next() / 2)
}

/**
 * How long an attempt waits for its answer after so many without one: longer and longer, so that a slow group is not asked ever more often.
 * At a node that gave no answer lately it begins short: a dead machine must not eat the time in which others could be asked.
 */
export function attemptTimeoutMs(silences: number, isSuspect: boolean): number {
  if (isSuspect) return 250 * 2 ** Math.min(silences, 6)
  return 1000 * 2 ** Math.min(Math.max(silences - 1, 0), 4)
}

function jittered(ms: number, random: Random): number {
  return ms * (0.5 + random.next() / 2)
}
