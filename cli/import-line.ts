import { z } from 'zod'
import { limits } from '../proto/limits.ts'
import { CommandError, exitCode } from './exit-code.ts'

const lineSchema = z.object({
  key: z.string(),
  keyEncoding: z.enum(['base64', 'utf8']).optional(),
  value: z.string(),
  encoding: z.enum(['base64', 'utf8']).optional(),
  expiresInMs: z.number().min(1).optional(),
})

/** A line of an ndjson file; throws what is wrong with it, with its number. */
export function parseLine(line: string, lineNumber: number): { key: Buffer; value: Buffer; ttlMs: number | undefined } {
  const broken = (why: string) => new CommandError(exitCode.failed, 'INVALID_ARGUMENT', `line ${lineNumber}: ${why}`)
  let json: unknown
  try {
    json = JSON.parse(line)
  } catch {
    throw broken('is no JSON')
  }
  const parsed = lineSchema.safeParse(json)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    throw broken(`is no record: ${issue?.path.join('.') || 'it'}: ${issue?.message ?? 'not valid'}`)
  }
  const { key, keyEncoding, value, encoding, expiresInMs } = parsed.data
  const keyBytes = Buffer.from(key, keyEncoding ?? 'utf8')
  const valueBytes = Buffer.from(value, encoding ?? 'utf8')
  if (keyBytes.length === 0 || keyBytes.length > limits.keyBytesMax)
    throw broken(`the key has ${keyBytes.length} bytes: 1 to ${limits.keyBytesMax} are taken`)
  if (valueBytes.length > limits.valueBytesMax)
    throw broken(`the value has ${valueBytes.length} bytes: at most ${limits.valueBytesMax} are taken`)
  return { key: keyBytes, value: valueBytes, ttlMs: expiresInMs === undefined ? undefined : Math.round(expiresInMs) }
}
