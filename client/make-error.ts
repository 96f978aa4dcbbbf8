import { type ErrorCode, type ErrorDetails, OstrakaError } from '../proto/errors.ts'

/**
 * An error without a stack: it is made in a turn of the dispatcher, whose stack tells nothing of the caller, and thousands may be made at
 * once. The limit is put back before any other code runs.
 */
export function makeError(code: ErrorCode, message: string, definite: boolean, details?: ErrorDetails): OstrakaError {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  const error = new OstrakaError(code, message, definite, details)
  Error.stackTraceLimit = limit
  return error
}
