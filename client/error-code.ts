import { decodeError } from '../proto/error-codec.ts'
import type { ErrorCode } from '../proto/errors.ts'
import { pb } from '../proto/messages.ts'

export type { ErrorCode }

/** Number on the wire → name. Read off `decodeError`, so that there is one table. */
const names = new Map<number, ErrorCode>()
for (const code of Object.values(pb.v1.ErrorCode)) {
  if (typeof code !== 'number' || code === pb.v1.ErrorCode.ERROR_CODE_NONE) continue
  const { code: name } = decodeError({ code, definite: true })
  if (name !== 'UNKNOWN' || code === pb.v1.ErrorCode.UNKNOWN) names.set(code, name)
}

/** Undefined: a code that this version does not know. */
export function errorCodeOf(number: number): ErrorCode | undefined {
  return names.get(number)
}
