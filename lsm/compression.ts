import { ByteReader, varintLength, writeVarint } from '../base/bytes.ts'
import { deflate, inflate } from '../base/deflate.ts'
import { CorruptionError, NewerFormatError } from '../base/errors.ts'
import { loadSnappy, SnappyMissingError, snap, unsnap } from '../base/snappy.ts'

/**
 * How data blocks are compressed. Each names its codec by number, so a table may hold blocks of all kinds. A compressed block is
 *
 *     length of the payload varint │ the codec's bytes
 */
export const compressions = ['none', 'deflate', 'snappy'] as const
export type Compression = (typeof compressions)[number]

export const compressionNone = 0

interface Codec {
  readonly name: Compression
  /** Throws where it cannot be had on this machine. */
  mustBeThere(): void
  compress(bytes: Uint8Array): Uint8Array
  /** Throws where these are no compressed bytes, or, before so much is allocated, where they would give more than `length`. */
  decompress(bytes: Uint8Array, length: number): Uint8Array
}

/** By number, which is part of the format: never changed, never given again. */
const codecs: readonly (Codec | undefined)[] = [
  undefined,
  { name: 'deflate', mustBeThere: () => undefined, compress: deflate, decompress: inflate },
  { name: 'snappy', mustBeThere: loadSnappy, compress: snap, decompress: unsnap },
]

/** What longer payloads hold is stored as it is: so nobody allocates more because a block says so. */
export const maxCompressedPayloadBytes = 64 * 1024 * 1024

/** The number of `compression`. Throws RangeError where there is none of that name, and where it cannot be had on this machine. */
export function compressionNumber(compression: unknown): number {
  const number = compressions.indexOf(compression as Compression)
  if (number < 0) throw new RangeError(`compression must be one of ${compressions.join(', ')}, not ${compression}`)
  try {
    codecs[number]?.mustBeThere()
  } catch (cause) {
    throw new RangeError(`compression '${compression}': ${(cause as Error).message}`, { cause })
  }
  return number
}

/** What a block's compression byte means; for people. */
export function compressionName(number: number): string {
  return number === compressionNone ? 'none' : (codecs[number]?.name ?? `unknown (${number})`)
}

/** `payload` as it is stored with compression `number`; undefined where that saves less than an eighth: it is then stored as it is. */
export function compress(number: number, payload: Uint8Array): Uint8Array | undefined {
  const codec = codecs[number]
  if (codec === undefined || payload.length > maxCompressedPayloadBytes) return undefined
  const bytes = codec.compress(payload)
  const head = varintLength(payload.length)
  if (head + bytes.length > payload.length - payload.length / 8) return undefined
  const stored = new Uint8Array(head + bytes.length)
  stored.set(bytes, writeVarint(stored, 0, payload.length))
  return stored
}

/**
 * The payload that `compress` was given, in memory of its own. `file` and `offset` are the block's. Throws CorruptionError, and NewerFormatError
 * where the number is unknown or its codec cannot be had on this machine: neither is damage.
 */
export function decompress(number: number, stored: Uint8Array, file: string, offset: number): Uint8Array {
  const codec = codecs[number]
  if (codec === undefined) throw new NewerFormatError(file, offset, `unknown compression ${number}`, 'data')
  try {
    const reader = new ByteReader(stored)
    const length = reader.varint()
    if (length > maxCompressedPayloadBytes) throw new RangeError(`claims ${length} bytes`)
    const payload = codec.decompress(stored.subarray(reader.offset), length)
    if (payload.length !== length) throw new RangeError(`${payload.length} bytes, not ${length}`)
    return payload
  } catch (error) {
    const what = `compression ${number} (${codec.name})`
    if (error instanceof SnappyMissingError) throw new NewerFormatError(file, offset, `${what}: ${error.message}`, 'data')
    throw new CorruptionError(file, offset, `malformed block of ${what}: ${(error as Error).message}`, 'data')
  }
}
