import { limits } from '../proto/limits.ts'
import { usageError } from './exit-code.ts'

/** Bytes as JSON carries them: text where they are UTF-8, else base64 with an `encoding` beside it. */

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Undefined: not UTF-8. */
function textOf(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes)
  } catch {
    return undefined
  }
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
}

export interface RecordJson {
  readonly key: string
  readonly keyEncoding?: 'base64'
  readonly value: string
  readonly encoding?: 'base64'
  readonly revision: number
  readonly expiresInMs?: number
}

/** A record as `get --json`, `scan --json` and an ndjson line have it. */
export function recordJson(key: Uint8Array, record: { value: Uint8Array; revision: number; expiresInMs?: number }): RecordJson {
  const keyText = textOf(key)
  const valueText = textOf(record.value)
  return {
    key: keyText ?? base64(key),
    ...(keyText === undefined ? { keyEncoding: 'base64' } : {}),
    value: valueText ?? base64(record.value),
    ...(valueText === undefined ? { encoding: 'base64' } : {}),
    revision: record.revision,
    ...(record.expiresInMs === undefined ? {} : { expiresInMs: record.expiresInMs }),
  }
}

/** A value as part of another answer. */
export function valueJson(value: Uint8Array): { value: string; encoding?: 'base64' } {
  const text = textOf(value)
  return text === undefined ? { value: base64(value), encoding: 'base64' } : { value: text }
}

/** Bytes under a name of their own: `{ lower: 'a' }`, or `{ lower: '/w==', lowerEncoding: 'base64' }`. */
export function bytesJson(name: string, bytes: Uint8Array): Record<string, string> {
  const text = textOf(bytes)
  return text === undefined ? { [name]: base64(bytes), [`${name}Encoding`]: 'base64' } : { [name]: text }
}

/** A key is 1 byte to 4 KiB. */
export function checkKey(key: string): string {
  const length = Buffer.byteLength(key)
  if (length === 0) throw usageError('the key is empty: a key is 1 to 4096 bytes')
  if (length > limits.keyBytesMax) throw usageError(`the key has ${length} bytes: a key is 1 to ${limits.keyBytesMax} bytes`)
  return key
}

export function checkValue<T extends string | Uint8Array>(value: T): T {
  const length = Buffer.byteLength(value)
  if (length > limits.valueBytesMax) throw usageError(`the value has ${length} bytes: at most ${limits.valueBytesMax} are taken`)
  return value
}

export function parseConfigNumber(text: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text)) throw usageError(`'${text}' is no config number: give a whole number from 1`)
  return Number(text)
}
