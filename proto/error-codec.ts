import { type ErrorCode, OstrakaError } from './errors.ts'
import { pb } from './messages.ts'

/** Typed refusals as they are on the wire. Apart from `errors.ts`, so that who only tells them from others does not load the messages. */

const numbers: Readonly<Record<ErrorCode, pb.v1.ErrorCode>> = {
  NOT_LEADER: pb.v1.ErrorCode.NOT_LEADER,
  WRONG_GROUP: pb.v1.ErrorCode.WRONG_GROUP,
  SHARD_MOVING: pb.v1.ErrorCode.SHARD_MOVING,
  CONDITION_FAILED: pb.v1.ErrorCode.CONDITION_FAILED,
  INVALID_ARGUMENT: pb.v1.ErrorCode.INVALID_ARGUMENT,
  OVERLOADED: pb.v1.ErrorCode.OVERLOADED,
  UNAVAILABLE: pb.v1.ErrorCode.UNAVAILABLE,
  UNKNOWN: pb.v1.ErrorCode.UNKNOWN,
  DEADLINE: pb.v1.ErrorCode.DEADLINE,
  CANCELLED: pb.v1.ErrorCode.CANCELLED,
  SESSION_EXPIRED: pb.v1.ErrorCode.SESSION_EXPIRED,
  FAILED_PRECONDITION: pb.v1.ErrorCode.FAILED_PRECONDITION,
  NOT_FOUND: pb.v1.ErrorCode.NOT_FOUND,
  LOST: pb.v1.ErrorCode.LOST,
}

const names = new Map<number, ErrorCode>(Object.entries(numbers).map(([name, number]) => [number, name as ErrorCode]))

export function encodeError(error: OstrakaError): pb.v1.Error {
  return new pb.v1.Error({
    code: numbers[error.code],
    message: error.message,
    definite: error.definite,
    leaderHint: error.details.leaderHint ?? '',
    configNumber: error.details.configNumber ?? 0,
    groupHint: error.details.groupHint ?? '',
    waitMs: error.details.waitMs ?? 0,
  })
}

/** An unknown code (a newer server) counts as UNKNOWN and indefinite. */
export function decodeError(message: pb.v1.Error.$Properties): OstrakaError {
  const code = names.get(message.code ?? 0)
  return new OstrakaError(code ?? 'UNKNOWN', message.message ?? '', code !== undefined && (message.definite ?? false), {
    leaderHint: message.leaderHint ?? '',
    configNumber: message.configNumber ?? 0,
    groupHint: message.groupHint ?? '',
    waitMs: message.waitMs ?? 0,
  })
}
