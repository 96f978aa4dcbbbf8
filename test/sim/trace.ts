import { crc32 } from 'node:zlib'

/** The running hash of all that happened, so that two runs of one seed can be compared. */
export class TraceHash {
  #high = 0x9e3779b9
  #low = 0x7f4a7c15
  readonly #float = new Float64Array(1)
  readonly #words = new Uint32Array(this.#float.buffer)

  /** Mixes in a 32-bit word. */
  mix(word: number): void {
    this.#low = Math.imul(this.#low ^ word, 0x85ebca6b)
    this.#low ^= this.#low >>> 15
    this.#high = Math.imul((this.#high << 13) | (this.#high >>> 19), 5) + (this.#low ^ 0xe6546b64)
  }

  mixFloat(value: number): void {
    this.#float[0] = value
    this.mix(this.#words[0] as number)
    this.mix(this.#words[1] as number)
  }

  /** 16 hexadecimal digits. */
  toString(): string {
    return [this.#high, this.#low].map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('')
  }
}

const hashes = new Map<string, number>()

/** FNV-1a of a short text, remembered: what recurs in a trace is hashed once. */
export function hashText(text: string): number {
  let hash = hashes.get(text)
  if (hash !== undefined) return hash
  hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  if (hashes.size > 100_000) hashes.clear()
  hashes.set(text, hash)
  return hash
}

/** Above this length zlib's CRC is faster in spite of its call. */
const FNV_BYTES_MAX = 512

/** A checksum of bytes. */
export function hashBytes(bytes: Uint8Array): number {
  if (bytes.length > FNV_BYTES_MAX) return crc32(bytes)
  let hash = 0x811c9dc5
  for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193)
  return hash
}

const joined = new Map<string, Map<string, string>>()

/** `${kind} ${subject}`, the same string each time: joining and hashing anew for each event costs more than the event. */
export function label(kind: string, subject: string): string {
  let ofSubject = joined.get(subject)
  if (ofSubject === undefined) {
    if (joined.size > 20_000) joined.clear()
    joined.set(subject, (ofSubject = new Map()))
  }
  let text = ofSubject.get(kind)
  if (text === undefined) ofSubject.set(kind, (text = `${kind} ${subject}`))
  return text
}
