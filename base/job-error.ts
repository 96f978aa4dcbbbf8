/** How an error crosses from a job's thread to the caller's: structured clone drops an error's own fields and its class. */
import { AssertionError } from './assert.ts'
import { type BlockKind, CorruptionError, DiskError, NewerFormatError, systemErrorCode } from './errors.ts'

export interface EncodedError {
  readonly name: string
  readonly message: string
  readonly stack: string | undefined
  readonly code: string | undefined
  readonly file: string | undefined
  readonly offset: number | undefined
  /** Of a CorruptionError, as the next. */
  readonly block: BlockKind | undefined
  readonly what: string | undefined
}

export function encodeError(error: unknown): EncodedError {
  if (!(error instanceof Error)) {
    const none = { stack: undefined, code: undefined, file: undefined, offset: undefined, block: undefined, what: undefined }
    return { name: 'Error', message: String(error), ...none }
  }
  const corruption = error instanceof CorruptionError ? error : undefined
  return {
    name: error.name,
    message: error.message,
    stack: error.stack,
    code: systemErrorCode(error),
    file: 'file' in error && typeof error.file === 'string' ? error.file : undefined,
    offset: 'offset' in error && typeof error.offset === 'number' ? error.offset : undefined,
    block: corruption?.block,
    what: corruption?.what,
  }
}

/** The error again: of its own class where it is one of `base/errors.ts` or `base/assert.ts`, else an Error with the same name and fields. */
export function decodeError(encoded: EncodedError): Error {
  const error = emptyError(encoded)
  const fields: Record<string, unknown> = { name: encoded.name, message: encoded.message }
  if (encoded.stack !== undefined) fields.stack = encoded.stack
  if (encoded.code !== undefined) fields.code = encoded.code
  if (encoded.file !== undefined) fields.file = encoded.file
  if (encoded.offset !== undefined) fields.offset = encoded.offset
  for (const [name, value] of Object.entries(fields)) {
    Object.defineProperty(error, name, { value, configurable: true, writable: true, enumerable: false })
  }
  return error
}

function emptyError(encoded: EncodedError): Error {
  switch (encoded.name) {
    case 'CorruptionError':
      return new CorruptionError(encoded.file ?? '', encoded.offset, encoded.what ?? '', encoded.block)
    case 'NewerFormatError':
      return new NewerFormatError(encoded.file ?? '', encoded.offset, encoded.what ?? '', encoded.block)
    case 'DiskError':
      return new DiskError(encoded.message)
    case 'AssertionError':
      return new AssertionError(encoded.message)
    default:
      return new Error(encoded.message)
  }
}
