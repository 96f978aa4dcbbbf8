import { utf8 } from '../base/bytes.ts'
import { crc32 } from '../base/checksum.ts'

interface Encoder<Request> {
  encode(request: Request): { finish(): Uint8Array }
}

/** What every request for a change says beside what it asks for: who asks, under which id, on what. */
interface Asking {
  readonly author?: string | null
  readonly requestId?: string | null
  readonly base?: number | null
  readonly baseMigrations?: number | null
}

/**
 * A checksum of what a request asks for, whoever asks and whatever it builds on; never 0. It tells a request that is asked again from another one that
 * was given the same id by mistake; nobody who wants to be mistaken is kept from it. `kind`: the method's name.
 */
export function requestedBy<Request extends Asking>(kind: string, encoder: Encoder<Request>, request: Request): number {
  const bytes = encoder.encode({ ...request, author: '', requestId: '', base: 0, baseMigrations: 0 }).finish()
  return crc32(bytes, crc32(utf8(kind))) || 1
}
