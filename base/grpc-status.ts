import { status } from '@grpc/grpc-js'
import { TransportError, type TransportErrorCode } from './transport.ts'

/** Between gRPC's status numbers and our codes. What travels is a code and one line: a stack never leaves the process. */

const numbers: Readonly<Record<TransportErrorCode, status>> = {
  UNAVAILABLE: status.UNAVAILABLE,
  DEADLINE_EXCEEDED: status.DEADLINE_EXCEEDED,
  CANCELLED: status.CANCELLED,
  INVALID_ARGUMENT: status.INVALID_ARGUMENT,
  FAILED_PRECONDITION: status.FAILED_PRECONDITION,
  NOT_FOUND: status.NOT_FOUND,
  ALREADY_EXISTS: status.ALREADY_EXISTS,
  UNIMPLEMENTED: status.UNIMPLEMENTED,
  RESOURCE_EXHAUSTED: status.RESOURCE_EXHAUSTED,
  INTERNAL: status.INTERNAL,
}

const codes = new Map<number, TransportErrorCode>(Object.entries(numbers).map(([code, number]) => [number, code as TransportErrorCode]))
// What a proxy, or a server that is not ours, may answer beside our own codes.
codes.set(status.ABORTED, 'UNAVAILABLE')
codes.set(status.OUT_OF_RANGE, 'INVALID_ARGUMENT')
codes.set(status.PERMISSION_DENIED, 'FAILED_PRECONDITION')
codes.set(status.UNAUTHENTICATED, 'FAILED_PRECONDITION')

const MESSAGE_LENGTH_MAX = 500

export interface Status {
  readonly code: status
  readonly details: string
}

/** A code that we do not use counts as INTERNAL, which leaves open whether the other side acted. */
export function decodeStatus(from: { readonly code?: number; readonly details?: string }): TransportError {
  return new TransportError(codes.get(from.code ?? status.UNKNOWN) ?? 'INTERNAL', withoutClutter(from.details ?? ''))
}

/**
 * grpc-js tells a refused connection as 'No connection established. Last error: Error: connect ECONNREFUSED 127.0.0.1:1. Resolution note: ', and
 * a deadline with 'name resolution: 0.034s,LB pick: 0.025s,remote_addr=127.0.0.1:1' behind it.
 */
function withoutClutter(details: string): string {
  return details
    .replace(/^No connection established\. Last error: (?:Error: )?(.*?)\.? Resolution note:.*$/s, 'no connection: $1')
    .replace(/^(Deadline exceeded after [\d.]+s).*$/s, '$1')
}

export function encodeStatus(error: TransportError): Status {
  return { code: numbers[error.code], details: oneLine(error.message) }
}

/** The first line, short, and without lone surrogates, which a gRPC header cannot carry. */
export function oneLine(message: string): string {
  const line = message.split('\n', 1)[0] ?? ''
  return Buffer.from(line.slice(0, MESSAGE_LENGTH_MAX)).toString()
}
