import { deflateRawSync, inflateRawSync } from 'node:zlib'

/** Raw DEFLATE (RFC 1951) at its fastest level: the others take far longer for a few hundredths more. */
export function deflate(bytes: Uint8Array): Uint8Array {
  return deflateRawSync(bytes, { level: 1 })
}

/** What `deflate` was given. Throws where that is no such thing, or longer than `length`. */
export function inflate(bytes: Uint8Array, length: number): Uint8Array {
  // One byte more than is due: the end is then found in the first piece of output.
  return inflateRawSync(bytes, { maxOutputLength: Math.max(1, length), chunkSize: Math.max(64, length + 1) })
}
